"""Max pooling: every derivative follows the winner."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.derivatives.layer import Layer, NoRule, Passes, Shape, layer, output_shape, pair, without_weights
from fldrep.derivatives.network import Names
from fldrep.derivatives.rows import Patches, Record, Traced


@layer(nn.MaxPool2d)
class MaxPool(Layer):
    """The rules of `nn.MaxPool2d`."""

    def winners(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Maxima, and the position of each in its input plane. Shape: (N, C, H, W) -> (N, C, H', W') twice."""
        one = self.module
        shape = (one.kernel_size, one.stride, one.padding, one.dilation, one.ceil_mode)
        return F.max_pool2d_with_indices(x, *shape)

    def passes(self, names: Names, shape: Shape) -> Passes:
        """Slopes are scattered to the winners, changes gathered from them."""

        def forward(x: Tensor):
            y, winners = self.winners(x)
            flat = winners.flatten(2)

            def scatter(g: Tensor) -> Tensor:
                return torch.zeros_like(x).flatten(2).scatter_add(2, flat, g.flatten(2)).view_as(x)

            def gather(dx: Tensor) -> Tensor:
                return dx.flatten(2).gather(2, flat).view_as(y)

            return y, gather, scatter, None

        return Passes(without_weights(forward), output_shape(self.module, shape))

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """A maximum changes as its winner does."""
        values, winners = self.winners(x)
        return values, dx.flatten(2).gather(2, winners.flatten(2)).view_as(values)

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """A cotangent moves to its winner."""
        self._without_dilation()
        values, winners = self.winners(x)
        height, width = x.shape[2:]
        planes = torch.arange(x.shape[1], device=x.device).view(-1, 1, 1) * (height * width)
        kernel, stride, padding = (
            pair(size) for size in (self.module.kernel_size, self.module.stride, self.module.padding)
        )

        def pull(patches: Patches) -> Patches:
            h, w = patches.values.shape[2:]
            top, bottom = _pooled_from(patches.top, h, kernel[0], stride[0], padding[0], height)
            left, right = _pooled_from(patches.left, w, kernel[1], stride[1], padding[1], width)
            won = patches.window(winners)
            where = (won // width - top) * (right - left) + won % width - left
            spread = patches.values.new_zeros(*patches.values.shape[:2], (bottom - top) * (right - left))
            spread.scatter_add_(2, where.expand_as(patches.values).flatten(2), patches.values.flatten(2))
            return Patches(spread.unflatten(2, (bottom - top, right - left)), top, left, patches.image)

        def trace(units: Tensor, factors: Tensor) -> Traced:
            return (winners + planes).flatten(1).gather(1, units), factors

        return values, [Record(x.shape[1:], pull, trace)]

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """A maximum varies as its winner does."""
        return self.push(values, variances)

    def norm(self, x: Tensor) -> float:
        """Each output moves by at most the largest move in its window, and a pixel is in so many windows."""
        self._without_dilation()
        return math.sqrt(windows_of_a_pixel(self.module))

    def _without_dilation(self) -> None:
        if self.module.dilation not in (1, (1, 1)):
            raise NoRule("MaxPool2d with dilation")


def windows_of_a_pixel(module: nn.MaxPool2d | nn.AvgPool2d) -> int:
    """The largest number of windows of a pool that one pixel is in."""
    sizes = zip(pair(module.kernel_size), pair(module.stride), strict=True)
    return math.prod(math.ceil(kernel / stride) for kernel, stride in sizes)


def _pooled_from(start: int, length: int, kernel: int, stride: int, padding: int, size: int) -> tuple[int, int]:
    """The stretch [first, last) of an axis that outputs start .. start+length-1 of a pool look at."""
    first = start * stride - padding
    return max(first, 0), min(first + (length - 1) * stride + kernel, size)
