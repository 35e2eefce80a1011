"""The image behind the gradient of one image, layer by layer from the last one down, by linear equations alone.

dL/db of the last layer is dL/dlogits, so its weight's gradient is an outer product that gives the representation, and
its weight gives dL/dr. Going down: a pointwise layer's inverse gives its input, its slope there dL/dinput. A layer of
weights tells of its input a by two systems: conv(a) + b = z makes the output, which is known, and the sum over places p
of delta(p) a(p + k) makes the weight's gradient, where delta = dL/dz is known too. The second has the same matrix G for
every channel of a. Sources: R-GAP (Zhu and Blaschko 2021, arXiv:2010.07733); COPA (arXiv:2111.10178).

Where a mask hides features, the input of the last layer with weights below the head comes from Levenberg-Marquardt on
the network that begins there: what that layer's own gradient says of its input needs no feature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.attack.gram import gram
from fldrep.derivatives.composition import Chain
from fldrep.derivatives.layer import Layer, NoRule
from fldrep.derivatives.layers.convolution import Convolution
from fldrep.derivatives.layers.flatten import Flatten
from fldrep.derivatives.layers.linear import Linear
from fldrep.derivatives.layers.relu import ReLU
from fldrep.derivatives.network import Network
from fldrep.derivatives.patches import Geometry
from fldrep.derivatives.trust import rules_of
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT

LARGEST = 4096  # unknowns of a convolution's input that are solved for with both systems at once
ZERO = 2e-6  # of the largest entry behind a ReLU: what float32 updates give for 0 is some 1e-7
REFINED = 2  # corrections of a solution by its own residual: normal equations square the condition number


@dataclass(frozen=True)
class Part:
    """A layer of a chain, the shape of its input, and the names of its parameters by what it calls them."""

    layer: Layer
    shape: tuple[int, ...]
    names: dict[str, str]


Solve = Callable[[Model, Sequence[Part], tuple[int, ...]], Tensor]


@dataclass(frozen=True)
class Known:
    """What is known at a place between two layers, without an axis for images: values, dL/dvalues, and how exactly the
    values are known, in units of the exactest."""

    values: Tensor
    slopes: Tensor
    weights: Tensor


def chain_of(model: Model, shape: tuple[int, int, int]) -> list[Part]:
    """The layers in front of the head, for images of this shape.

    Errors: `NoRule` naming the first layer, from the head down, that has no inverse, with its numbers.
    """
    parts = parts_of(model, shape)
    for part in reversed(parts):
        require_inverse(part)
    return parts


def parts_of(model: Model, shape: tuple[int, int, int]) -> list[Part]:
    """The layers in front of the head, whatever they are. Errors: `NoRule` where they are no chain with rules."""
    network = Network.of(model)
    parts, at = [], torch.zeros(1, *shape, dtype=model.head.weight.dtype, device=model.head.weight.device)
    for layer in _flat(rules_of(network, shape)):
        parts.append(Part(layer, tuple(at.shape[1:]), layer.own(network.names)))
        at = layer.values(at)
    return parts


def _flat(layer: Layer) -> list[Layer]:
    return [one for part in layer.parts for one in _flat(part)] if isinstance(layer, Chain) else [layer]


def require_inverse(part: Part) -> None:
    """Errors: `NoRule` where a layer's input is not told by its output and its gradient, with its numbers."""
    layer, module = part.layer, part.layer.module
    if isinstance(layer, Convolution):
        geometry = Geometry.of(module)
        if geometry is None:
            raise NoRule("Conv2d with groups, dilation, oblong sizes or padding other than zeros")
        channels, high, wide = part.shape
        places, rows = high * wide, module.out_channels * geometry.size**2
        out = module.out_channels * geometry.coarse(high) * geometry.coarse(wide)
        equations = out + channels * min(rows, places)
        if equations < channels * places or (channels * places > LARGEST and rows < places):
            told = f"{channels} x {places} inputs against {out} outputs and {rows} entries of its gradient a channel"
            raise NoRule(f"Conv2d with {told}")
    elif not isinstance(layer, Linear | Flatten):
        layer.inverse(torch.full((1, *part.shape), 0.5).to(next(iter(module.parameters()), torch.zeros(()))))


def at_representation(head: nn.Linear, update: Mapping[str, Tensor]) -> Known:
    """What the head's gradient {name: (*shape)} tells of the representation."""
    bias = update[HEAD_BIAS]
    values = bias @ update[HEAD_WEIGHT] / bias.square().sum()
    return Known(values, head.weight.T @ bias, torch.ones_like(values))


def below(parts: Sequence[Part], known: Known, update: Mapping[str, Tensor]) -> Known:
    """What is known in front of some layers, from what is known behind them."""
    for part in reversed(parts):
        known = _below_one(part, known, {key: update[name] for key, name in part.names.items()})
    return known


