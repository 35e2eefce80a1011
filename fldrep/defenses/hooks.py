"""The hooks of a defense as they are called: what one gives is checked before it is used."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from fldrep.arguments import refuse
from fldrep.defenses.client import Client
from fldrep.defenses.defense import Defense

Tensors = Mapping[str, Tensor]


def batch_of(defense: Defense, client: Client) -> tuple[Tensor, Tensor]:
    """Images and labels of a step, as `on_batch` gives them. Errors: `ConfigError` where it gives something else."""
    found = defense.on_batch(client.images, client.labels, client)
    pair = isinstance(found, tuple | list) and len(found) == 2 and all(isinstance(one, Tensor) for one in found)
    if not pair or len(found[0]) != len(found[1]):
        refuse(_named(defense, "on_batch"), found, "images and as many labels, two tensors")
    return found[0], found[1]


def step_of(defense: Defense, gradient: Tensors, client: Client) -> Tensors:
    """The gradient of a step as `on_step` gives it. Errors: as for `update_of`."""
    return _alike(_named(defense, "on_step"), defense.on_step(gradient, client), gradient)


def update_of(defense: Defense, update: Tensors, client: Client) -> Tensors:
    """What is sent, as `on_update` gives it. Errors: `ConfigError` naming a tensor that is missing or another shape."""
    return _alike(_named(defense, "on_update"), defense.on_update(update, client), update)


def memory_of(defense: Defense, client: Client) -> dict[str, Tensor]:
    """What a client keeps at first. Errors: `ConfigError` where `memory` gives no tensors by name."""
    client.require("model", by=f"defense {defense.settings.method!r}")
    found = defense.memory(client.model)
    if not isinstance(found, Mapping) or not all(isinstance(one, Tensor) for one in found.values()):
        refuse(_named(defense, "memory"), found, "a dict of tensors by name")
    return dict(found)


def _named(defense: Defense, hook: str) -> str:
    return f"defense {defense.settings.method!r}: what {hook} returns"


def _alike(name: str, found: Any, given: Tensors) -> Tensors:
    """What a hook gave, where it has the names and shapes of what it was given."""
    if not isinstance(found, Mapping):
        refuse(name, found, "a dict of tensors by name, as it was given")
    if found.keys() != given.keys():
        other = min(found.keys() ^ given.keys(), key=str)
        refuse(f"{name}[{other!r}]", found.get(other), "the names it was given, no more and no less")
    for key, value in given.items():
        if getattr(found[key], "shape", None) != value.shape or not isinstance(found[key], Tensor):
            refuse(f"{name}[{key!r}]", found[key], f"a tensor of shape {tuple(value.shape)}")
    return found
