"""What was found of an update, as result.json says it."""

import math
import platform
import time
from importlib.metadata import version

from torch import Tensor

import fldrep
from fldrep.applications.audit.attacks import Found
from fldrep.applications.audit.budget import OVERRUN, RATE, seconds
from fldrep.applications.audit.case import Case
from fldrep.applications.audit.changes import Change
from fldrep.applications.audit.evidence import Evidence
from fldrep.applications.audit.judging import Likeness, likeness
from fldrep.applications.audit.result import SCHEMA_VERSION, Audit, number
from fldrep.applications.audit.threat import beyond, threat_model
from fldrep.applications.audit.verdict import NOTHING, Outcome, sentence_of, verdict_of
from fldrep.applications.audit.work import Work


def audit_with(case: Case, evidence: Evidence, work: Work, began: float) -> Audit:
    """The audit of a case, from what its parts found. Args: began: `time.perf_counter` at its start."""
    judged = [
        (one, None if case.originals is None else likeness(case, one.images, case.originals)) for one in work.found
    ]
    outcomes = [_outcome(case, *one) for one in judged]
    verdict = verdict_of(outcomes, work.determined) if evidence.nonzero else NOTHING
    content = {
        "schema_version": SCHEMA_VERSION,
        "verdict": verdict,
        "sentence": sentence_of(verdict, case, outcomes, work.determined),
        "update": _update(case, evidence),
        "identifiability": None if work.determined is None else _determined(work),
        "labels": [] if evidence.labels is None else evidence.labels.tolist(),
        "representation": {
            "features": evidence.features,
            "readable": evidence.readable,
            "exact": evidence.exact,
        },
        "attacks": [_attack(*one, outcome) for one, outcome in zip(judged, outcomes, strict=True)],
        "counterfactual": [_change(one) for one in work.changes],
        "threat_model": threat_model(case, evidence, [one.attack for one in work.found]),
        "not_tried": _not_tried(case, work),
        "cut": work.cut,
        "settings": _settings(case, evidence, work),
        "versions": {name: version(name) for name in ("torch", "numpy")}
        | {"fldrep": fldrep.__version__, "python": platform.python_version()},
        "seconds": round(time.perf_counter() - began, 2),
    }
    return Audit(content, _pictures(case, judged))


def _outcome(case: Case, found: Found, near: Likeness | None) -> Outcome:
    if near is None:
        return Outcome(found.attack, found.certified, *(case.total * found.certified,) * 2, case.total)
    exact = len(near.order) if found.certified else near.exact
    return Outcome(found.attack, found.certified, exact, max(exact, near.recovered), len(near.order))


def _update(case: Case, evidence: Evidence) -> dict[str, object]:
    return {
        "kind": case.kind,
        "tensors": len(case.update),
        "entries": evidence.entries,
        "nonzero": evidence.nonzero,
        "images": case.total,
        "clients": case.clients,
        "steps": case.steps,
        "zeros": evidence.zeros,
        "noise": None if evidence.noise is None else number(evidence.noise),
        "labels_from": evidence.labels_from,
    }


def _determined(work: Work) -> dict[str, object]:
    one = work.determined
    return {
        "unknowns": one.unknowns,
        "rank": one.rank,
        "floor": number(one.floor),
        "method": one.method,
        "reason": one.reason,
    }


def _attack(found: Found, near: Likeness | None, outcome: Outcome) -> dict[str, object]:
    return {
        "attack": found.attack,
        "residual": number(found.residual),
        "certified": found.certified,
        "recovered": outcome.recovered > 0,
        "mse": None if near is None else number(near.mse),
        "ssim": None if near is None else number(near.ssim),
        "images_recovered": outcome.recovered,
        "evaluations": found.evaluations,
        "seconds": round(found.seconds, 2),
    }


def _change(one: Change) -> dict[str, object]:
    return {
        "change": one.change,
        "strength": number(one.strength),
        "relative": number(one.relative),
        "by": one.by,
        "hides": one.hides,
        "floor": number(one.floor),
        "ssim": number(one.ssim),
    }


def _not_tried(case: Case, work: Work) -> list[dict[str, str]]:
    attacks = [] if work.plan is None else [one.settings.title for one in work.plan.attacks]
    found = [{"what": what, "why": why} for what, why in work.not_tried]
    return found + beyond(case, attacks) if attacks else found


def _settings(case: Case, evidence: Evidence, work: Work) -> dict[str, object]:
    constants = case.normalisation
    return {
        "shape": list(case.shape),
        "images": case.images,
        "clients": case.clients,
        "local": None if case.local is None else vars(case.local),
        "seed": case.seed,
        "normalisation": {"mean": list(constants.mean), "std": list(constants.std)},
        "originals": case.originals_as,
        "budget": work.budget,
        "operations_per_second": RATE,
        "cut_after": OVERRUN * work.budget,
        "planned_seconds": 0.0 if work.plan is None else number(seconds(work.plan.operations)),
        "notes": case.notes,
    }


def _pictures(case: Case, judged: list[tuple[Found, Likeness | None]]) -> dict[str, Tensor]:
    """The originals and the images found, as pixels; found ones in the order of the originals where these are given."""
    pictures = {}
    if case.originals is not None:
        for place, one in enumerate(case.normalisation.to_pixels(case.originals), 1):
            pictures[f"original-{place}"] = one
    for found, near in judged:
        images = found.images if near is None else found.images[near.order]
        for place, one in enumerate(case.normalisation.to_pixels(images), 1):
            if math.isfinite(float(one.sum())):
                pictures[f"{found.attack}-{place}"] = one
    return pictures
