"""Tanh: t' = 1 - t^2, t'' = -2 t t'."""

import torch
from torch import Tensor, nn

from fldrep.derivatives.layer import Passes, Shape, layer, without_weights
from fldrep.derivatives.network import Names
from fldrep.derivatives.pointwise import Pointwise

scaled = torch.ops.aten.tanh_backward  # g * (1 - y^2), in one pass


@layer(nn.Tanh)
class Tanh(Pointwise):
    """The rules of `nn.Tanh`."""

    def values_and_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As in the formula above."""
        values = x.tanh()
        return values, 1 - values.square()

    def passes(self, names: Names, shape: Shape) -> Passes:
        """As in the formulas above."""
        return Passes(without_weights(_forward), shape)

    def inverse(self, y: Tensor) -> Tensor:
        """Its inverse; outputs that rounding has brought to -1 or 1 or beyond count as the nearest number inside."""
        inside = 1 - torch.finfo(y.dtype).eps
        return y.clamp(-inside, inside).atanh()

    def norm(self, x: Tensor) -> float:
        """The slope at 0."""
        return 1.0


def _forward(x: Tensor):
    y = x.tanh()

    def slope(g: Tensor) -> Tensor:
        return scaled(g, y)

    def bent(dgy: Tensor, gy: Tensor, dx: Tensor) -> Tensor:
        return scaled(dgy.addcmul(gy * dx, y, value=-2), y)

    return y, slope, slope, bent
