"""One client's training under a defense: each step, of which its train function tells, and what comes of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from fldrep.applications.audit.given import take_weights
from fldrep.applications.audit.record import names_in
from fldrep.arguments import check_images, check_module
from fldrep.defenses.client import Client
from fldrep.defenses.defended import acts_on_steps, defended_step
from fldrep.defenses.defense import Defense, overrides
from fldrep.defenses.face import constants_fitting
from fldrep.defenses.hooks import memory_of, update_of
from fldrep.errors import ConfigError
from fldrep.models.face import clients_of, steady, with_inner_names, with_own_names
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.wrapping import evaluating

HAND_OVER = "call fldrep.applications.flower.defend_step(network, images, labels) after each backward()"


def defend_step(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Leave in the parameters' `.grad` what the client's defense makes of the step's gradient.

    To be called in a Flower client's train function, after each `backward()` and before the optimizer's step. Without
    a `DefenseMod` around the client it does nothing, so that one train function does for all.
    Shapes: images (B, C, H, W), as the network was given them; labels (B,), class numbers.
    A defense that computes the gradient anew, on other images or of a pruned representation, takes the mean cross
    entropy. Defenses see the network in evaluation mode; it is left as it is.
    Errors: `ConfigError` naming the argument, or where `backward()` has left no gradient.
    """
    training = UNDER_WAY.get()
    if training is not None:
        training.step(network, images, labels)


@dataclass
class Training:
    """One client's training in one round, under a defense.

    `client`: with the generator and the memory. Of the steps told of: `network`; `model`, the same behind the face,
    which shares its parameters; `images` and `labels` of each.
    """

    defense: Defense
    client: Client
    normalisation: str | Normalisation | None = None
    network: nn.Module | None = None
    model: Model | None = None
    images: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def step(self, network: nn.Module, images: Tensor, labels: Tensor) -> None:
        """Defend the gradient of one step, in place; see `defend_step`."""
        with evaluating(check_module(network, "network")):
            known = network if self.model is None else self.model
            model, images, labels = clients_of(known, check_images(images, dims=(4,)), labels)
        if self.network is None:
            self.network, self.model = network, model
            self.client.normalisation = constants_fitting(images, self.normalisation)
        elif network is not self.network:
            raise ConfigError("network: another one than at the step before: expected one network a training")
        self._remember(model)
        with evaluating(model):
            at = replace(self.client, model=model, images=images, labels=labels, step=len(self.images))
            defended = defended_step(self.defense, at, _gradient(model))
        for name, value in model.named_parameters():
            if value.grad is not None:
                value.grad.copy_(defended[name])
        self.images.append(images)
        self.labels.append(labels)

    def require_steps(self) -> None:
        """Errors: `ConfigError` where the defense needs what the train function did not hand over."""
        if self.network is None and (acts_on_steps(self.defense) or overrides(self.defense, "memory")):
            needs = "acts on each step" if acts_on_steps(self.defense) else "needs the network"
            raise ConfigError(f"defense {self.defense.settings.method!r} {needs}: {HAND_OVER}")

    def update(self, received: Mapping[str, Tensor], update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What is sent of an update: both {array: (*shape)}, of the arrays that the defense acts on.

        These are the network's parameters that are trained; all arrays of floating-point numbers where no step told of
        the network. Errors: `ConfigError` for what the defense needs and was not handed over.
        """
        if self.network is not None:
            return self._of_network(received, update)
        floating = {key: value[None] for key, value in update.items() if value.is_floating_point()}
        try:
            return {key: value[0] for key, value in update_of(self.defense, floating, self.client).items()}
        except ConfigError as error:
            raise ConfigError(f"{error}; {HAND_OVER}") from None

    def _of_network(self, received: Mapping[str, Tensor], update: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = names_in(self.network, received)
        trained = {name: value for name, value in self.network.named_parameters() if value.requires_grad}
        model = self._model_at({names[key]: value for key, value in received.items()})
        like, everything = model.head.weight, dict(self.network.named_parameters())
        own = {names[key]: value[None].to(like) for key, value in update.items() if names[key] in everything}
        images, labels = torch.cat(self.images), torch.cat(self.labels)
        client = replace(self.client, model=model, images=images, labels=labels)
        sent = with_own_names(model, update_of(self.defense, dict(with_inner_names(model, own)), client))
        return {key: sent[name][0].cpu() for key, name in names.items() if name in trained}

    def _model_at(self, received: Mapping[str, Tensor]) -> Model:
        """The network as the client received it, in evaluation mode."""
        network = copy.deepcopy(self.network).eval()
        take_weights(network, received, "received")
        return steady(network, tuple(self.images[0].shape[1:]))

    def _remember(self, model: Model) -> None:
        """Begin what the defense keeps, where nothing is kept yet, and have it where the network is."""
        if not self.client.memory and overrides(self.defense, "memory"):
            self.client.memory = memory_of(self.defense, replace(self.client, model=model))
        device = model.head.weight.device
        self.client.memory = {name: value.to(device) for name, value in self.client.memory.items()}


# Set by the mod around a client's train function, in the same thread; None where there is no such mod.
UNDER_WAY: ContextVar[Training | None] = ContextVar("under_way", default=None)


def _gradient(model: Model) -> dict[str, Tensor]:
    """The gradients that `backward()` left, zero for frozen parameters: {name: (1, *shape)}. Errors: `ConfigError`."""
    parameters = dict(model.named_parameters())
    if all(value.grad is None for value in parameters.values()):
        raise ConfigError("network: no parameter has a gradient: expected defend_step after backward()")
    return {
        name: (torch.zeros_like(value) if value.grad is None else value.grad.detach().clone())[None]
        for name, value in parameters.items()
    }
