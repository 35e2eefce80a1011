"""What an attack found."""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from fldrep.attack.problem import Outcome
from fldrep.attack.reasons import as_words

WORDS = ("members", "refused")  # fields that are no tensors


@dataclass(frozen=True)
class Reconstruction:
    """What an attack found for N targets with R restarts, on the CPU, in the network's input space and dtype.

    `images` (N, C, H, W) and `distance` (N,) are those of the best restart; `best_restart` (N,) says which: that of
    smallest gradient distance among those that are certified, if any, else among those that did not diverge (among all,
    where all did). For updates of B images an axis B comes after N (and R). `initial_distance`, `final_distance`,
    `diverged`, `iterations` and `problems_at_once`, how many problems were worked together, are (N, R); `labels_found`
    is (N, R), or (N, R, B); `all_images` is (N, R, C, H, W). Diverged: not finite, or ended above the initial distance.
    `certified` (N,) bool: the update itself shows that the image found is the one behind it, as `certificate` says;
    `all_certified` (N, R) is that of each restart. False where an attack cannot tell.
    `members`, for an ensemble, names the attack that each restart is from. `refused`, N lists of R sentences, says why
    there is no image (its numbers are NaN, and it counts as diverged); empty where there is one.
    """

    images: Tensor
    distance: Tensor
    best_restart: Tensor
    all_images: Tensor
    labels_found: Tensor
    initial_distance: Tensor
    final_distance: Tensor
    diverged: Tensor
    iterations: Tensor
    problems_at_once: Tensor
    members: list[list[str]] | None = None
    all_certified: Tensor | None = None
    refused: list[list[str]] | None = None

    def __post_init__(self):
        """Where nothing is told, nothing is certified, and nothing refused."""
        if self.refused is None:
            object.__setattr__(self, "refused", [[""] * row.numel() for row in self.diverged])
        if self.all_certified is None:
            object.__setattr__(self, "all_certified", torch.zeros_like(self.diverged, dtype=torch.bool))

    @property
    def certified(self) -> Tensor:
        """That of the best restart, (N,)."""
        return self.all_certified[torch.arange(len(self.best_restart)), self.best_restart]

    @classmethod
    def of(
        cls,
        *,
        all_images: Tensor,
        final_distance: Tensor,
        diverged: Tensor,
        members: list[list[str]] | None = None,
        all_certified: Tensor | None = None,
        refused: list[list[str]] | None = None,
        **whole: Tensor,
    ) -> "Reconstruction":
        """With the best restart picked. Args: tensors by the names above, (N, R, ...)."""
        best = smallest(final_distance, diverged, all_certified)
        rows = torch.arange(len(best))
        return cls(
            images=all_images[rows, best],
            distance=final_distance[rows, best],
            best_restart=best,
            all_images=all_images,
            final_distance=final_distance,
            diverged=diverged,
            members=members,
            all_certified=all_certified,
            refused=refused,
            **whole,
        )

    @classmethod
    def assembled(cls, outcomes: list[Outcome], sizes: list[int], restarts: int, single: bool) -> "Reconstruction":
        """From the outcomes of problems in order of target and restart. Args: single: no axis for images an update."""
        whole = {
            field.name: torch.cat([getattr(one, field.name) for one in outcomes]).unflatten(0, (-1, restarts))
            for field in fields(Outcome)
        }
        images, labels, finite = whole.pop("images"), whole.pop("labels"), whole.pop("finite")
        whole["all_certified"] = whole.pop("certified")
        refused = [as_words(row) for row in whole.pop("refused")]
        return cls.of(
            all_images=images.squeeze(2) if single else images,
            labels_found=labels.squeeze(2) if single else labels,
            diverged=~finite | ~(whole["final_distance"] <= whole["initial_distance"]),
            problems_at_once=torch.tensor(sizes).view(-1, restarts),
            refused=refused,
            **whole,
        )

    @classmethod
    def joined(cls, parts: "list[Reconstruction]") -> "Reconstruction":
        """One result for the targets of all."""
        tensors = [field.name for field in fields(cls) if field.name not in WORDS]
        refused = [row for part in parts for row in part.refused]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in tensors}, refused=refused)


def smallest(distance: Tensor, diverged: Tensor, certified: Tensor | None = None) -> Tensor:
    """Where in a row the distance is smallest: among those certified, if any is, else among those that did not diverge.

    Where all diverged, among all; ties go to the first. Shapes: (N, R) each -> (N,).

    >>> smallest(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[False, True, False]]))
    tensor([2])
    """
    distance = distance.nan_to_num(nan=torch.inf)
    worst = torch.finfo(distance.dtype).max
    eligible = ~diverged
    if certified is not None:
        eligible = torch.where(certified.any(1, keepdim=True), certified, eligible)
    order = torch.where(eligible, distance.clamp_max(worst), torch.inf)
    return torch.where(eligible.any(1), order.argmin(1), distance.argmin(1))
