"""The strongest of several attacks, chosen for each target by one common cost and never by the truth.

What AutoAttack (Croce and Hein 2020, arXiv:2003.01690) is for robustness: a defense is judged by the best of a fixed
ensemble, so that no one attack's weakness is taken for its strength.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from fldrep.attack import adaptive, dlg, features, gs
from fldrep.attack.engine import distances_at
from fldrep.attack.masks import defended_part, what_survives
from fldrep.attack.problem import Attack, Reconstruction, choose
from fldrep.config.attacks import AttackSettings
from fldrep.config.presets import ATTACK_PRESETS
from fldrep.errors import AttackRefused
from fldrep.models.model import Model

MEMBERS: dict[str, Attack] = {
    name: (gs.PRESETS | adaptive.PRESETS | features.PRESETS | dlg.PRESETS)[name]
    for name in ("gs", "gs-masked", "gs-drop", "r-matching", "gs-l2", "dlg", "dlg-scaled", "dlg-masked")
}


def ensemble(
    model: Model,
    seen: Mapping[str, Tensor],
    labels: Tensor | None,
    settings: AttackSettings,
    *,
    defended: str | None = None,
    **setup,
) -> Reconstruction:
    """Run every member that is not refused, from the same initial points, and keep the best of each restart.

    The common cost is the cosine over the entries that survive the public mask; members that diverged come last. Every
    member may evaluate the gradient `iterations` times. `members` of the result names whose each restart is.
    """
    where = defended_part(seen, defended)
    found = dict(_runs(model, seen, labels, settings, where, setup))
    comparison = what_survives(where)
    judge = {key: setup[key] for key in ("shape", "local") if key in setup}

    def cost(one: Reconstruction) -> Tensor:
        return distances_at(
            model, seen, one.all_images, one.labels_found, comparison, chunk=int(one.chunk.min()), **judge
        )

    start = gs.gs(model, seen, labels, member_settings(settings, "gs", iterations=0), **setup)
    return _best(found, {name: cost(one) for name, one in found.items()}, cost(start))


def _runs(model, seen, labels, settings, where, setup):
    for name, attack in MEMBERS.items():
        try:
            yield name, attack(model, seen, labels, member_settings(settings, name), defended=where, **setup)
        except AttackRefused:
            continue


def member_settings(settings: AttackSettings, name: str, **changed) -> AttackSettings:
    """The settings of a member: what it shares with the ensemble, and as many evaluations of the gradient."""
    preset = ATTACK_PRESETS[name]
    if "inner_iterations" in preset:
        steps = settings.iterations // preset["inner_iterations"]
        return AttackSettings(preset=name, labels=settings.labels, iterations=steps, restarts=settings.restarts)
    shared = {key: getattr(settings, key) for key in preset}
    return AttackSettings(preset=name, **shared | changed)


def _best(found: dict[str, Reconstruction], costs: dict[str, Tensor], initial: Tensor) -> Reconstruction:
    """For each target and restart the member of least cost."""
    names = list(found)
    cost = torch.stack([costs[name] for name in names], -1)  # (N, R, members)
    diverged = torch.stack([found[name].diverged | ~costs[name].isfinite() for name in names], -1)
    winner = choose(cost.flatten(0, 1), diverged.flatten(0, 1)).view(cost.shape[:2])

    def of_winner(parts: list[Tensor]) -> Tensor:
        stacked = torch.stack(parts, 2)
        index = winner.view(*winner.shape, *[1] * (stacked.ndim - 2)).expand(*winner.shape, 1, *stacked.shape[3:])
        return stacked.gather(2, index).squeeze(2)

    picked = {
        key: of_winner([getattr(found[name], key) for name in names])
        for key in ("all_images", "labels_found", "iterations", "chunk")
    }
    final, lost = of_winner(list(cost.unbind(-1))), of_winner(list(diverged.unbind(-1)))
    chosen = choose(final, lost)
    rows = torch.arange(len(chosen))
    return Reconstruction(
        images=picked["all_images"][rows, chosen],
        distance=final[rows, chosen],
        chosen=chosen,
        initial_distance=initial,
        final_distance=final,
        diverged=lost,
        members=[[names[one] for one in row] for row in winner.tolist()],
        **picked,
    )


PRESETS = {"ensemble": ensemble}
