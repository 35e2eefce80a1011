"""Rows of dr/dX for a stack of layers, each pulled back through the part of the image that it can depend on.

Automatic differentiation pulls every row back through whole feature maps. Three facts make it cheaper, and stay exact:

1. behind the last convolution a feature follows a single unit (a max-pool's winner, times an activation's slope), so
   many dead features are known at once and cost nothing;
2. a unit depends on a small window of the layer in front of it, which grows from layer to layer up to the borders;
3. the input gradient of a convolution of stride s is a plain convolution that computes the s*s phases of the pixels as
   channels; processors run it several times faster than the transposed convolution it equals.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fldrep.defenses.pointwise import POINTWISE, max_pool_winners


@dataclass(frozen=True)
class Patches:
    """Cotangents of P units: values (P, C, h, w), the corner of the window they fill, and the image of each (P,)."""

    values: Tensor
    top: int
    left: int
    image: Tensor

    def window(self, maps: Tensor) -> Tensor:
        """The part of maps (N, C, H, W) under the window, for each patch; (1, ...) where there is one image."""
        height, width = self.values.shape[2:]
        seen = maps[:, :, self.top : self.top + height, self.left : self.left + width]
        return seen if len(seen) == 1 else seen[self.image]


# Rows of the Jacobian: of which image (P,), of which feature (P,), and the window outside which they are 0.
Row = tuple[Tensor, Tensor, Patches]
Traced = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Layer:
    """One layer at its input: how it pulls patches back, and, if each unit follows a single one, how it traces units.

    `shape` is the input's (C, H, W). `trace(units, factors)`: both (N, F), positions in the flattened output and the
    factor gathered so far, to the same at the input.
    """

    shape: torch.Size
    pull: Callable[[Patches], Patches]
    trace: Callable[[Tensor, Tensor], Traced] | None = None


def layers_of(body: nn.Module) -> list[nn.Module] | None:
    """The body's layers in order, or None where `windowed_rows` has no rule for one of them."""
    if isinstance(body, nn.Sequential):
        inner = [layers_of(child) for child in body]
        return None if None in inner else [layer for part in inner for layer in part]
    return [body] if _is_known(body) else None


def windowed_rows(layers: list[nn.Module], images: Tensor, chunk: int | None = None) -> tuple[Tensor, Iterator[Row]]:
    """r, and the rows of dr/dX of all features that can be alive, in groups of at most `chunk`.

    Shapes: images (N, C, H, W) -> (N, F), and rows that sum to dr/dX: image (P,), feature (P,), window of the row.
    """
    recorded, largest = [], 1
    for layer in layers:
        images, one = _record(layer, images)
        recorded.append(one)
        largest = max(largest, one.shape.numel())
    features = images.flatten(1)
    units = torch.arange(features.shape[1], device=images.device).expand_as(features)
    factors = torch.ones_like(features)
    shape = images.shape[1:]
    while recorded and recorded[-1].trace:
        last = recorded.pop()
        units, factors = last.trace(units, factors)
        shape = last.shape
    groups = _one_hot(units, factors, shape, _cell(shape, factors), chunk or _chunk(largest, factors))
    return features, _pulled(groups, recorded)


def _pulled(groups: Iterator[Row], recorded: list[Layer]) -> Iterator[Row]:
    for image, feature, patches in groups:
        for layer in reversed(recorded):
            patches = layer.pull(patches)
        yield image, feature, patches


