"""The image behind a gradient through ReLU, batch norm and max-pools, without the last layer's weight gradient.

The slope at each cell of the last pool is known, as nothing but the head is behind it. The gradient of the convolution
in front tells the winners (`winners`) and its input's patches, which overlap (`jigsaw`). From there down, a ReLU's
output tells where it passes slopes, and each convolution's gradient tells its input by linear least squares. A further
pool hides its winners; the features behind it are known, so an image with these features is looked for
(`feature_descent`). Least squares from its winners do not go on from there: on ConvNet the gradient of the third
convolution tells its input too badly.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.attack.feature_descent import image_with_features
from fldrep.attack.jigsaw import assembled, places_of
from fldrep.attack.layer_by_layer import Known, Part, below, chain_of, gradient_matrix, parts_of, require_inverse
from fldrep.attack.winners import winning_columns
from fldrep.derivatives.layer import NoRule, pair
from fldrep.derivatives.layers.batch_norm import BatchNorm
from fldrep.derivatives.layers.convolution import Convolution
from fldrep.derivatives.layers.flatten import Flatten
from fldrep.derivatives.layers.max_pool import MaxPool
from fldrep.derivatives.layers.relu import ReLU
from fldrep.derivatives.patches import Geometry
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import HEAD_BIAS

FILLED = 3  # times that entries of S too small to be told are taken from a forward pass
HOLDS = 1e-4  # relative residual of D = S P from which nothing is built on it


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
        cells = (self.pool.shape[1] // _side(self.pool)) * (self.pool.shape[2] // _side(self.pool))
        places = cells * _side(self.pool) ** 2
        if places > channels:
            raise NoRule(f"MaxPool2d of {places} places behind a Conv2d of {channels} channels")
        for part in self.rest:
            if isinstance(part.layer, MaxPool):
                _side(part)
            elif not isinstance(part.layer, ReLU):
                require_inverse(part)


def way_down(model: Model, shape: tuple[int, int, int]) -> list[Part] | PooledChain:
    """How the image is solved for: by inverses of all layers, or through max-pools where there are some.

    Errors: `NoRule` naming a layer that cannot be gone through, with its numbers.
    """
    if any(isinstance(part.layer, MaxPool) for part in parts_of(model, shape)):
        return PooledChain.of(model, shape)
    return chain_of(model, shape)


def _side(part: Part) -> int:
    module = part.layer.module
    side, stride, padding = (pair(one) for one in (module.kernel_size, module.stride, module.padding))
    if side != stride or side[0] != side[1] or padding != (0, 0) or pair(module.dilation) != (1, 1):
        raise NoRule("MaxPool2d whose cells overlap, are oblong, padded or dilated")
    return side[0]


def image_through_pools(
    chain: PooledChain, model: Model, update: Mapping[str, Tensor], normalisation: Normalisation
) -> Tensor:
    """The image (C, H, W) behind one gradient {name: (*shape)} in float64. Errors: `NoRule` saying what is not told."""
    known = below_last_pool(chain, model, update)
    pools = [at for at, part in enumerate(chain.rest) if isinstance(part.layer, MaxPool)]
    if not pools:
        return below(chain.rest, known, update).values
    if len(pools) > 1:
        raise NoRule("three MaxPool2d one behind the other")
    at = pools[0]
    known = below(chain.rest[at + 1 :], known, update)
    front = nn.Sequential(*(part.layer.module for part in chain.rest[: at + 1]))
    shape = chain.rest[0].shape
    return _descended(front, known.values, shape, normalisation).to(known.values)


def _descended(front: nn.Module, features: Tensor, shape: tuple[int, ...], valid: Normalisation) -> Tensor:
    """By a copy in float32, which is twice as fast and precise enough to tell winners."""
    quick = deepcopy(front).float().requires_grad_(False)
    return image_with_features(quick, features.float(), shape, valid)


def below_last_pool(chain: PooledChain, model: Model, update: Mapping[str, Tensor]) -> Known:
    """What is known in front of the last convolution. Errors: `NoRule` where D = S P does not hold of what is found."""
    module, side = chain.convolution.layer.module, _side(chain.pool)
    high, wide = (length // side for length in chain.pool.shape[1:])
    slopes = (model.head.weight.T @ update[HEAD_BIAS]).view(-1, high, wide)
    for part in reversed(chain.pointwise):
        if isinstance(part.layer, BatchNorm):
            _, steep = part.layer.values_and_slopes(slopes.new_zeros(1, *part.shape))
            slopes = slopes * steep[0]
    gradient = update[chain.convolution.names["weight"]]
    cells, columns = winning_columns(gradient.flatten(1), slopes.flatten(1))
    patches = torch.linalg.lstsq(columns, gradient.flatten(1)).solution.view(-1, *gradient.shape[1:])
    places = places_of(patches, cells, side, wide)
    made = gradient.new_zeros(chain.pool.shape)
    for (row, column), one in zip(places, columns.T, strict=True):
        made[:, row, column] = one
    values = _map(made, gradient, chain.convolution.shape)
    for _ in range(FILLED):
        made = _filled(chain, values.clamp_min(0), made, slopes, gradient)
        values = _map(made, gradient, chain.convolution.shape)
    matrix = gradient_matrix(made, *values.shape[1:], Geometry.of(module))
    told = gradient.movedim(0, 1).flatten(1).T
    wrong = float((matrix @ values.flatten(1).T - told).norm() / told.norm())
    if not wrong < HOLDS:
        raise NoRule(f"MaxPool2d whose winners, as found, miss {wrong:.0e} of the gradient in front")
    down = F.conv_transpose2d(made[None], module.weight, padding=module.padding)[0]
    return Known(values, down, torch.ones_like(values))


def _map(made: Tensor, gradient: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The convolution's input, from its gradient and the slopes (O, H, W) at its output."""
    used = made.flatten(1).abs().sum(0).nonzero().flatten()
    solved = torch.linalg.lstsq(made.flatten(1)[:, used], gradient.flatten(1)).solution
    padding, (high, wide) = gradient.shape[-1] // 2, shape[1:]
    places = [(int(one) // made.shape[2], int(one) % made.shape[2]) for one in used]
    whole, _ = assembled(solved.view(-1, *gradient.shape[1:]), places, high + 2 * padding, wide + 2 * padding)
    return whole[:, padding : padding + high, padding : padding + wide]


def _filled(chain: PooledChain, values: Tensor, made: Tensor, slopes: Tensor, gradient: Tensor) -> Tensor:
    """S as (O, H, W), with the winners that it lacks taken from a forward pass."""
    after = chain.convolution.layer.module(values[None])
    for part in chain.pointwise:
        after = part.layer.values(after)
    best, winners = chain.pool.layer.winners(after)
    has = F.max_pool2d(made.abs(), _side(chain.pool)) > 0
    live = gradient.flatten(1).norm(dim=1) > 0
    lacks = ~has & (best[0] > 0) & live[:, None, None]
    flat = made.flatten(1)
    spread = torch.zeros_like(flat).scatter(1, winners[0].flatten(1), torch.where(lacks, slopes, 0).flatten(1))
    return (flat + spread).view_as(made)
