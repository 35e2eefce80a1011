"""Gaussian noise on every entry of an update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.defenses.noise import Noise
from fldrep.registry import defense

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@defense("gaussian")
class Gaussian(Noise):
    """Add independent N(0, std^2) noise to every entry."""

    noise = "gaussian"
    order, colour, marker, line = 30, "#029e73", "D", "-."
    strengths = ({"std": 0.1}, {"std": 0.3}, {"std": 1.0})

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal draws."""
        return like.normal_(generator=generator)
