"""Average pooling: the mean of each window."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.derivatives.layer import Layer, NoRule, Passes, Shape, layer, output_shape, pair, without_weights
from fldrep.derivatives.layers.max_pool import windows_of_a_pixel
from fldrep.derivatives.network import Names
from fldrep.derivatives.rows import Patches, Record


@layer(nn.AvgPool2d)
class AveragePool(Layer):
    """The rules of `nn.AvgPool2d`."""

    def passes(self, names: Names, shape: Shape) -> Passes:
        """It is linear, so that changes go the way of values."""
        one = self.module
        options = (pair(one.kernel_size), pair(one.stride), pair(one.padding), one.ceil_mode)
        options = (*options, one.count_include_pad, one.divisor_override)

        def forward(x: Tensor):
            def spread(g: Tensor) -> Tensor:
                return torch.ops.aten.avg_pool2d_backward(g, x, *options)

            return one(x), one, spread, None

        return Passes(without_weights(forward), output_shape(one, shape))

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The means of both."""
        return self.module(x), self.module(dx)

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """A cotangent is shared by the pixels of its window."""
        self._plain()
        return self.module(x), [shared_by_windows(x.shape[1:], pair(self.module.kernel_size), pair(self.module.stride))]

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of k inputs varies as the mean of their variances, divided by k."""
        self._plain()
        kernel = pair(self.module.kernel_size)
        return self.module(values), self.module(variances) / (kernel[0] * kernel[1])

    def norm(self, x: Tensor) -> float:
        """The square of a mean is at most the mean of squares."""
        self._plain()
        return math.sqrt(windows_of_a_pixel(self.module) / math.prod(pair(self.module.kernel_size)))

    def _plain(self) -> None:
        padded = self.module.padding not in (0, (0, 0))
        if padded or self.module.ceil_mode or self.module.divisor_override:
            raise NoRule("AvgPool2d with padding, ceil_mode or divisor_override")


def shared_by_windows(shape: torch.Size, kernel: tuple[int, int], stride: tuple[int, int]) -> Record:
    """How rows are pulled back through means over windows that lie within the maps (C, H, W)."""

    def pull(patches: Patches) -> Patches:
        share = patches.values.new_full((shape[0], 1, *kernel), 1 / math.prod(kernel))
        values = F.conv_transpose2d(patches.values, share, stride=stride, groups=shape[0])
        return Patches(values, patches.top * stride[0], patches.left * stride[1], patches.image)

    return Record(shape, pull)
