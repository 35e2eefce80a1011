"""What an update shows by itself, without a search: its zeros, its noise, its labels, and the representation."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.applications.audit.case import Case
from fldrep.attack.labels import inferred_labels
from fldrep.config.needs import Public, Sent
from fldrep.errors import ConfigError
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT

SCATTERED = 0.01  # share of a tensor that is zero outside rows and columns of zeros: units that are off leave those
GAP = 0.05  # the hundredth of a tensor's entries, over the median, from where small ones lack; a normal law has 0.02
FEW = 100  # entries below which no law is read off them
ABOVE_ROUNDING = 8.0  # times an entry's own rounding from where what is left counts as noise


@dataclass(frozen=True)
class Evidence:
    """What an update shows.

    `entries` and how many are `nonzero`; `zeros`: where there are zeros that the server must not compare (`none`,
    `head`: columns of the last weight, `all`); `noise`: standard deviation on an entry, None where it does not tell;
    `labels` (total,) in ascending order or as given, None where it does not tell, and `labels_from`; `features` of the
    representation and how many of them are `readable`, `exact` where they are one image's own and no mixture.
    """

    entries: int
    nonzero: int
    zeros: str
    noise: float | None
    labels: Tensor | None
    labels_from: str
    features: int
    readable: int
    exact: bool

    @property
    def public(self) -> Public:
        """What a server may take for granted of the defense."""
        return Public(self.zeros, None if self.noise is None else self.noise > 0)


def evidence_of(case: Case) -> Evidence:
    """What the update of a case shows."""
    update = {name: value[0] for name, value in case.update.items()}
    nonzero = sum(int((value != 0).sum()) for value in update.values())
    zeros, weight = zeros_of(update), update[HEAD_WEIGHT]
    noise = None if zeros == "all" else noise_of(case)
    labels, source = _labels(case)
    live = int((weight != 0).any(0).sum())
    has_bias = HEAD_BIAS in update and bool((update[HEAD_BIAS] != 0).any())
    return Evidence(
        entries=sum(value.numel() for value in update.values()),
        nonzero=nonzero,
        zeros=zeros,
        noise=noise,
        labels=labels,
        labels_from=source,
        features=weight.shape[1],
        readable=live if has_bias else 0,
        exact=has_bias and case.total == case.steps == 1 and noise == 0,
    )


def require_images_told(case: Case, evidence: Evidence) -> None:
    """Errors: `ConfigError` where the update is not that of one image, and nothing told of noise or of more images.

    Taken for one, what several images left would count as noise, and the update would seem to hide them.
    """
    if evidence.noise and not case.images_told:
        raise ConfigError(
            "images: expected how many there are: nothing told, and the last layer's gradient is not that of one image "
            "alone; say 1 if it is one, with noise"
        )


def sent_of(case: Case) -> Sent:
    """What an update is, for the needs of attacks."""
    return Sent(case.total, None if case.local is None else case.steps, HEAD_BIAS in case.update)


def zeros_of(update: dict[str, Tensor]) -> str:
    """Where zeros are that tell nothing. Shape: {name: (*shape)}.

    A pruned last layer leaves columns of zeros; pruning elsewhere leaves a whole tensor, zeros here and there in the
    first layer, or in others a gap between zero and the least entry that is left. Units that are off leave zeros, too,
    whole rows and columns of them in most layers, but no gap.
    """
    first = next(value for value in update.values() if value.ndim > 1)
    if any(not bool((value != 0).any()) for value in update.values()) or scattered(first) > SCATTERED:
        return "all"
    if any(scattered(value) > SCATTERED and has_gap(value) for value in update.values()):
        return "all"
    return "head" if bool((update[HEAD_WEIGHT] == 0).all(0).any()) else "none"


def has_gap(value: Tensor) -> bool:
    """Whether entries near zero lack among those that are not zero, as where the smallest were pruned."""
    kept = value[value != 0].abs().flatten()
    if len(kept) < FEW:
        return False
    kept = kept.sort().values
    return bool(kept[len(kept) // 100] > GAP * kept[len(kept) // 2])


def scattered(value: Tensor) -> float:
    """The share of entries that are zero though their row and their column are not."""
    if value.ndim < 2:
        return 0.0
    zero = (value == 0).flatten(1)
    alive = ~zero.all(1)[:, None] & ~zero.all(0)[None]
    return float((zero & alive).sum()) / max(1, int(alive.sum()))


def noise_of(case: Case) -> float | None:
    """Standard deviation of what was added to each entry, 0 where rounding explains it; None where it is not told.

    The last layer's gradient is a sum of one outer product an image, so its rank is at most their number. What is
    beyond that rank is noise (or quantisation), which has its share of all directions.
    """
    head = case.update[HEAD_WEIGHT][0].double()
    head = head[:, (head != 0).any(0)]
    if HEAD_BIAS in case.update:
        head = torch.cat([head, case.update[HEAD_BIAS][0].double()[:, None]], 1)
    rank, classes, width = case.total * case.steps, *head.shape
    left = (classes - rank) * (width - rank)
    if min(classes, width) <= rank:
        return None
    beyond = float(torch.linalg.svdvals(head)[rank:].square().sum())
    found = math.sqrt(beyond / left)
    return found if found > ABOVE_ROUNDING * case.rounding[HEAD_WEIGHT] else 0.0


def _labels(case: Case) -> tuple[Tensor | None, str]:
    if case.labels is not None:
        return case.labels, "given"
    told = HEAD_BIAS if HEAD_BIAS in case.update else HEAD_WEIGHT
    if (case.total > 1 and HEAD_BIAS not in case.update) or not bool((case.update[told] != 0).any()):
        return None, "not told: the last layer has no bias that says them"
    return inferred_labels(case.model, case.update, case.total, case.steps)[0].cpu(), "read off the last layer"
