"""The Jacobian of what a client sends by the images behind it, J (M, P): M entries that arrive, P pixels.

It is asked for J D D' J' by its products with directions, one push a direction, a few at a time. J has entries by the
hundred thousand, so what is kept is either J itself, in parts that fit the memory (`Exact`), or a random mixture of its
rows (`Sketch`). Both answer with Gram matrices D J' W^2 J D', one for each weighting W of the tensors of the update.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from fldrep.config.theory import EXACT_BYTES
from fldrep.derivatives.pullback import GradientMap

PUSHED_AT_ONCE = 8  # directions: more leave the cache of a core
PART_BYTES = EXACT_BYTES  # of the part of J that is held at a time
COLUMNS_AT_ONCE = 512  # of a Gram matrix, whose upper half is computed


class Segment(NamedTuple):
    """Entries [start, stop) of the kept ones of a tensor, by its number."""

    tensor: int
    start: int
    stop: int


@dataclass(frozen=True)
class SentGradient:
    """What J is the Jacobian of: one update, as it is sent.

    `images` (B, C, H, W) and `soft` labels (B, classes) in float64; `names` of the tensors, and of each which entries
    are `kept` (positions in the order of `gradients`, None: all), with their number in `sizes`. `clip`: the L2 norm
    that the update is scaled down to, None where it is not.
    """

    gradients: GradientMap
    images: Tensor
    soft: Tensor
    names: list[str]
    kept: list[Tensor | None]
    sizes: list[int]
    clip: float | None = None

    @classmethod
    def of(
        cls,
        gradients: GradientMap,
        images: Tensor,
        soft: Tensor,
        shapes: Mapping[str, torch.Size],
        kept: Mapping[str, Tensor] | None = None,
        clip: float | None = None,
    ) -> "SentGradient":
        """Args: shapes of the parameters; kept: {name: (*shape) bool}, None where every entry is sent."""
        names, places, sizes = list(shapes), [], []
        arranged = {} if kept is None else gradients.arrange({name: kept[name].unsqueeze(0) for name in names})
        for name in names:
            flat = arranged[name].flatten() if name in arranged else None
            places.append(None if flat is None or bool(flat.all()) else flat.nonzero().squeeze(1))
            sizes.append(shapes[name].numel() if places[-1] is None else len(places[-1]))
        return cls(gradients, images, soft, names, places, sizes, clip)

    @property
    def entries(self) -> int:
        """M."""
        return sum(self.sizes)

    @property
    def unknowns(self) -> int:
        """P."""
        return self.images.numel()

    def pushed(self, directions: Tensor | None) -> Iterator[tuple[slice, dict[str, Tensor]]]:
        """Which directions, and how every tensor changes along each of them, {name: (K, entries)}.

        Shape: directions (D, P); None: along each pixel.
        """
        count, at_once = self.unknowns if directions is None else len(directions), PUSHED_AT_ONCE
        with torch.no_grad():
            gradient, _, push = self.gradients.linearise(
                self.images.repeat(at_once, 1, 1, 1, 1), self.soft.repeat(at_once, 1, 1)
            )
            own = {name: gradient[name][:1].flatten(1) for name in self.names}
            for start in range(0, count, at_once):
                chunk = slice(start, min(start + at_once, count))
                along = self.images.new_zeros(at_once, self.unknowns)
                if directions is None:
                    along[range(chunk.stop - start), range(start, chunk.stop)] = 1
                else:
                    along[: chunk.stop - start] = directions[chunk]
                changes = push(along.view(at_once, *self.images.shape))
                changes = {name: changes[name].flatten(1)[: chunk.stop - start] for name in self.names}
                yield chunk, changes if self.clip is None else clipped(changes, own, self.clip)

    def of_segment(self, changes: Mapping[str, Tensor], one: Segment) -> Tensor:
        """The changes of some entries that are sent. Shape: (K, stop - start)."""
        values, places = changes[self.names[one.tensor]], self.kept[one.tensor]
        part = slice(one.start, one.stop)
        return values[:, part] if places is None else values[:, places[part]]

    def parts(self, entries: int) -> list[list[Segment]]:
        """All segments, so many entries together at most."""
        parts, room = [], 0
        for tensor, size in enumerate(self.sizes):
            start = 0
            while start < size:
                if not room:
                    parts.append([])
                    room = entries
                stop = min(size, start + room)
                parts[-1].append(Segment(tensor, start, stop))
                room, start = room - (stop - start), stop
        return parts


def clipped(changes: dict[str, Tensor], own: dict[str, Tensor], norm: float) -> dict[str, Tensor]:
    """Changes of an update g that is scaled down to a norm where it is longer: norm / |g| (dg - g <g, dg> / |g|^2).

    Shapes: changes {name: (K, entries)}, own {name: (1, entries)}.
    """
    power = sum(value.square().sum() for value in own.values())
    if power <= norm**2:
        return changes
    along = sum(changes[name] @ value.T for name, value in own.items()) / power
    return {name: (value - along * own[name]) * (norm / power.sqrt()) for name, value in changes.items()}


@dataclass
class Exact:
    """J as it is. `weights` (W, T): what the entries of each tensor are multiplied by, by weighting."""

    sent: SentGradient
    weights: Tensor
    method = "exact"
    held: Tensor | None = field(default=None, init=False)  # J' (P, M), where all of it fits

    def grams(self, directions: Tensor | None = None, which: list[int] | None = None) -> list[Tensor]:
        """D J' W^2 J D' for the weightings of these numbers (all if not given). Shape: (D, P) -> (D, D) each."""
        which = list(range(len(self.weights))) if which is None else which
        count = self.sent.unknowns if directions is None else len(directions)
        totals = [self.sent.images.new_zeros(count, count) for _ in which]
        parts = self.sent.parts(max(1, PART_BYTES // 8 // max(count, 1)))
        for part in parts:
            rows = self._rows(part, directions, count, len(parts) == 1)
            self._add(totals, which, part, rows)
        return totals

    def _rows(self, part: list[Segment], directions: Tensor | None, count: int, whole: bool) -> Tensor:
        """D J' of a part's entries. Shape: (D, entries)."""
        if self.held is not None:
            return self.held if directions is None else directions @ self.held
        rows = self.sent.images.new_empty(count, sum(one.stop - one.start for one in part))
        for chunk, changes in self.sent.pushed(directions):
            torch.cat([self.sent.of_segment(changes, one) for one in part], 1, out=rows[chunk])
        if whole and directions is None:
            self.held = rows
        return rows

    def _add(self, totals: list[Tensor], which: list[int], part: list[Segment], rows: Tensor) -> None:
        """Tensors of equal weights, in all weightings, go into one product."""
        start = 0
        for alike in runs(part, self.weights[which]):
            stop = start + sum(one.stop - one.start for one in alike)
            product = symmetric_product(rows[:, start:stop])
            for total, number in zip(totals, which, strict=True):
                total.add_(product, alpha=float(self.weights[number, alike[0].tensor]) ** 2)
            start = stop


def runs(part: list[Segment], weights: Tensor) -> list[list[Segment]]:
    """Segments that follow each other and have the same weights (W, T)."""
    found: list[list[Segment]] = []
    for one in part:
        if found and torch.equal(weights[:, found[-1][0].tensor], weights[:, one.tensor]):
            found[-1].append(one)
        else:
            found.append([one])
    return found


@dataclass
class Sketch:
    """Random mixtures of J's rows, by weighting W: `mixed` (W, P, rows) holds (S W J)'.

    Source: the count sketch (Clarkson and Woodruff 2013, arXiv:1207.6365).
    """

    sent: SentGradient
    weights: Tensor
    mixed: Tensor
    method = "sketch"

    @classmethod
    def of(cls, sent: SentGradient, weights: Tensor, rows: int, generator: torch.Generator) -> "Sketch":
        """Entry i is added, with a random sign, to row i modulo the number of rows, which is `rows` at least."""
        rows = next_prime(rows)  # no size of a tensor divides it, so that no pattern of entries adds up
        signs = torch.randint(2, (sent.entries,), generator=generator).double().mul_(2).sub_(1)
        each = torch.repeat_interleave(weights.cpu().double(), torch.tensor(sent.sizes), 1)
        factors = (each * signs).to(sent.images.device)
        mixed = sent.images.new_zeros(len(weights), sent.unknowns, rows)
        layers = -(-sent.entries // rows)
        flat = sent.images.new_zeros(PUSHED_AT_ONCE, layers * rows)
        whole = [Segment(tensor, 0, size) for tensor, size in enumerate(sent.sizes)]
        for chunk, changes in sent.pushed(None):
            some = flat[: chunk.stop - chunk.start]
            values = torch.cat([sent.of_segment(changes, one) for one in whole], 1)
            for one, factor in zip(mixed, factors, strict=True):
                torch.mul(values, factor, out=some[:, : sent.entries])
                one[chunk] = some.unflatten(1, (layers, rows)).sum(1)
        return cls(sent, weights, mixed)

    @property
    def rows(self) -> int:
        """How many rows J's were mixed into."""
        return self.mixed.shape[2]

    def grams(self, directions: Tensor | None = None, which: list[int] | None = None) -> list[Tensor]:
        """As `Exact.grams`."""
        which = list(range(len(self.weights))) if which is None else which
        found = (self.mixed[number] for number in which)
        return [symmetric_product(one if directions is None else directions @ one) for one in found]


def next_prime(number: int) -> int:
    """The least prime that is not below.

    >>> next_prime(3400)
    3407
    """
    while any(number % divisor == 0 for divisor in range(2, math.isqrt(number) + 1)):
        number += 1
    return number


def symmetric_product(rows: Tensor) -> Tensor:
    """rows @ rows', of which one half is computed. Shape: (D, M) -> (D, D)."""
    count = len(rows)
    product = rows.new_empty(count, count)
    for start in range(0, count, COLUMNS_AT_ONCE):
        stop = min(start + COLUMNS_AT_ONCE, count)
        product[start:stop, :stop] = rows[start:stop] @ rows[:stop].T
        product[:start, start:stop] = product[start:stop, :start].T
    return product