def _one_hot(units: Tensor, factors: Tensor, shape: torch.Size, cell: int, chunk: int) -> Iterator[Row]:
    """Cotangents that are `factors` at `units` and 0 elsewhere; those in one square of side `cell` share a window.

    Shapes: units and factors (N, F), units being positions in flattened maps of `shape` (C, H, W).
    """
    image, feature = factors.nonzero(as_tuple=True)
    channel, row, column = torch.unravel_index(units[image, feature], shape)
    cells = (row // cell) * shape[2] + column // cell
    order = cells.argsort(stable=True)
    for group in order.split([count for count in torch.bincount(cells).tolist() if count]):
        for chosen in group.split(chunk):
            c, y, x = channel[chosen], row[chosen], column[chosen]
            top, bottom, left, right = torch.stack([y.min(), y.max(), x.min(), x.max()]).tolist()
            values = factors.new_zeros(len(chosen), shape[0], bottom - top + 1, right - left + 1)
            owner = image[chosen], feature[chosen]
            values[torch.arange(len(chosen), device=c.device), c, y - top, x - left] = factors[owner]
            yield *owner, Patches(values, top, left, owner[0])


def _cell(shape: torch.Size, like: Tensor) -> int:
    """Side of the squares whose units share a window: the fewer channels, the larger, for calls cost more than windows.

    Measured on one core: LeNet (12 channels) is fastest with the whole map, ConvNet-16 (64) with 2, ConvNet-64 (256)
    with 1; in float64, where the processor's convolution goes image by image anyway, always with 1.
    """
    narrow = like.dtype == torch.float64 and like.device.type == "cpu"
    return 1 if narrow else max(1, 128 // shape[0])


def _chunk(largest: int, like: Tensor) -> int:
    """Rows at once such that the largest of their maps stay in the cache of a processor, or fill a GPU."""
    if like.device.type == "cuda":
        return max(1, 2**28 // largest)
    return min(128, max(16, 2**22 // largest))


# Rules: a layer at its input -> its output and how to go back ---------------------------------------------------------


def _is_known(layer: nn.Module) -> bool:
    if type(layer) is nn.Conv2d:
        square = layer.stride[0] == layer.stride[1] and isinstance(layer.padding, tuple)
        return square and layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    if type(layer) is nn.MaxPool2d:
        return layer.dilation in (1, (1, 1))
    return type(layer) in POINTWISE or type(layer) is nn.Flatten


def _record(layer: nn.Module, x: Tensor) -> tuple[Tensor, Layer]:
    if type(layer) is nn.Conv2d:
        return _conv(layer, x)
    if type(layer) is nn.MaxPool2d:
        return _max_pool(layer, x)
    if isinstance(layer, nn.Flatten):
        return layer(x), Layer(x.shape[1:], lambda patches: patches, lambda units, factors: (units, factors))
    return _pointwise(layer, x)


def _pointwise(layer: nn.Module, x: Tensor) -> tuple[Tensor, Layer]:
    values, slopes = POINTWISE[type(layer)](layer, x)
    slopes = slopes.expand(len(x) if len(slopes) > 1 else 1, *x.shape[1:])

    def pull(patches: Patches) -> Patches:
        return Patches(patches.values * patches.window(slopes), patches.top, patches.left, patches.image)

    def trace(units: Tensor, factors: Tensor) -> Traced:
        return units, factors * slopes.expand_as(x).flatten(1).gather(1, units)

    return values, Layer(x.shape[1:], pull, trace)


def _max_pool(layer: nn.MaxPool2d, x: Tensor) -> tuple[Tensor, Layer]:
    values, winners = max_pool_winners(layer, x)
    height, width = x.shape[2:]
    planes = torch.arange(x.shape[1], device=x.device).view(-1, 1, 1) * (height * width)
    kernel, stride, padding = (_pair(size) for size in (layer.kernel_size, layer.stride, layer.padding))

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

    return values, Layer(x.shape[1:], pull, trace)


def _pooled_from(start: int, length: int, kernel: int, stride: int, padding: int, size: int) -> tuple[int, int]:
    """The stretch [first, last) of an axis that outputs start .. start+length-1 of a pool look at."""
    first = start * stride - padding
    return max(first, 0), min(first + (length - 1) * stride + kernel, size)


def _conv(layer: nn.Conv2d, x: Tensor) -> tuple[Tensor, Layer]:
    stride = layer.stride[0]
    phases = phase_kernels(layer.weight.detach(), stride)
    padding = layer.padding

    def pull(patches: Patches) -> Patches:
        vertical = _axis(patches.top, patches.values.shape[2], phases.shape[2], stride, padding[0], x.shape[2])
        horizontal = _axis(patches.left, patches.values.shape[3], phases.shape[3], stride, padding[1], x.shape[3])
        values = _padded_conv(patches.values, phases, vertical.pads, horizontal.pads)
        if stride > 1:
            values = functional.pixel_shuffle(values, stride)
        values = values[:, :, vertical.inside, horizontal.inside]
        return Patches(values, vertical.first, horizontal.first, patches.image)

    return layer(x), Layer(x.shape[1:], pull)


def phase_kernels(weight: Tensor, stride: int) -> Tensor:
    """Kernels that compute a convolution's input gradient by a plain convolution, a phase of the pixels a channel.

    With output o looking at inputs s*o + j (before padding), input s*q + a gets sum_d g[q - d] w[a + s*d].
    Shape: (O, I, k, l) -> (I*s*s, O, ceil(k/s), ceil(l/s)), channels in the order of `pixel_shuffle`.
    """
    high, wide = (-(-size // stride) for size in weight.shape[2:])
    missing = (0, wide * stride - weight.shape[3], 0, high * stride - weight.shape[2])
    parts = functional.pad(weight, missing).unflatten(3, (wide, stride)).unflatten(2, (high, stride))
    return parts.flip(2, 4).permute(1, 3, 5, 0, 2, 4).reshape(-1, len(weight), high, wide).contiguous()


@dataclass(frozen=True)
class Axis:
    """Along one axis: padding of the cotangent before and after, the pixels inside the image, and the first of them."""

    pads: tuple[int, int]
    inside: slice
    first: int


def _axis(start: int, length: int, kernel: int, stride: int, padding: int, size: int) -> Axis:
    """How the window [start, start+length) of a convolution's output grows at its input of this size.

    Counted in steps of the stride from `start`, the cotangent reaches steps [0, length+kernel-1) and the image lies in
    [begin, end). A window that sees nothing but padding shrinks to the nearest step of the image, where it is 0.
    """
    begin, end = padding // stride - start, -(-(size + padding) // stride) - start
    low = min(max(0, begin), end - 1)
    high = max(min(length + kernel - 1, end), begin + 1)
    corner = stride * (start + low) - padding
    first, last = max(corner, 0), min(corner + stride * (high - low), size)
    return Axis((kernel - 1 - low, high - length), slice(first - corner, last - corner), first)


def _padded_conv(x: Tensor, kernels: Tensor, vertical: tuple[int, int], horizontal: tuple[int, int]) -> Tensor:
    """Convolution with a padding of its own on each side; a negative one crops."""
    (top, bottom), (left, right) = vertical, horizontal
    if top == bottom >= 0 and left == right >= 0:
        return functional.conv2d(x, kernels, padding=(top, left))
    return functional.conv2d(functional.pad(x, (left, right, top, bottom)), kernels)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
