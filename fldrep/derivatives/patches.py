"""Convolution with one weight for all problems, and with a weight for each, as an attack's passes need them.

Products with a weight of each problem's own are batched matrix products with patches: the entries under the kernel at
each place, in the order (row, column, channel). The slope by a convolution's input is again a convolution, of stride
1, with the kernel turned; for stride s it gives s x s values at each place (Shi et al. 2016, arXiv:1609.05158).
Images are kept in the order channels last throughout.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Geometry:
    """Kernel size, stride and padding, equal in both directions."""

    size: int
    stride: int
    padding: int

    @classmethod
    def of(cls, module: nn.Conv2d) -> "Geometry | None":
        """That of a layer, or None where it is not covered (groups, dilation, other paddings, oblong kernels)."""
        plain = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
        if not plain or isinstance(module.padding, str):
            return None
        sides = (module.kernel_size, module.stride, module.padding)
        if any(first != second for first, second in sides):
            return None
        return cls(*(first for first, _ in sides))

    @property
    def taps(self) -> int:
        """Kernel size of the convolution that gives the slope by the input."""
        return -(-self.size // self.stride)

    def coarse(self, length: int) -> int:
        """The output's length."""
        return (length + 2 * self.padding - self.size) // self.stride + 1

    def margins(self, length: int) -> tuple[int, int]:
        """What to pad the output's slope with, before and after, so that the turned kernel covers the input."""
        coarse = self.coarse(length)
        first, last = self.padding // self.stride, (self.padding + length - 1) // self.stride
        before = self.taps - 1 - first
        return before, last - first + self.taps - coarse - before


def patches(x: Tensor, size: int, stride: int) -> Tensor:
    """The entries under the kernel at each place. Shape: (N, C, H, W) -> (N, H', W', size * size * C)."""
    x = x.permute(0, 2, 3, 1).contiguous()
    count, high, wide, channels = x.shape
    down, across = (high - size) // stride + 1, (wide - size) // stride + 1
    row = wide * channels
    shape = (count, down, across, size, size * channels)
    strides = (high * row, stride * row, stride * channels, row, 1)
    return x.as_strided(shape, strides).reshape(count, down, across, -1)


def padded(x: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Zeros around (N, C, H, W); negative numbers cut."""
    if not any((*rows, *columns)):
        return x
    return F.pad(x.permute(0, 2, 3, 1), (0, 0, *columns, *rows)).permute(0, 3, 1, 2)


def turn(rows: Tensor, geometry: Geometry) -> Tensor:
    """The kernel that gives the slope by the input, stride^2 values a place, from a weight in the order of patches.

    Shape: (..., O, K * K * C) -> (..., stride^2 * C, O, T, T), T = K / stride rounded up.
    """
    size, stride, taps = geometry.size, geometry.stride, geometry.taps
    weight = rows.unflatten(-1, (size, size, -1))
    if extra := taps * stride - size:
        weight = F.pad(weight, (0, 0, 0, extra, 0, extra))
    split = weight.unflatten(-2, (taps, stride)).unflatten(-4, (taps, stride)).flip(-5, -3)  # (..., O, T, s, T, s, C)
    lead = range(split.ndim - 6)
    outgoing, down, row, across, column, channel = range(split.ndim - 6, split.ndim)
    return split.permute(*lead, row, column, channel, outgoing, down, across).flatten(-6, -4).contiguous()


def by_input(slope: Tensor, kernel: Tensor, geometry: Geometry, high: int, wide: int, groups: int = 1) -> Tensor:
    """The slope by the input from the slope by the output. Shape: (N, O, H', W') -> (N, C, high, wide).

    Args: kernel: of `turn`, or those of several groups of channels one after the other.
    """
    margins = geometry.margins(high), geometry.margins(wide)
    (first, *others) = {*margins[0], *margins[1]}
    if others or first < 0:
        slope, first = padded(slope, *margins), 0
    return spread(F.conv2d(slope, kernel, None, 1, first, 1, groups), geometry, high, wide, groups)


def own_by_input(slope: Tensor, rows: Tensor, geometry: Geometry, high: int, wide: int) -> Tensor:
    """As `by_input`, each problem with a weight of its own: the problems are the groups of one convolution.

    Shapes: slope (P * B, O, H', W'), rows (P, O, K * K * C) -> (P * B, C, high, wide).
    """
    count, size = len(rows), geometry.size
    grouped = slope.unflatten(0, (count, -1)).transpose(0, 1).flatten(1, 2)  # (B, P * O, H', W')
    if geometry.stride == 1:
        kernel = rows.unflatten(-1, (size, size, -1)).flatten(0, 1).permute(0, 3, 1, 2)
        found = F.conv_transpose2d(grouped, kernel, None, 1, geometry.padding, groups=count)
    else:
        found = by_input(grouped, turn(rows, geometry).flatten(0, 1), geometry, high, wide, groups=count)
    return found.unflatten(1, (count, -1)).transpose(0, 1).flatten(0, 1)


def spread(coarse: Tensor, geometry: Geometry, high: int, wide: int, groups: int = 1) -> Tensor:
    """Stride^2 values a place to one a pixel. Shape: (N, G * stride^2 * C, h, w) -> (N, G * C, high, wide)."""
    stride, first = geometry.stride, geometry.padding % geometry.stride
    if stride > 1:
        fine = coarse.permute(0, 2, 3, 1).unflatten(-1, (groups, stride, stride, -1)).permute(0, 1, 4, 2, 5, 3, 6)
        coarse = fine.flatten(5, 6).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
    return coarse[:, :, first : first + high, first : first + wide]


def as_rows(weight: Tensor) -> Tensor:
    """A weight in the order of patches. Shape: (..., O, C, K, K) -> (..., O, K * K * C)."""
    return weight.movedim(-3, -1).flatten(-3)


def channels_last(matrix: Tensor, like: tuple[int, int, int]) -> Tensor:
    """A matrix of places and channels as images. Shape: (P, B * H * W, C), like (N, H, W) -> (N, C, H, W)."""
    return matrix.reshape(*like, -1).permute(0, 3, 1, 2)


def places(images: Tensor, count: int) -> Tensor:
    """Images as a matrix of places and channels. Shape: (P * B, C, H, W) -> (P, B * H * W, C)."""
    return images.permute(0, 2, 3, 1).reshape(count, -1, images.shape[1])
