"""The image behind a gradient through ReLU, batch norm and max-pools, without the last layer's weight gradient.

The slope at each cell of the last pool is known, as nothing but the head is behind it. The gradient of the convolution
in front tells the winners (`winners`) and its input's patches, which overlap (`jigsaw`). From there down, a ReLU's
output tells where it passes slopes, and each convolution's gradient tells its input by linear least squares. A further
pool hides its winners; the features behind it are known, so an image with these features is looked for
(`feature_descent`). Least squares from its winners do not go on from there: on ConvNet the gradient of the third
convolution tells its input too badly.
"""

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.attack.feature_descent import image_with_features
from fldrep.attack.jigsaw import assembled, places_of
from fldrep.attack.layer_by_layer import Known, below, gradient_matrix
from fldrep.attack.way_down import PooledChain, side_of
from fldrep.attack.winners import winning_columns
from fldrep.derivatives.layer import NoRule
from fldrep.derivatives.layers.batch_norm import BatchNorm
from fldrep.derivatives.layers.max_pool import MaxPool
from fldrep.derivatives.patches import Geometry
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import HEAD_BIAS

FILLED = 3  # times that entries of S too small to be told are taken from a forward pass
HOLDS = 1e-4  # relative residual of D = S P from which nothing is built on it


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
    module, side = chain.convolution.layer.module, side_of(chain.pool)
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
    whole = assembled(solved.view(-1, *gradient.shape[1:]), places, high + 2 * padding, wide + 2 * padding)
    return whole[:, padding : padding + high, padding : padding + wide]


def _filled(chain: PooledChain, values: Tensor, made: Tensor, slopes: Tensor, gradient: Tensor) -> Tensor:
    """S as (O, H, W), with the winners that it lacks taken from a forward pass."""
    after = chain.convolution.layer.module(values[None])
    for part in chain.pointwise:
        after = part.layer.values(after)
    best, winners = chain.pool.layer.winners(after)
    has = F.max_pool2d(made.abs(), side_of(chain.pool)) > 0
    live = gradient.flatten(1).norm(dim=1) > 0
    lacks = ~has & (best[0] > 0) & live[:, None, None]
    flat = made.flatten(1)
    spread = torch.zeros_like(flat).scatter(1, winners[0].flatten(1), torch.where(lacks, slopes, 0).flatten(1))
    return (flat + spread).view_as(made)
