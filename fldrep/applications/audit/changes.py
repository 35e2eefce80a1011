"""What would change the verdict of an audit: how much pruned, how much noise, measured on this very update."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fldrep.analysis.floors import RECOGNISED
from fldrep.applications.audit.attacks import Planned, attacked
from fldrep.applications.audit.case import Case
from fldrep.applications.audit.determined import Place, entries_hiding, jacobian_at, measured
from fldrep.applications.audit.evidence import Evidence
from fldrep.applications.audit.judging import RECOVERED
from fldrep.defenses.compression import largest_entries
from fldrep.derivatives.update_jacobian import Exact, Sketch
from fldrep.errors import AttackRefused
from fldrep.models.updates import HEAD_WEIGHT
from fldrep.seeds import generator
from fldrep.theory.priors import spectral_basis

RATES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)  # shares of each tensor's entries, the smallest pruned
LOUDNESS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)  # noise, in units of the update's root mean square
PRUNED, NOISE, HEADLESS = "smallest entries pruned", "Gaussian noise added", "last layer's weight withheld"


@dataclass(frozen=True)
class Change:
    """A change of the update and what it makes of the verdict.

    `strength`: a share for `PRUNED` and `HEADLESS`, a standard deviation an entry for `NOISE`; `relative`: that over
    the root mean square of the update; `by`: what measured it; `hides`: whether it takes the images away; `floor` or
    `ssim`: what was measured, None where that was not.
    """

    change: str
    strength: float
    by: str
    hides: bool
    floor: float | None = None
    ssim: float | None = None
    relative: float | None = None


def by_counting(case: Case, entries: int, nonzero: int) -> list[Change]:
    """The share from which so few numbers are left that they leave the floor above that of a recognised image."""
    least = entries_hiding(case)
    return [] if least >= nonzero else [Change(PRUNED, round(1 - least / entries, 6), "bound", True)]


def by_noise(case: Case, jacobian: Exact | Sketch, size: float) -> list[Change]:
    """The noise at which the floor reaches that of a recognised image. Args: size: the update's root mean square."""
    floor = noise_floor(case, jacobian)
    low, high = size * 1e-9, size * 1e9
    if not floor(low) <= RECOGNISED < floor(high):
        return []
    while high / low > 1.02:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if floor(middle) <= RECOGNISED else (low, middle)
    std = two_digits(high)
    return [Change(NOISE, std, "identifiability", True, floor=floor(std), relative=two_digits(std / size))]


def noise_floor(case: Case, jacobian: Exact | Sketch) -> Callable[[float], float]:
    """The smaller floor of both priors as a function of the noise on each entry, in units of the images' variance."""
    gram = jacobian.grams(None, [0])[0]
    basis = torch.block_diag(*[spectral_basis(*case.shape)] * case.total)
    white = torch.linalg.eigvalsh(gram)
    values, vectors = torch.linalg.eigh(basis.T @ gram @ basis)
    shares = (basis @ vectors).square().sum(0)
    prior = case.prior_std**2

    def floor(std: float) -> float:
        left = [1 / (one.clamp_min(0) * prior / std**2 + 1) for one in (white, values)]
        return min(float(left[0].mean()), float((left[1] * shares).sum()) / len(shares))

    return floor


def by_pruning(case: Case, evidence: Evidence, at: Place, measures: int) -> list[Change]:
    """The least of `RATES` that hides the images and the largest that does not, by floors; then the head withheld."""
    found: dict[float, Change] = {}

    def hides(rate: float) -> bool:
        floor = measured(case, jacobian_at(case, evidence, at, pruned(case.update, rate)), at.what).floor
        found[rate] = Change(PRUNED, rate, "identifiability", floor > RECOGNISED, floor=floor)
        return found[rate].hides

    _bisected(RATES, hides, measures - 1)
    withheld = {**case.update, HEAD_WEIGHT: torch.zeros_like(case.update[HEAD_WEIGHT])}
    floor = measured(case, jacobian_at(case, evidence, at, withheld), at.what).floor
    return [*_edge(found), Change(HEADLESS, 1.0, "identifiability", floor > RECOGNISED, floor=floor)]


def by_attacks(
    case: Case, evidence: Evidence, attack: Planned, likeness: Callable[[Tensor], float], runs: int, progress: Callable
) -> list[Change]:
    """The same by an attack: pruned and noisy updates attacked anew, each judged by an SSIM of 0.5 or more."""
    size, found = size_of(case.update), {PRUNED: {}, NOISE: {}}

    def hides(change: str, strength: float) -> bool:
        update = pruned(case.update, strength) if change == PRUNED else noisy(case, strength * size)
        seen = replace(evidence, zeros="all" if change == PRUNED else evidence.zeros)
        ssim = likeness(_images(replace(case, update=update), seen, attack, progress))
        std = {} if change == PRUNED else {"relative": strength}
        at = strength if change == PRUNED else two_digits(strength * size)
        found[change][strength] = Change(change, at, attack.settings.title, ssim < RECOVERED, ssim=ssim, **std)
        return found[change][strength].hides

    for change, ladder in ((PRUNED, RATES), (NOISE, LOUDNESS)):
        _bisected(ladder, lambda strength, change=change: hides(change, strength), runs // 2)
    return [*_edge(found[PRUNED]), *_edge(found[NOISE])]


def _images(case: Case, evidence: Evidence, attack: Planned, progress: Callable) -> Tensor:
    try:
        return attacked(case, evidence, attack.settings, progress).images
    except AttackRefused:
        return torch.full((case.total, *case.shape), torch.nan)


def _bisected(ladder: tuple[float, ...], hides: Callable[[float], bool], most: int) -> None:
    """Ask along a rising ladder where it begins to hide, at most so often."""
    low, high = 0, len(ladder)
    for _ in range(most):
        if low >= high:
            return
        middle = (low + high) // 2
        low, high = (low, middle) if hides(ladder[middle]) else (middle + 1, high)


def _edge(found: dict[float, Change]) -> list[Change]:
    """The largest strength that does not hide, and the least that does, of those asked."""
    kept = [one for _, one in sorted(found.items()) if not one.hides][-1:]
    return [*kept, *[one for _, one in sorted(found.items()) if one.hides][:1]]


def pruned(update: dict[str, Tensor], rate: float) -> dict[str, Tensor]:
    """The update with the smallest entries of each tensor at zero, as the defense `compression` sends it."""
    return {name: largest_entries(value, rate) for name, value in update.items()}


def noisy(case: Case, std: float) -> dict[str, Tensor]:
    """The update with Gaussian noise on each entry that is not zero."""
    draw = generator("counterfactual noise", case.seed)
    return {
        name: value + std * torch.randn(value.shape, generator=draw).to(value) * (value != 0)
        for name, value in case.update.items()
    }


def size_of(update: dict[str, Tensor]) -> float:
    """The root mean square of the entries that are not zero."""
    power = sum(float(value.double().square().sum()) for value in update.values())
    return math.sqrt(power / max(1, sum(int((value != 0).sum()) for value in update.values())))


def two_digits(value: float) -> float:
    """A number with two digits.

    >>> two_digits(0.012345)
    0.012
    """
    return float(f"{value:.2g}")
