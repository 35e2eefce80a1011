"""Which unit won each cell of a max-pool, from the weight gradient of the convolution in front of it.

That gradient is D = S P. Row o of S holds, in the column of a place, the slope of channel o at the cell whose winner it
is; P has the input's patch of each place. Slopes are known, winners are not. A column of S lies in the column space of
D, and divided by its cell's slopes it is 1 where the place won and 0 elsewhere: for most channels 0, as the places of a
cell share them. So rows that are supposed to be 0 are drawn, the vector that is 0 there and 1 at one more row is solved
for, and it is a column if it is 0 or 1 at all rows. After SPEAR (Dimitrov et al. 2024, arXiv:2403.03945).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fldrep.derivatives.layer import NoRule

RANK = 1e-6  # of the largest singular value of D: float32 updates have 1e-8 behind the last
DEAD = 1e-9  # of the largest row of D
TELLING = 0.02  # of the median slope of a cell: smaller ones tell 0 from 1 too badly
ROUNDED = 0.03  # how far from 0 or 1 an entry of a column may be
AGREEING = 0.985  # share of the telling rows that must be as near
DRAWS = 256  # sets of rows drawn at once
ROUNDS = 5000  # most times that sets are drawn
ALIKE = 6.0  # how much rows that look like the first one are avoided: they may have the same winner


@dataclass
class Search:
    """Columns of S found so far, as cells and rows (live,) bool.

    `space` (live, rank): an orthonormal basis of D's columns; `slopes` (live, cells); `telling` and `told` (live,
    cells) bool: the rows whose slope is large enough, and those that are in a column found.
    """

    space: Tensor
    slopes: Tensor
    telling: Tensor
    told: Tensor
    columns: list[tuple[int, Tensor]] = field(default_factory=list)

    @classmethod
    def of(cls, gradient: Tensor, slopes: Tensor) -> "Search":
        """Before the first column, for rows that live."""
        left, sizes, _ = torch.linalg.svd(gradient, full_matrices=False)
        space = left[:, : int((sizes > RANK * sizes[0]).sum())]
        telling = slopes.abs() > TELLING * slopes.abs().median(0).values
        return cls(space, slopes, telling, ~telling)

    def round(self, generator: torch.Generator) -> None:
        """Look for one more column of one cell."""
        open_ = (~self.told.all(0)).nonzero().flatten()
        if torch.rand((), generator=generator) < 0.5:
            cell = int(open_[torch.randint(len(open_), (), generator=generator)])
        else:
            cell = int(open_[self.told[:, open_].sum(0).argmax()])
        rows = (~self.told[:, cell]).nonzero().flatten()
        first = int(rows[torch.randint(len(rows), (), generator=generator)])
        found = self._drawn(cell, first, rows[rows != first], generator)
        if found is not None:
            self.columns.append((cell, found))
            self.told[:, cell] |= found

    def _drawn(self, cell: int, first: int, others: Tensor, generator: torch.Generator) -> Tensor | None:
        """The best column, if it is one, that is 1 at the first row and 0 at rows drawn from the others."""
        free = self._free_of(cell)
        count = min(free.shape[1] - 1, len(others))
        if count < 0:  # the rows left are of channels that are 0 all over the cell, and of places that win only there
            self.told[:, cell] = True
            return None
        zeros = torch.zeros(1, 0, dtype=torch.long)
        if count:
            alike = self.space[others] @ self.space[first]
            alike = alike.abs() / (self.space[others].norm(dim=1) * self.space[first].norm())
            zeros = torch.multinomial((-ALIKE * alike).exp().expand(DRAWS, -1), count, generator=generator)
        inside = self.space @ free
        rows = torch.cat([inside[others[zeros]], inside[first].expand(len(zeros), 1, -1)], 1)
        right = rows.new_zeros(len(zeros), count + 1, 1)
        right[:, -1] = self.slopes[first, cell]
        square = rows.shape[1] == rows.shape[2]
        solved = torch.linalg.solve_ex(rows, right)[0] if square else torch.linalg.lstsq(rows, right).solution
        return self._best((solved[..., 0] @ inside.T) / self.slopes[:, cell], cell)

    def _free_of(self, cell: int) -> Tensor:
        """A basis of the coefficients whose vectors vanish at the rows told of a cell, (rank, free)."""
        told = self.space[self.told[:, cell] & self.telling[:, cell]]
        if not len(told):
            return torch.eye(self.space.shape[1]).to(self.space)
        _, sizes, right = torch.linalg.svd(told, full_matrices=True)
        return right[int((sizes > 1e-4 * sizes[0]).sum()) :].T

    def _best(self, found: Tensor, cell: int) -> Tensor | None:
        """The nearest to 0 and 1 of vectors (draws, live), as the rows where it is 1."""
        telling = self.telling[:, cell]
        ones = (found - 1).abs()
        near = (torch.minimum(found.abs(), ones)[:, telling] < ROUNDED).double().mean(1)
        several = (ones[:, telling] < ROUNDED).sum(1)
        best = int((near - (several < 2).double()).argmax())
        rows = (found[best] > 0.5) & telling
        told = bool((rows & self.told[:, cell]).any())
        if near[best] <= AGREEING or several[best] < 2 or several[best] > len(telling) / 2 or told:
            return None
        return rows


def winning_columns(gradient: Tensor, slopes: Tensor) -> tuple[list[int], Tensor]:
    """The columns of S that are told, and the cell of each. Shapes: (O, M), (O, cells) -> cells, (O, columns).

    Slopes are the derivatives of the loss by what the convolution puts out, at the winner of each cell. Entries of S
    too small to be told are 0.
    Errors: `NoRule` where not all winners are found.
    """
    sizes = gradient.norm(dim=1)
    live = (sizes > DEAD * sizes.max()).nonzero().flatten()
    search, generator = Search.of(gradient[live], slopes[live]), torch.Generator().manual_seed(0)
    for _ in range(ROUNDS):
        if search.told.all():
            break
        search.round(generator)
    else:
        lost = int((~search.told).sum())
        raise NoRule(f"MaxPool2d with {lost} of {search.told.numel()} winners that its gradient does not tell")
    found = gradient.new_zeros(len(gradient), len(search.columns))
    for place, (cell, rows) in enumerate(search.columns):
        found[live[rows], place] = slopes[live[rows], cell]
    return [cell for cell, _ in search.columns], found
