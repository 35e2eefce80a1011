"""(a) Each attack and score on the device and on the CPU from the same starts: how far apart, and what the host waits.

Rounding differs between devices, and the sign in Adam's step makes one bit of a gradient a whole step of a pixel: so
float64 tells whether both compute the same, the first distance whether the gradient is right, and in float32 the median
says more than the largest difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

import fldrep
from benchmarks.gpu.clock import Waits, now
from benchmarks.gpu.inner import (
    AGREEMENT,
    GRADIENT_ATTACKS,
    RULES,
    attack_settings,
    device_for,
    device_words,
    evaluations_of,
    reconstruct,
)
from benchmarks.gpu.sheet import Sheet, outcome
from benchmarks.gpu.task import Task
from benchmarks.measuring import images, network

RATE = 0.6
DTYPES = ("float64", "float32")
# What an attack needs of the update: columns of the last layer masked, or the representation pruned.
MASKED = (
    *("gs-masked", "gs-drop", "dlg-masked", "r-matching"),
    *("gs-spectral-masked", "gs-spectral-drop", "r-matching-spectral"),
)
PRUNED = ("gs-pruned", "gs-spectral-pruned", "dlg-pruned")
# Of 20 evaluations of the gradient each for L-BFGS.
STEPS = {preset: 1 for preset in GRADIENT_ATTACKS if evaluations_of(attack_settings(preset)) > 1}
FIRST_ORDER_STEPS = 4


@dataclass(frozen=True)
class Comparison:
    """One row: an attack (estimator empty) or a score, on a network, in a precision."""

    kind: str
    name: str
    network: str
    dtype: str
    estimator: str = ""

    @property
    def updates(self) -> int:
        """How many images there are behind it."""
        return 2 if self.kind == "attack" else 1

    @property
    def steps(self) -> int | None:
        """Optimiser steps of an attack."""
        return STEPS.get(self.name, FIRST_ORDER_STEPS) if self.kind == "attack" else None

    def planned(self) -> dict:
        """The columns known before it is measured."""
        return {**vars(self), "updates": self.updates, "steps": self.steps}


def comparisons(convnet: str) -> list[Comparison]:
    """All rows: everything on the cheap network; on the other what its layers have of their own."""
    attacks = [Comparison("attack", name, "lenet", dtype) for name in GRADIENT_ATTACKS for dtype in DTYPES]
    estimators = [("ratio", how) for how in ("variance", "jvp")]
    rules = [(rule, "exact") for rule in RULES]
    scores = [Comparison("score", rule, "lenet", dtype, how) for rule, how in estimators + rules for dtype in DTYPES]
    wide = [Comparison("attack", "gs", convnet, dtype) for dtype in DTYPES]
    costly = [
        Comparison("score", "ratio", convnet, dtype, how) for how in ("variance", "jvp", "exact") for dtype in DTYPES
    ]
    return [*attacks, *scores, *wide, *costly]


def measure(task: Task) -> dict:
    """The table `agreement`."""
    rows = comparisons(task.scale.convnet)
    sheet = Sheet(AGREEMENT, task.folder, [one.planned() for one in rows])
    with device_for(task.device) as device:
        for number, one in enumerate(rows):
            if task.left() <= 0:
                return {"left_out": f"{len(rows) - number} rows, for lack of time"}
            work = partial(compared, one, torch.device(device))
            sheet.fill({number: outcome(work, device_words(device, one.dtype))})
    return {}


def compared(one: Comparison, device: torch.device) -> dict:
    """The columns that a comparison measures."""
    model = network(one.network, getattr(torch, one.dtype))
    return (compared_attacks if one.kind == "attack" else compared_scores)(one, model, device)


# Attacks -------------------------------------------------------------------------------------------------------------


def compared_attacks(one: Comparison, model, device: torch.device) -> dict:
    """The same update attacked here and there."""
    inputs = images(one.updates, model.head.weight.dtype)
    labels = torch.arange(one.updates)
    sent = sent_update(one.name, model, inputs, labels)

    def attack(there: torch.device, steps: int = one.steps, progress: Waits | None = None):
        update = type(sent)({name: value.to(there) for name, value in sent.items()}, sent.defended)
        on = network(one.network, model.head.weight.dtype, str(there))
        return reconstruct(on, update, labels.to(there), one.name, steps, progress=progress)

    here, cpu_s = timed(partial(attack, torch.device("cpu")), torch.device("cpu"))
    there, device_s = timed(partial(attack, device), device)
    apart = (there.all_images - here.all_images).abs()
    return {
        "start_apart": relative(there.initial_distance, here.initial_distance),
        "end_apart": relative(there.final_distance, here.final_distance),
        "largest": apart.max().item(),
        "median": apart.median().item(),
        **waits_of(one, attack, device),
        "device_s": device_s,
        "cpu_s": cpu_s,
    }


def sent_update(attack: str, model, inputs: Tensor, labels: Tensor):
    """What an attack is made for: undefended, or under Soteria."""
    update = fldrep.client_update(model, inputs, labels)
    if attack not in MASKED + PRUNED:
        return fldrep.defend(update, "none")
    pruned = "representation" if attack in PRUNED else "gradient"
    return fldrep.defend(update, "soteria", rate=RATE, prune=pruned, model=model, images=inputs, labels=labels)


def waits_of(one: Comparison, attack: Callable, device: torch.device) -> dict:
    """How often the host waits from the first step's end to the second's, and where."""
    if device.type != "cuda":
        return {"waits_where": "not run: no GPU"}
    waits = Waits()
    attack(device, 3, waits)
    return {"waits": len(waits.places), "waits_where": " ".join(dict.fromkeys(waits.places))}


# Scores --------------------------------------------------------------------------------------------------------------


def compared_scores(one: Comparison, model, device: torch.device) -> dict:
    """The same image scored here and there; for the cheap network also the columns that are pruned then."""
    image = images(one.updates, model.head.weight.dtype)
    sides = [(model, image), (network(one.network, image.dtype, str(device)), image.to(device))]
    (here, cpu_s), (there, device_s) = (
        timed(partial(fldrep.feature_scores, *side, one.name, one.estimator), side[1].device) for side in sides
    )
    there = there.cpu()
    known = here.isfinite() & there.isfinite()
    apart = (there - here)[known].abs() / here[known].abs().max()
    found = {"largest": apart.max().item(), "median": apart.median().item(), "device_s": device_s, "cpu_s": cpu_s}
    if one.network == "lenet":
        masks = [fldrep.column_mask(*side, RATE, one.name, "sample", one.estimator).cpu() for side in sides]
        found["columns"] = int((masks[0] != masks[1]).sum())
    return found


def timed(work: Callable, device: torch.device) -> tuple:
    """What a piece of work gives, and its seconds."""
    began = now(device)
    found = work()
    return found, now(device) - began


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the size of what was expected."""
    return ((found - expected).abs() / expected.abs().clamp_min(1e-30)).max().item()
