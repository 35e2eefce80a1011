"""A Flower mod that applies a defense to what a client sends."""

import secrets
from typing import Any

import torch
from flwr.app import Context, Message
from flwr.clientapp.typing import ClientAppCallable

from fldrep.applications.flower.told import LR, Key, client_of, round_of, told_by
from fldrep.applications.flower.training import UNDER_WAY, Training
from fldrep.applications.flower.weights import (
    asks_to_train,
    received_and_sent,
    record_of,
    replace_sent,
    tensors_of,
)
from fldrep.arguments import check_above_zero, check_seed, check_text
from fldrep.config.defenses import defense_settings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defense_of
from fldrep.defenses.defense import overrides
from fldrep.errors import ConfigError
from fldrep.models.normalisation import Normalisation
from fldrep.seeds import generator

ROUNDS, MEMORY = "fldrep.DefenseMod", "fldrep.memory"  # keys in a client's state


class DefenseMod:
    """Apply a defense to what a client sends: `mods=[DefenseMod("gaussian", std=1e-3, clip=1.0)]`.

    The defense acts on the update in a gradient's units, (received - sent) / lr: the sum of the gradients of a client's
    steps of SGD. So its settings mean what they mean in a grid; lr=1 is for those meant for the change of the weights.
    A defense that acts on each step, or needs the network or images, is told of them by the client's train function:
    see `defend_step`. What a defense keeps from round to round lies in the client's state. Where no step told of the
    network, every array of floating-point numbers counts as a parameter; else buffers are sent as they are.
    """

    def __init__(
        self,
        method: str,
        *,
        lr: Key = LR,
        normalisation: str | Normalisation | None = None,
        seed: int | None = None,
        **settings: Any,
    ):
        """Take the settings of a defense. Args: method, normalisation, settings: as for `fldrep.defend`.

        lr: the step size, or the key under which the app tells it; seed: for runs that are to repeat; without one, as
        privacy needs it, nobody can foretell what is drawn.
        Errors: `UnknownName` for the method; `ConfigError` naming the argument.
        """
        given = {key: value for key, value in settings.items() if value is not None}
        self.defense = defense_of(defense_settings(check_text("method", method), **given))
        self.lr = lr if isinstance(lr, str | tuple) else check_above_zero("lr", lr)
        self.normalisation = normalisation
        self.seed = None if seed is None else check_seed(seed)

    def __call__(self, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        """As Flower calls a mod. Errors: `ConfigError` for what the defense needs and was not told."""
        if not asks_to_train(message):
            return call_next(message, context)
        kept = context.state.array_records.get(MEMORY, {})
        client = Client(generator=self._generator(message, context), training=True, memory=tensors_of(kept))
        training = Training(self.defense, client, self.normalisation)
        outer = UNDER_WAY.set(training)
        try:
            reply = call_next(message, context)
        finally:
            UNDER_WAY.reset(outer)
        if reply.has_error():
            return reply
        training.require_steps()
        if overrides(self.defense, "on_update"):
            self._defend(training, message, reply, self._lr(message, reply, context))
        if training.client.memory:
            context.state[MEMORY] = record_of(training.client.memory)
        return reply

    def _defend(self, training: Training, message: Message, reply: Message, lr: float) -> None:
        """Put into a reply what the defense makes of its weights."""
        received, sent = received_and_sent(message, reply, "DefenseMod")
        update = {
            key: (value.double() - sent[key].double()).div(lr).to(value.dtype)
            for key, value in received.items()
            if value.is_floating_point()
        }
        for key, value in training.update(received, update).items():
            sent[key] = (received[key].double() - lr * value.double()).to(sent[key].dtype)
        replace_sent(reply, sent)

    def _lr(self, message: Message, reply: Message, context: Context) -> float:
        found = told_by(self.lr, message, reply, context)
        if found is None:
            keys = " or ".join(map(repr, [self.lr] if isinstance(self.lr, str) else self.lr))
            told = "neither the reply nor the server's or the run's config tell it"
            raise ConfigError(f"lr: {keys}: {told}: expected DefenseMod(..., lr=0.1) or another key")
        return check_above_zero("lr", found)

    def _generator(self, message: Message, context: Context) -> torch.Generator:
        if self.seed is None:
            return torch.Generator().manual_seed(secrets.randbits(63))  # a known seed would take the noise away
        named = (self.defense.settings.method, self.seed, client_of(context), round_of(message, context, ROUNDS))
        return generator("flower", *named)
