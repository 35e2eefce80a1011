"""The attacks of an audit: which fit the update and the budget, and what each finds."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.applications.audit.budget import Costs, evaluations, in_words
from fldrep.applications.audit.case import Case
from fldrep.applications.audit.evidence import Evidence, sent_of
from fldrep.attack.attacker import carry_out
from fldrep.attack.engine import Work
from fldrep.attack.observation import Observation
from fldrep.config.attacks import AttackSettings, attack_settings
from fldrep.config.needs import lacks
from fldrep.config.parts import words
from fldrep.models.updates import client_update
from fldrep.seeds import generator


@dataclass(frozen=True)
class Candidate:
    """An attack that may be tried: the most and the least of its steps, and what share of the time left it may take.

    `unmasked`: the attack in its place where the update has no zeros to look past.
    """

    attack: str
    most: int
    least: int
    share: float
    unmasked: str | None = None

    def settings(self, zeros: str) -> AttackSettings:
        """The attack with all its steps. Args: zeros: of the update, as `Evidence` has them."""
        name = self.unmasked if self.unmasked and zeros == "none" else self.attack
        return attack_settings(name, iterations=self.most)


# The strongest first, as docs/attacks.md and docs/exact-attacks.md have measured them.
CANDIDATES = (
    Candidate("closed-form", 30, 30, 1.0),
    Candidate("gs-spectral-masked", 300, 30, 0.7, unmasked="gs-spectral"),
    Candidate("gauss-newton", 60, 8, 0.7),
    Candidate("r-matching-spectral", 150, 30, 0.5),
    Candidate("dlg-masked", 100, 10, 1.0, unmasked="dlg"),
)

# What each does, for a reader who has not met it.
DOES = {
    "closed-form": "solves for the image, from the last layer down, by linear equations",
    "gauss-newton": "solves for the image by Gauss-Newton steps on its pixels",
    "gs-spectral": "moves a trial image, which looks natural, until its gradient points the same way",
    "r-matching-spectral": "does as gs-spectral does, and matches the representation of the trial image besides",
    "dlg": "moves a trial image and a trial label until their gradient is the same",
}
DOES |= {"gs-spectral-masked": DOES["gs-spectral"] + ", where it was not pruned"}
DOES |= {"dlg-masked": DOES["dlg"] + ", where it was not pruned"}


@dataclass(frozen=True)
class Planned:
    """An attack and what it takes; where it is not to be tried, why."""

    settings: AttackSettings
    operations: float
    why_not: str = ""

    @property
    def goes_through(self) -> bool:
        """Whether the attack makes something of an update with noise, or with entries at zero."""
        return set(self.settings.needs) <= {"smooth", "mask"}


@dataclass(frozen=True)
class Found:
    """What an attack found: images (B, C, H, W) in the network's input space, and labels (B,).

    `residual`: the norm of what the images found leave of the update, over that of the update, on the entries that
    tell; `evaluations` of the gradient.
    """

    attack: str
    images: Tensor
    labels: Tensor
    residual: float
    certified: bool
    evaluations: int
    seconds: float


def planned(case: Case, evidence: Evidence, costs: Costs, operations: float) -> list[Planned]:
    """Which attacks are to be tried within so many operations, in this order, and why others are not."""
    left, found = operations, []
    for one in CANDIDATES:
        settings = one.settings(evidence.zeros)
        why = _against(case, evidence, settings)
        found.append(Planned(settings, 0.0, why) if why else _within(one, settings, costs, one.share * max(left, 0.0)))
        left -= found[-1].operations
    for place, one in enumerate(CANDIDATES):  # what the later ones could not use goes back to the strongest
        found[place] = _stretched(one, found[place], costs, left)
        left = operations - sum(each.operations for each in found)
    return found


def _stretched(one: Candidate, planned: Planned, costs: Costs, left: float) -> Planned:
    """An attack that is planned, with more steps, as far as so many operations last."""
    step, settings = costs.step(planned.settings), planned.settings
    if planned.why_not or not step or left < step:
        return planned
    steps = min(one.most, settings.iterations + int(left / step))
    more = (steps - settings.iterations) * step
    return Planned(settings.model_copy(update={"iterations": steps}), planned.operations + more)


def _within(one: Candidate, settings: AttackSettings, costs: Costs, room: float) -> Planned:
    """An attack with as many of its steps as fit into so many operations, or why it is not tried."""
    fixed, step = costs.fixed(settings), costs.step(settings)
    least = fixed + one.least * step
    if least > room:
        why = f"it takes about {in_words(least)}; there were {in_words(room)} for it in the budget"
        return Planned(settings, 0.0, why)
    steps = min(one.most, int((room - fixed) / step)) if step else one.most
    return Planned(settings.model_copy(update={"iterations": steps}), fixed + steps * step)


def _against(case: Case, evidence: Evidence, settings: AttackSettings) -> str:
    """Why an attack makes no sense on the update, empty where it does."""
    if case.clients > 1 and case.local is not None:
        return "the update is the mean of several clients' local steps, which no attack here models"
    if settings.labels == "known" and evidence.labels is None:
        return "it takes labels, and the update does not tell them: give them"
    observed = observation_of(case, evidence)
    missing = lacks(settings.needs, evidence.public, sent_of(case), observed.structure)
    if missing:
        whose, needed, instead = missing[0]
        return f"it needs {needed}, but this {'network' if whose == 'model' else 'update'} {instead}"
    if words("optimiser", settings.optimiser).get("least_squares") and evidence.noise:
        return "the update holds noise, so that nothing is solved exactly; attacks that know of images find more"
    return ""


def observation_of(case: Case, evidence: Evidence) -> Observation:
    """What an attack observes."""
    labels = evidence.labels
    if labels is not None:
        labels = labels[None] if case.total > 1 else labels
    return Observation(
        model=case.model,
        update=case.update,
        labels=labels,
        shape=case.shape,
        normalisation=case.normalisation,
        draw=lambda target, restart: generator("initial point", case.seed, target, restart),
        zeros=evidence.zeros,
        batch=case.total if case.total > 1 else None,
        local=case.local,
    )


def attacked(case: Case, evidence: Evidence, settings: AttackSettings, progress: Callable | None = None) -> Found:
    """Run one attack. Errors: `AttackRefused`; `budget.Overrun` where the time is over."""
    began = time.perf_counter()
    found = carry_out(observation_of(case, evidence), settings, Work(1, "never", progress))
    images = found.images[0].reshape(case.total, *case.shape)
    labels = found.labels_found[0, found.best_restart[0]].reshape(case.total)
    return Found(
        attack=settings.title,
        images=images,
        labels=labels,
        residual=residual_at(case, evidence, images, labels),
        certified=bool(found.certified[0]),
        evaluations=evaluations(settings, int(found.iterations[0, found.best_restart[0]])),
        seconds=time.perf_counter() - began,
    )


def residual_at(case: Case, evidence: Evidence, images: Tensor, labels: Tensor) -> float:
    """What images leave of the update, relative to it, on the entries that tell; in float64."""
    if not images.isfinite().all():
        return float("nan")
    exact = observation_of(case, evidence).in_float64().model
    single = case.total == 1
    given = (images.double(), labels) if single else (images.double()[None], labels[None])
    trial = client_update(exact, *given, case.local)
    apart = power = 0.0
    for name, value in case.update.items():
        tells = value != 0 if evidence.zeros != "none" else torch.ones_like(value, dtype=torch.bool)
        apart += float((trial[name] - value.double())[tells].square().sum())
        power += float(value.double().square().sum())
    return (apart / power) ** 0.5
