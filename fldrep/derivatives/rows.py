"""Rows of dr/dX, each pulled back through the part of the image that it can depend on.

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
from torch import Tensor


@dataclass(frozen=True)
class Patches:
    """Cotangents of P units: values (P, C, h, w), the corner of the window they fill, and the image of each (P,).

    Behind a layer without a plane, such as a linear one, they are (P, F, 1, 1).
    """

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
class Record:
    """One layer at its input: how it pulls patches back, and, if each unit follows a single one, how it traces units.

    `shape` is the input's, (C, H, W) or (F,). `trace(units, factors)`: both (N, F), positions in the flattened output
    and the factor gathered so far, to the same at the input.
    """

    shape: torch.Size
    pull: Callable[[Patches], Patches]
    trace: Callable[[Tensor, Tensor], Traced] | None = None


def windowed_rows(layer, images: Tensor, chunk: int | None = None) -> tuple[Tensor, Iterator[Row]]:
    """r, and the rows of dr/dX of all features that can be alive, in groups of at most `chunk`.

    Shapes: images (N, C, H, W) -> (N, F), and rows that sum to dr/dX: image (P,), feature (P,), window of the row.
    Errors: `NoRule` naming a layer that has none.
    """
    last, records = layer.rows(images)
    features, shape = last.flatten(1), last.shape[1:]
    units = torch.arange(features.shape[1], device=images.device).expand_as(features)
    factors = torch.ones_like(features)
    largest = max([1, *(one.shape.numel() for one in records)])
    while records and records[-1].trace:
        record = records.pop()
        units, factors = record.trace(units, factors)
        shape = record.shape
    shape = as_maps(shape)
    groups = _one_hot(units, factors, shape, _cell(shape, factors), chunk or _chunk(largest, factors))
    return features, _pulled(groups, records)


def as_maps(shape: torch.Size) -> torch.Size:
    """(F,) as F maps of one pixel, (C, H, W) as it is."""
    return shape if len(shape) == 3 else torch.Size((shape.numel(), 1, 1))


def pulled(records: list[Record], patches: Patches) -> Patches:
    """Patches at the input of the first layer from those at the output of the last."""
    for record in reversed(records):
        patches = record.pull(patches)
    return patches


def _pulled(groups: Iterator[Row], records: list[Record]) -> Iterator[Row]:
    for image, feature, patches in groups:
        yield image, feature, pulled(records, patches)


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
