"""Identity: nothing changes."""

import torch
from torch import Tensor, nn

from fldrep.derivatives.layer import Layer, Passes, Shape, layer, without_weights
from fldrep.derivatives.network import Names
from fldrep.derivatives.rows import Record


@layer(nn.Identity)
class Identity(Layer):
    """The rules of `nn.Identity`."""

    def passes(self, names: Names, shape: Shape) -> Passes:
        """All as it arrives."""
        return Passes(without_weights(lambda x: (x, _same, _same, None)), shape)

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Both as they are."""
        return x, dx

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """Nothing to pull back through."""
        return x, []

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """Both as they are."""
        return values, variances

    def inverse(self, y: Tensor) -> Tensor:
        """As it is."""
        return y

    def values_and_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Slope 1."""
        return x, torch.ones_like(x)

    def norm(self, x: Tensor) -> float:
        """A distance stays what it is."""
        return 1.0


def _same(value: Tensor) -> Tensor:
    return value
