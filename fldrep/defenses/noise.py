"""Noise on every entry of an update, with the update's norm clipped before if asked.

Source: the mechanisms of differential privacy (Dwork and Roth 2014); without `clip` they guarantee nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fldrep.config.section import Section, option
from fldrep.defenses.defense import Defense

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fldrep.defenses.client import Client

Draw = Callable[["Tensor", "torch.Generator"], "Tensor"]


class Noise(Defense):
    """Independent noise on every entry; a law of it draws one of standard deviation 1."""

    class Settings(Section):
        """How much noise, and what is scaled before."""

        std: float = option(..., "standard deviation of the noise on each gradient entry", ge=0)
        clip: float | None = option(None, "L2 norm to which an update is scaled down before noise is added", gt=0)

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Independent draws of standard deviation 1, of a tensor's shape and dtype."""
        raise NotImplementedError

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """Each client's update, clipped, with noise."""
        from fldrep.models.updates import clipped

        client.require("generator", by=self.settings.method)
        return with_noise(clipped(update, self.clip), self.std, self.draw, client.generator)


def with_noise(update: dict[str, Tensor], std: float, draw: Draw, generator: torch.Generator) -> dict[str, Tensor]:
    """An update {name: (N, *shape)} with noise of a standard deviation added to every entry."""
    import torch

    sent = {name: values.clone() for name, values in update.items()}
    clients = len(next(iter(sent.values())))
    for number in range(clients):  # client by client: the noise of one does not depend on how many follow
        for values in sent.values():
            like = torch.empty(values[number].shape, dtype=values.dtype)
            values[number] += std * draw(like, generator).to(values.device)
    return sent
