"""Clipping and Laplace noise at a stated (epsilon, delta) an update.

Found in: Bun and Steinke 2016, arXiv:1605.02065: an epsilon-private mechanism is epsilon^2 / 2-zero-concentrated
(proposition 1.4), and a rho-zero-concentrated one is (rho + 2 root(rho ln(1 / delta)), delta)-private (proposition
1.3). Noise of scale b on entries that move by x in L2 norm is x^2 / (2 b^2)-concentrated, as `theory/accounting.py`
says. Ours: b is what follows for x = 2 clip. At delta 0 the epsilon grows with the root of the number of weights; the
table `accounting` says it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fldrep.defenses.calibrated import Calibrated
from fldrep.defenses.laplace import Laplace
from fldrep.registry import defense

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@defense("laplace-dp")
class LaplaceDP(Calibrated):
    """Scale the update down to an L2 norm, and add the Laplace noise that (epsilon, delta) asks for."""

    noise = "laplace"
    order, colour, marker, line = 42, "#cc78bc", "^", ":"
    strengths = ({"epsilon": 100.0, "clip": 1.0}, {"epsilon": 30.0, "clip": 1.0}, {"epsilon": 10.0, "clip": 1.0})

    def multiplier(self, epsilon: float, delta: float) -> float:
        """Standard deviation over sensitivity: root(2) b, with rho = 1 / (2 b^2)."""
        return 1 / (math.sqrt(epsilon - math.log(delta)) - math.sqrt(-math.log(delta)))

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Laplace draws of standard deviation 1."""
        return Laplace.draw(self, like, generator)
