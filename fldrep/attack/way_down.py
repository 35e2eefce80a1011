"""Whether a network can be solved for the image, layer by layer, and by which way.

Nothing here solves: every attack asks this of a network, and depends on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fldrep.attack.layer_by_layer import Part, chain_of, parts_of, require_inverse
from fldrep.derivatives.layer import NoRule, pair
from fldrep.derivatives.layers.batch_norm import BatchNorm
from fldrep.derivatives.layers.convolution import Convolution
from fldrep.derivatives.layers.flatten import Flatten
from fldrep.derivatives.layers.max_pool import MaxPool
from fldrep.derivatives.layers.relu import ReLU
from fldrep.derivatives.patches import Geometry
from fldrep.models.model import Model


@dataclass(frozen=True)
class PooledChain:
    """Layers in front of the head, up to the last convolution; that one, what is pointwise behind it, and the pool."""

    rest: Sequence[Part]
    convolution: Part
    pointwise: Sequence[Part]
    pool: Part

    @classmethod
    def of(cls, model: Model, shape: tuple[int, int, int]) -> "PooledChain":
        """Errors: `NoRule` naming a layer that cannot be gone through, with its numbers."""
        parts = parts_of(model, shape)
        body = parts[:-1] if parts and isinstance(parts[-1].layer, Flatten) else parts
        if not body or not isinstance(body[-1].layer, MaxPool):
            raise NoRule("a last layer that is not a max-pool")
        first = max((at for at, part in enumerate(body) if isinstance(part.layer, Convolution)), default=-1)
        chain = cls(body[: max(first, 0)], body[first], body[first + 1 : -1], body[-1])
        chain._require()
        return chain

    def _require(self) -> None:
        if not isinstance(self.convolution.layer, Convolution):
            raise NoRule("MaxPool2d without a convolution in front")
        if [type(part.layer) for part in self.pointwise] not in ([ReLU], [BatchNorm, ReLU]):
            raise NoRule("MaxPool2d without ReLU, or batch norm and ReLU, between it and a convolution")
        geometry, channels = Geometry.of(self.convolution.layer.module), self.pool.shape[0]
        if geometry is None or geometry.stride != 1 or 2 * geometry.padding != geometry.size - 1:
            raise NoRule("Conv2d in front of the last pool that does not keep its input's size")
        cells = (self.pool.shape[1] // side_of(self.pool)) * (self.pool.shape[2] // side_of(self.pool))
        places = cells * side_of(self.pool) ** 2
        if places > channels:
            raise NoRule(f"MaxPool2d of {places} places behind a Conv2d of {channels} channels")
        for part in self.rest:
            if isinstance(part.layer, MaxPool):
                side_of(part)
            elif not isinstance(part.layer, ReLU):
                require_inverse(part)


def way_down(model: Model, shape: tuple[int, int, int]) -> list[Part] | PooledChain:
    """How the image is solved for: by inverses of all layers, or through max-pools where there are some.

    Errors: `NoRule` naming a layer that cannot be gone through, with its numbers.
    """
    if any(isinstance(part.layer, MaxPool) for part in parts_of(model, shape)):
        return PooledChain.of(model, shape)
    return chain_of(model, shape)


def side_of(part: Part) -> int:
    """The side of a pool's cells. Errors: `NoRule` where they are not squares side by side."""
    module = part.layer.module
    side, stride, padding = (pair(one) for one in (module.kernel_size, module.stride, module.padding))
    if side != stride or side[0] != side[1] or padding != (0, 0) or pair(module.dilation) != (1, 1):
        raise NoRule("MaxPool2d whose cells overlap, are oblong, padded or dilated")
    return side[0]
