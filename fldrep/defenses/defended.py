"""What a client sends under its defense: the hooks of a defense around one gradient, or around local steps."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fldrep import registry
from fldrep.config.defenses import DefenseSettings
from fldrep.defenses.client import Client
from fldrep.defenses.defense import Defense, overrides
from fldrep.defenses.hooks import batch_of, memory_of, step_of, update_of
from fldrep.models.model import Model
from fldrep.models.updates import LocalSteps, Update, along, client_update


def defense_of(settings: DefenseSettings) -> Defense:
    """The defense that settings describe."""
    return registry.value("defense", settings.method)(settings)


def defended_update(defense: Defense, client: Client, local: LocalSteps | None = None) -> Update:
    """What a client sends, {name: (1, *shape)}, computed anew from its images, its model and its memory.

    All three are left as they were; where it has no memory yet, it is what the defense keeps at first.
    Args: client: with model, images (B, C, H, W) and labels (B,); local: several steps of SGD instead of one gradient.
    """
    if local is None:
        return defended_gradient(defense, client, client_update(client.model, client.images[None], client.labels[None]))
    client = _with_memory(defense, client)
    if not acts_on_steps(defense):
        return _sent(defense, client, client_update(client.model, client.images[None], client.labels[None], local))
    return _sent(defense, client, {name: value[None] for name, value in _sum_of_steps(defense, client, local).items()})


def defended_gradient(defense: Defense, client: Client, plain: Mapping[str, Tensor]) -> Update:
    """What a client sends of its plain gradient {name: (1, *shape)}, computed anew only where hooks change it."""
    client = _with_memory(defense, client)
    if acts_on_steps(defense):
        plain = {name: value[None] for name, value in defended_step(defense, client, plain).items()}
    return _sent(defense, client, dict(plain))


def defended_step(defense: Defense, client: Client, plain: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradient of one step, {name: its shape}, of the plain one {name: (1, *shape)}.

    Computed anew, in a copy of the model, only where hooks change it. Args: client: with the model at the weights that
    the step starts from, and the step's images (B, C, H, W) and labels (B,).
    """
    return _step(defense, replace(client, model=_prepared(defense, client.model)), plain)


def images_taken(defense: Defense, client: Client) -> Tensor:
    """The images that a client takes its gradient of: its own, or what the defense makes of them. (B, C, H, W).

    Args: client: as it is before anything is drawn, so that what is drawn here is drawn for its update once more.
    """
    client = _with_memory(defense, client)
    return batch_of(defense, replace(client, model=_prepared(defense, client.model)))[0]


def acts_on_steps(defense: Defense) -> bool:
    """Whether a defense does something at each local step, so that it cannot be laid on a finished update."""
    return any(overrides(defense, hook) for hook in ("on_model", "on_batch", "on_step"))


def _with_memory(defense: Defense, client: Client) -> Client:
    """The client with a memory of its own to change: a copy of what it kept, or what is kept at first."""
    if client.memory or not overrides(defense, "memory"):
        return replace(client, memory={name: value.clone() for name, value in client.memory.items()})
    return replace(client, memory=memory_of(defense, client))


def _prepared(defense: Defense, model: Model | None) -> Model | None:
    """The model itself, or a prepared copy where the defense changes what it computes."""
    if not defense.changes_gradient:
        return model
    place = copy.deepcopy(model)
    defense.on_model(place)
    return place


def _step(defense: Defense, client: Client, plain: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """The defended gradient of one step, {name: its shape}. Args: plain: the gradient {name: (1, *shape)} if known."""
    client.require("model", "images", "labels", by=f"defense {defense.settings.method!r}")
    images, labels = batch_of(defense, client)
    if plain is None or defense.changes_gradient:
        plain = client_update(client.model, images[None], labels[None])
    gradient = {name: value[0] for name, value in plain.items()}
    return step_of(defense, gradient, replace(client, images=images, labels=labels))


def _sum_of_steps(defense: Defense, client: Client, local: LocalSteps) -> dict[str, Tensor]:
    """The sum of a client's local steps, each along a gradient that is defended at the weights that it starts from."""
    place, total, step = copy.deepcopy(client.model), {}, None
    defense.on_model(place)
    for number, one in enumerate(local.batches(len(client.images))):
        at = replace(client, model=place, images=client.images[one], labels=client.labels[one], step=number)
        step = along(_step(defense, at, None), step, local.momentum)
        with torch.no_grad():
            for name, value in place.named_parameters():
                value.sub_(step[name], alpha=local.lr)
                total[name] = total.get(name, 0) + step[name]
    return total


def _sent(defense: Defense, client: Client, update: dict[str, Tensor]) -> Update:
    return Update(update_of(defense, update, client), defense.zeros, defense.distorts)