def _below_one(part: Part, known: Known, gradient: Mapping[str, Tensor]) -> Known:
    layer, module = part.layer, part.layer.module
    if isinstance(layer, Flatten):
        return Known(*(one.view(part.shape) for one in (known.values, known.slopes, known.weights)))
    if isinstance(layer, Linear):
        values = known.slopes @ gradient["weight"] / known.slopes.square().sum()
        return Known(values, known.slopes @ module.weight, torch.ones_like(values))
    if isinstance(layer, Convolution):
        values = convolution_input(module, part.shape, known, gradient["weight"])
        slopes = F.conv_transpose2d(
            known.slopes[None], module.weight, None, module.stride, module.padding, _lost(module, part.shape)
        )
        return Known(values, slopes[0], torch.ones_like(values))
    if isinstance(layer, ReLU):
        passed = (known.values > ZERO * known.values.abs().max()).to(known.values)
        return Known(known.values * passed, known.slopes * passed, known.weights * passed)
    values = layer.inverse(known.values[None])
    _, steep = layer.values_and_slopes(values)
    return Known(values[0], known.slopes * steep[0], known.weights * steep[0].abs())


def _lost(module: nn.Conv2d, shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns of the input that a strided kernel does not reach."""
    geometry = Geometry.of(module)
    return tuple((length + 2 * geometry.padding - geometry.size) % geometry.stride for length in shape[1:])


def convolution_input(module: nn.Conv2d, shape: tuple[int, ...], known: Known, gradient: Tensor) -> Tensor:
    """The input (C, H, W) that gives a convolution's output and its weight's gradient, by least squares.

    Equations of the output count as exactly as it is known, those of the gradient in units of its root mean square.
    """
    channels, places = shape[0], shape[1] * shape[2]
    geometry = Geometry.of(module)
    size = gradient.square().mean().sqrt().clamp_min(torch.finfo(gradient.dtype).tiny)
    shared = gradient_matrix(known.slopes, shape[1], shape[2], geometry) / size
    told = gradient.movedim(0, 1).flatten(1) / size  # (C, O * K * K)
    if channels * places > LARGEST:
        return torch.linalg.lstsq(shared, told.T).solution.T.reshape(shape)
    unit = torch.eye(channels * places, dtype=gradient.dtype, device=gradient.device).view(-1, *shape)
    forward = F.conv2d(unit, module.weight, None, module.stride, module.padding).flatten(1).T
    forward = forward * known.weights.flatten()[:, None]
    bias = 0 if module.bias is None else module.bias[:, None, None]
    made = (known.weights * (known.values - bias)).flatten()
    normal = gram(forward)
    own = gram(shared)
    for first in range(0, channels * places, places):
        normal[first : first + places, first : first + places] += own
    factor, failed = torch.linalg.cholesky_ex(normal)
    if failed:
        raise NoRule(f"Conv2d whose {channels * places} inputs are not determined by its output and gradient")

    def step(a: Tensor) -> Tensor:
        by = forward.T @ (made - forward @ a) + ((told - a.view(channels, -1) @ shared.T) @ shared).flatten()
        return torch.cholesky_solve(by[:, None], factor)[:, 0]

    found = torch.zeros_like(normal[0])
    for _ in range(1 + REFINED):
        found = found + step(found)
    return found.view(shape)


def gradient_matrix(slopes: Tensor, high: int, wide: int, geometry: Geometry) -> Tensor:
    """G, by which a channel of the input makes the weight's gradient. Shape: (O, H', W') -> (O * K * K, H * W).

    The gradient at kernel place k of output o sums slope(o, p) times the input at stride * p + k - padding.
    """
    size, stride, padding = geometry.size, geometry.stride, geometry.padding
    outputs, down, across = slopes.shape
    found = slopes.new_zeros(outputs, size, size, high + 2 * padding, wide + 2 * padding)
    for row in range(size):
        for column in range(size):
            rows, columns = slice(row, row + stride * down, stride), slice(column, column + stride * across, stride)
            found[:, row, column, rows, columns] = slopes
    return found[..., padding : padding + high, padding : padding + wide].reshape(-1, high * wide)


def at_last_layer(parts: Sequence[Part], model: Model, update: Mapping[str, Tensor], solve: Solve) -> tuple[int, Known]:
    """What is known in front of the last layer with weights, without the head's weight gradient; and its place.

    A linear layer's own gradients give its input as the head's would. A convolution's is solved for: `solve(tail,
    front, shape)` finds the input of a network that begins there, of this shape, which comes out of the parts `front`.
    Errors: `NoRule` where there is no such layer, or a linear one without a bias.
    """
    weighted = [place for place, part in enumerate(parts) if isinstance(part.layer, Convolution | Linear)]
    if not weighted:
        raise NoRule("a network without a layer below the last one")
    first = weighted[-1]
    part = parts[first]
    if isinstance(part.layer, Linear):
        if "bias" not in part.names:
            raise NoRule("Linear without a bias below a last layer that is masked")
        known = Known(*[update[part.names["bias"]]] * 3)
        return first, _below_one(part, known, {"weight": update[part.names["weight"]]})
    rest = nn.Sequential(*(one.layer.module for one in parts[first:]))
    values = solve(Model(rest, model.head), parts[:first], part.shape)
    _, back = torch.func.vjp(lambda a: rest(a[None])[0], values)
    return first, Known(values, back(model.head.weight.T @ update[HEAD_BIAS])[0], torch.ones_like(values))


def reconstruct_chain(
    parts: Sequence[Part], model: Model, update: Mapping[str, Tensor], masked: bool, solve: Solve
) -> Tensor:
    """The image (C, H, W) behind one gradient {name: (*shape)}, in the network's input space. Errors: `NoRule`."""
    if not masked:
        return below(parts, at_representation(model.head, update), update).values
    first, known = at_last_layer(parts, model, update, solve)
    return below(parts[:first], known, update).values
