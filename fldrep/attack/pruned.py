"""Attacks on clients that prune the representation itself: the trial is pruned as the client's image was.

A client that takes the loss anew with r' = mask * r sends the gradient that a network without the pruned features has:
one whose last weight W is zero in their columns, since W (mask * r) = (W mask) r. Which columns those are is public, as
dL/dW is zero there. So this network is attacked, a different one for each update, and all layers below are compared
with what the client's mask made of them. To leave the mask out of the trial, as `gs-masked` does, compares gradients of
two different networks.
"""

import copy
from collections.abc import Mapping
from dataclasses import fields
from functools import partial

import torch
from torch import Tensor

from fldrep.attack.masks import defended_part
from fldrep.attack.problem import Attack, Draw, Reconstruction
from fldrep.config.attacks import AttackSettings
from fldrep.errors import AttackRefused
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_WEIGHT


def through_the_mask(attack: Attack) -> Attack:
    """A masked attack that goes through the client's mask. Args, errors: as for `each_in_its_own_network`."""
    return partial(each_in_its_own_network, attack)


def each_in_its_own_network(
    attack: Attack,
    model: Model,
    seen: Mapping[str, Tensor],
    labels: Tensor | None,
    settings: AttackSettings,
    *,
    draw: Draw,
    defended: str | None = None,
    **setup,
) -> Reconstruction:
    """Run a masked attack on each update by itself, in the network without its pruned features.

    The networks differ, so the restarts of one target are worked together, and targets one after the other. `setup` as
    in `engine.solve_all`. Errors: `AttackRefused` where the last layer has no public mask, or where the client did
    several local steps, each with a mask of its own.
    """
    if defended_part(seen, defended) != "head":
        raise AttackRefused(
            f"attack {settings.preset!r} prunes the representation as the client did, but no column of the last layer"
            " alone is masked"
        )
    if setup.get("local") is not None:
        raise AttackRefused(f"attack {settings.preset!r} knows one mask an update, but each local step has its own")

    def one(target: int) -> Reconstruction:
        own = {name: value[target : target + 1] for name, value in seen.items()}
        known = None if labels is None else labels[target : target + 1]
        return attack(
            without_pruned(model, own[HEAD_WEIGHT][0]),
            own,
            known,
            settings,
            draw=lambda _, restart: draw(target, restart),
            defended="head",
            **setup,
        )

    return joined([one(target) for target in range(len(seen[HEAD_WEIGHT]))])


def without_pruned(model: Model, head_gradient: Tensor) -> Model:
    """A copy of the model whose last weight is zero where its gradient's columns are. Shape: (classes, F)."""
    own = copy.deepcopy(model)
    with torch.no_grad():
        own.head.weight.mul_((head_gradient != 0).any(0).to(own.head.weight))
    return own


def joined(parts: list[Reconstruction]) -> Reconstruction:
    """One result for the targets of all."""
    tensors = [field.name for field in fields(Reconstruction) if field.name != "members"]
    return Reconstruction(**{name: torch.cat([getattr(part, name) for part in parts]) for name in tensors})
