"""Attacks that are refused for some targets: the others are attacked, and the reason is told of each."""

from dataclasses import fields

import torch

from fldrep.attack.attacker import carry_out
from fldrep.attack.engine import Work
from fldrep.attack.observation import Observation
from fldrep.attack.reconstruction import WORDS, Reconstruction
from fldrep.config.attacks import AttackSettings
from fldrep.errors import AttackRefused


def attempt(observation: Observation, settings: AttackSettings, work: Work) -> tuple[Reconstruction, list[str]]:
    """What `attacker.carry_out` finds, and for each target why there is nothing (empty where there is).

    Where a target is refused, images and distances are NaN, and it counts as diverged.
    """
    count = observation.count()
    try:
        found = carry_out(observation, settings, work)
        return found, reasons_of(found)
    except AttackRefused as error:
        reasons = error.reasons or dict.fromkeys(range(count), str(error))
    rest = [target for target in range(count) if target not in reasons]
    found = carry_out(observation.some(rest), settings, work) if rest else None
    reasons |= dict(zip(rest, reasons_of(found) if found else (), strict=True))
    return spread(found, rest, observation, settings), [reasons[target] for target in range(count)]


def reasons_of(found: Reconstruction) -> list[str]:
    """For each target why no restart has an image; empty where one has."""
    return [row[0] if all(row) else "" for row in found.refused]


def spread(
    found: Reconstruction | None, targets: list[int], observation: Observation, settings: AttackSettings
) -> Reconstruction:
    """What was found of some targets as a result for all; of the others images and distances are NaN, and diverged."""
    whole = _nothing(observation, settings, observation.count())
    for field in fields(Reconstruction) if found else ():
        if field.name not in WORDS:
            part = getattr(whole, field.name)
            part[targets] = getattr(found, field.name).to(part.dtype)
    return whole


def _nothing(observation: Observation, settings: AttackSettings, count: int) -> Reconstruction:
    each, images = (count, settings.restarts), () if observation.images is None else (observation.images,)
    lost = torch.full(each, torch.nan)
    return Reconstruction.of(
        all_images=torch.full((*each, *images, *observation.shape), torch.nan).to(observation.model.head.weight.dtype),
        final_distance=lost,
        diverged=torch.ones(each, dtype=torch.bool),
        initial_distance=lost.clone(),
        labels_found=torch.zeros((*each, *images), dtype=torch.long),
        iterations=torch.zeros(each, dtype=torch.long),
        problems_at_once=torch.ones(each, dtype=torch.long),
    )
