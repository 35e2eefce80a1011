"""What the update of an audit determines of its images, without an attack: rank and floor, or a bound by counting."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.analysis.floors import RECOGNISED
from fldrep.applications.audit.attacks import Found
from fldrep.applications.audit.case import Case
from fldrep.applications.audit.evidence import Evidence
from fldrep.derivatives.update_jacobian import Exact, Sketch
from fldrep.models.spectrum import NATURAL, Spectrum, amplitudes_of
from fldrep.models.updates import HEAD_WEIGHT, client_update
from fldrep.seeds import generator
from fldrep.theory.identifiability import jacobian_of, sent_gradient, spectrum_in, weights_by

SCALED = 0.99  # an update that is shorter than this share of its images' gradient was clipped
NEAR = 0.1  # relative residual below which an image that was found may stand for the one behind the update


@dataclass(frozen=True)
class Determined:
    """Of `unknowns` numbers the update sees `rank` directions; `floor`: the share of the images' variance that is left.

    `method`: `exact`, `sketch` or `bound`; then the rank is the most that the entries can have, the floor the least.
    `reason`: where it was measured, or why it was only counted.
    """

    unknowns: int
    rank: int
    floor: float
    method: str
    reason: str

    @property
    def hides(self) -> bool:
        """Whether the floor is above that of a recognised image."""
        return self.floor > RECOGNISED


def jacobian_at(case: Case, evidence: Evidence, at: "Place", update: dict[str, Tensor] | None = None) -> Exact | Sketch:
    """The Jacobian of what is sent, at some images, by noise and rounding. Args: update: not its own."""
    update = case.update if update is None else update
    whole = evidence.zeros == "none" and update is case.update
    kept = None if whole else {name: value[0] != 0 for name, value in update.items()}
    sent = sent_gradient(case.model, at.images, at.labels, kept, clip_at(case, at), case.local)
    spread = noise_on(case, evidence.noise or 0.0)
    return jacobian_of(sent, weights_by(spread, sent.names), "auto")


def measured(case: Case, jacobian: Exact | Sketch, where: str) -> Determined:
    """Rank and floor, which is the smaller of both priors'."""
    found = spectrum_in(jacobian, case.prior_std)
    floor = min(found.floor, found.floor_spectral) / case.prior_std**2
    return Determined(found.unknowns, found.rank, floor, found.method, where)


def clip_at(case: Case, at: "Place") -> float | None:
    """The norm that the update was scaled down to, as images that stand for its own tell; None where it was not."""
    if not at.real:
        return None
    single = case.total == 1
    given = (at.images, at.labels) if single else (at.images[None], at.labels[None])
    plain = client_update(case.model, given[0].to(case.model.head.weight), given[1], case.local)
    power = {name: value.double().square() for name, value in plain.items()}
    along = sum(float((value.double() * case.update[name]).sum()) for name, value in plain.items())
    kept = sum(float((value * (case.update[name] != 0)).sum()) for name, value in power.items())
    share = along / kept if kept else 1.0
    return share * math.sqrt(sum(float(value.sum()) for value in power.values())) if 0 < share < SCALED else None


def noise_on(case: Case, std: float) -> dict[str, float]:
    """The deviation of noise and rounding together, by tensor."""
    both = {name: math.hypot(std, one) for name, one in case.rounding.items()}
    largest = max(both.values())
    return {name: one or largest for name, one in both.items()}


def counted(case: Case, evidence: Evidence, reason: str) -> Determined:
    """The bound: so many entries see so many directions at most, and at best the strongest ones of natural images."""
    return Determined(
        case.unknowns, min(evidence.nonzero, case.unknowns), least_floor(case, evidence.nonzero), "bound", reason
    )


def least_floor(case: Case, entries: int) -> float:
    """The least share of the variance that so many numbers, whatever they are, can leave of natural images."""
    powers = powers_of(case)
    return float(powers[entries:].sum() / powers.sum())


def entries_hiding(case: Case) -> int:
    """The most entries that leave the floor above that of a recognised image, whatever they say."""
    powers = powers_of(case)
    left = 1 - powers.cumsum(0) / powers.sum()
    return int((left > RECOGNISED).sum())


def powers_of(case: Case) -> Tensor:
    """The variances of natural images along their own directions, all images of the update, largest first."""
    one = amplitudes_of(*case.shape, **NATURAL).flatten().square()
    return one.repeat(case.total).sort(descending=True).values


@dataclass(frozen=True)
class Place:
    """Where an update's Jacobian is taken: images (total, C, H, W) with labels (total,), and what they are.

    `real`: they are those behind the update, or nearly.
    """

    images: Tensor
    labels: Tensor
    what: str
    real: bool


def place_of(case: Case, evidence: Evidence, found: list[Found]) -> Place:
    """The originals where all are given; else images found that give the update; else drawn ones."""
    if case.originals is not None and len(case.originals) == case.total:
        labels = evidence.labels if case.labels is not None or case.total == 1 else labels_of(case, case.originals)
        return Place(case.originals, labels, "at the originals", True)
    near = [one for one in found if one.certified] or [one for one in found if one.residual < NEAR]
    if near:
        best = min(near, key=lambda one: one.residual)
        return Place(best.images, best.labels, f"at the images that {best.attack} found", True)
    drawn = torch.randn(case.total, *case.shape, generator=generator("stand-in", case.seed))
    images = Spectrum.of(drawn, NATURAL["exponent"], NATURAL["chroma"]).images(drawn) * case.prior_std
    what = "at a drawn image with the spectrum of natural ones, in place of the real one"
    return Place(case.normalisation.clamp(images), evidence.labels, what, False)


def labels_of(case: Case, images: Tensor) -> Tensor:
    """The label of each of the images behind an update, by the last layer's gradient, (P - Y)' R / B. Shape: (B,)."""
    with torch.no_grad():
        features = case.model.features(images.to(case.model.head.weight))
        softmax = case.model.head(features).softmax(1).double()
    weight = case.update[HEAD_WEIGHT][0].double() / case.steps
    live = (weight != 0).any(0)
    features, weight = features.double()[:, live], weight[:, live]
    told = softmax.T @ features - len(images) * weight
    return torch.linalg.lstsq(features.T, told.T).solution.argmax(1)
