"""Layers that act on each unit alone: what follows from their values and their slopes there."""

from torch import Tensor

from fldrep.derivatives.layer import Layer
from fldrep.derivatives.rows import Patches, Record, Traced, as_maps


class Pointwise(Layer):
    """A layer that says `values_and_slopes`."""

    def values_and_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and the slopes, of a shape that broadcasts against it."""
        raise NotImplementedError

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """A change times the slope."""
        values, slopes = self.values_and_slopes(x)
        return values, slopes * dx

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """A cotangent times the slope, at the same place."""
        values, slopes = self.values_and_slopes(x)
        slopes = slopes.expand(len(x) if len(slopes) > 1 else 1, *x.shape[1:])
        maps = slopes.view(len(slopes), *as_maps(x.shape[1:]))

        def pull(patches: Patches) -> Patches:
            return Patches(patches.values * patches.window(maps), patches.top, patches.left, patches.image)

        def trace(units: Tensor, factors: Tensor) -> Traced:
            return units, factors * slopes.expand_as(x).flatten(1).gather(1, units)

        return values, [Record(x.shape[1:], pull, trace)]

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """A variance times the square of the slope at the value."""
        outputs, slopes = self.values_and_slopes(values)
        return outputs, variances * slopes.square()
