"""Adaptive average pooling: means over windows that are chosen for the size of the output."""

import math

import torch
from torch import Tensor, nn

from fldrep.derivatives.layer import Layer, NoRule, Passes, Shape, layer, output_shape, without_weights
from fldrep.derivatives.layers.average_pool import shared_by_windows
from fldrep.derivatives.network import Names
from fldrep.derivatives.rows import Record


@layer(nn.AdaptiveAvgPool2d)
class AdaptiveAveragePool(Layer):
    """The rules of `nn.AdaptiveAvgPool2d`."""

    def passes(self, names: Names, shape: Shape) -> Passes:
        """It is linear, so that changes go the way of values."""

        def forward(x: Tensor):
            def spread(g: Tensor) -> Tensor:
                return torch.ops.aten._adaptive_avg_pool2d_backward(g, x)

            return self.module(x), self.module, spread, None

        return Passes(without_weights(forward), output_shape(self.module, shape))

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The means of both."""
        return self.module(x), self.module(dx)

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """A cotangent is shared by the pixels of its window."""
        values = self.module(x)
        kernel = self._windows(x, values)
        return values, [shared_by_windows(x.shape[1:], kernel, kernel)]

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of k inputs varies as the mean of their variances, divided by k."""
        pooled = self.module(values)
        return pooled, self.module(variances) / math.prod(self._windows(values, pooled))

    def norm(self, x: Tensor) -> float:
        """The square of a mean is at most the mean of squares."""
        pooled = self.module(x)
        self._windows(x, pooled)
        sizes = zip(x.shape[2:], pooled.shape[2:], strict=True)
        return math.sqrt(math.prod(after / before for before, after in sizes))

    @staticmethod
    def _windows(x: Tensor, pooled: Tensor) -> tuple[int, int]:
        """Their size, where all have one."""
        sizes = [(before, after) for before, after in zip(x.shape[2:], pooled.shape[2:], strict=True)]
        if any(before % after for before, after in sizes):
            raise NoRule(f"AdaptiveAvgPool2d that does not divide {tuple(x.shape[2:])}")
        return tuple(before // after for before, after in sizes)
