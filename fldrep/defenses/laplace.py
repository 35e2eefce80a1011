"""Laplace noise on every entry of an update."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fldrep.defenses.noise import Noise
from fldrep.registry import defense

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@defense("laplace")
class Laplace(Noise):
    """Add independent Laplace noise of standard deviation `std` to every entry."""

    noise = "laplace"
    order, colour, marker, line = 40, "#cc78bc", "v", ":"
    strengths = ({"std": 0.1}, {"std": 0.3}, {"std": 1.0})

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Differences of two exponentials of scale 1 / sqrt(2)."""
        import torch

        first = like.exponential_(generator=generator)
        second = torch.empty_like(like).exponential_(generator=generator)
        return (first - second) / math.sqrt(2)
