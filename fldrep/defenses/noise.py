"""Noise on every entry of an update, with the update's norm clipped before if asked.

Source: the mechanisms of differential privacy (Dwork and Roth 2014); without `clip` they guarantee nothing.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from fldrep.config.defenses import DefenseSettings
from fldrep.defenses.client import Client
from fldrep.models.updates import Update

Draw = Callable[[Tensor, torch.Generator], Tensor]


def add_gaussian(update: Update, settings: DefenseSettings, client: Client) -> Update:
    """Add independent N(0, std^2) noise to every entry."""
    return _noised(update, settings, client, _gaussian)


def add_laplace(update: Update, settings: DefenseSettings, client: Client) -> Update:
    """Add independent Laplace noise of standard deviation `std` to every entry."""
    return _noised(update, settings, client, _laplace)


def clipped(update: Update, norm: float | None) -> Update:
    """Each client's update scaled down to at most this L2 norm over all its tensors; None leaves it as it is."""
    if norm is None:
        return update
    squares = sum(values.flatten(1).square().sum(1) for values in update.values())
    factor = (norm / squares.sqrt()).clamp_max(1)  # a zero update has factor min(inf, 1)
    scaled = {name: values * factor.view(-1, *[1] * (values.ndim - 1)) for name, values in update.items()}
    return Update(scaled, getattr(update, "defended", "none"))


def _noised(update: Update, settings: DefenseSettings, client: Client, draw: Draw) -> Update:
    client.require("generator", by=settings.method)
    sent = {name: values.clone() for name, values in clipped(update, settings.clip).items()}
    clients = len(next(iter(sent.values())))
    for number in range(clients):  # client by client: the noise of one does not depend on how many follow
        for values in sent.values():
            like = torch.empty(values[number].shape, dtype=values.dtype)
            values[number] += settings.std * draw(like, client.generator).to(values.device)
    return Update(sent, settings.defended_layers)


def _gaussian(like: Tensor, generator: torch.Generator) -> Tensor:
    return like.normal_(generator=generator)


def _laplace(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard deviation 1: the difference of two exponentials of scale 1 / sqrt(2)."""
    first = like.exponential_(generator=generator)
    second = torch.empty_like(like).exponential_(generator=generator)
    return (first - second) / math.sqrt(2)


DEFENSES = {"gaussian": add_gaussian, "laplace": add_laplace}
