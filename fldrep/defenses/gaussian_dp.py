"""Clipping and Gaussian noise at a stated (epsilon, delta) an update.

Found in: Balle and Wang 2018, arXiv:1805.06530, theorem 8: noise of standard deviation s on a sensitivity of 1 is
(epsilon, delta)-private if and only if Phi(1 / 2s - epsilon s) - e^epsilon Phi(-1 / 2s - epsilon s) <= delta. Ours: s
is found by halving, with the normal distribution of the standard library, since configs are read without others.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fldrep.defenses.calibrated import Calibrated
from fldrep.registry import defense

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@defense("gaussian-dp")
class GaussianDP(Calibrated):
    """Scale the update down to an L2 norm, and add the Gaussian noise that (epsilon, delta) asks for."""

    noise = "gaussian"
    order, colour, marker, line = 31, "#029e73", "*", "-."
    strengths = ({"epsilon": 100.0, "clip": 1.0}, {"epsilon": 30.0, "clip": 1.0}, {"epsilon": 10.0, "clip": 1.0})

    def multiplier(self, epsilon: float, delta: float) -> float:
        """The least, but for rounding."""
        return gaussian_multiplier(epsilon, delta)

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal draws."""
        return like.normal_(generator=generator)


def gaussian_multiplier(epsilon: float, delta: float) -> float:
    """The least standard deviation over sensitivity that is (epsilon, delta)-private, rounded up.

    >>> round(gaussian_multiplier(1.0, 1e-5), 3)
    3.731
    """
    low, high = 1e-6, 1.0
    while _delta(high, epsilon) > delta:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _delta(middle, epsilon) > delta else (low, middle)
    return high


def _delta(multiplier: float, epsilon: float) -> float:
    """The least delta at an epsilon."""
    apart, spent = 1 / (2 * multiplier), epsilon * multiplier
    return _normal(apart - spent) - math.exp(epsilon) * _normal(-apart - spent)


def _normal(value: float) -> float:
    """The standard normal distribution function."""
    return math.erfc(-value / math.sqrt(2)) / 2
