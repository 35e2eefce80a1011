"""Sigmoid: s' = s (1 - s), s'' = s' (1 - 2 s)."""

import torch
from torch import Tensor, nn

from fldrep.derivatives.layer import Passes, Shape, layer, without_weights
from fldrep.derivatives.network import Names
from fldrep.derivatives.pointwise import Pointwise

scaled = torch.ops.aten.sigmoid_backward  # g * y * (1 - y), in one pass


@layer(nn.Sigmoid)
class Sigmoid(Pointwise):
    """The rules of `nn.Sigmoid`."""

    def values_and_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As in the formula above."""
        values = x.sigmoid()
        return values, values * (1 - values)

    def passes(self, names: Names, shape: Shape) -> Passes:
        """As in the formulas above."""
        return Passes(without_weights(_forward), shape)

    def inverse(self, y: Tensor) -> Tensor:
        """The logit; outputs that rounding has brought to 0 or 1 or beyond count as the nearest number inside."""
        return y.logit(torch.finfo(y.dtype).eps)

    def norm(self, x: Tensor) -> float:
        """The slope at 0."""
        return 0.25


def _forward(x: Tensor):
    y = x.sigmoid()

    def slope(g: Tensor) -> Tensor:
        return scaled(g, y)

    def bent(dgy: Tensor, gy: Tensor, dx: Tensor) -> Tensor:
        bend = gy * dx
        return scaled((dgy + bend).addcmul_(bend, y, value=-2), y)

    return y, slope, slope, bent
