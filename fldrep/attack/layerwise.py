"""Gradients of updates and their pullback for networks that are a chain of layers, without autograd.

For V held fixed, the derivative of <V, G(x)> by x is the derivative along V of the ordinary input gradient: with
weights W + eV, d/de of dL/dx at e = 0 (Pearlmutter 1994, "Fast exact multiplication by the Hessian"). So one pass
forward and back gives G, and one more pass forward and back carries the derivatives along V. The weights are shared
by all problems, so half of the work is ordinary batched convolution; only products with G and V are per problem.

A layer is a function of its input. It returns its output and the way back; the way back returns the slope by the
input, the gradients of its own parameters, and its tangent; the tangent returns the output's derivative along V, and
its own way back, the derivative along V of the slope by the input:

    y, back = layer(x);  gx, own, tangent = back(gy);  dy, tangent_back = tangent(dx, v);  dgx = tangent_back(dgy)

Activations are (P * B, ...) for P problems of B images; own gradients and v are {name: (P, ...)}, convolution weights
in the order of entries that their rule works in. A dx of None stands for zero: the image does not depend on weights.
"""

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.attack import winograd
from fldrep.attack.convolution import (
    Geometry,
    as_rows,
    by_input,
    channels_last,
    own_by_input,
    padded,
    patches,
    places,
    turn,
)
from fldrep.attack.pullback import Gradient, GradientMap, Pullback
from fldrep.models.model import Model

Layer = Callable[[Tensor, int], tuple[Tensor, Callable]]
Arrange = dict[str, Callable[[Tensor], Tensor]]


def layerwise(model: Model, shape: tuple[int, int, int]) -> GradientMap | None:
    """As `pullback.by_autodiff`, or None where a layer of the model has no rule here; shape (C, H, W) of an image."""
    if not isinstance(model.body, nn.Sequential):
        return None
    layers, arrangements = [], {}
    value = torch.empty(1, *shape, device="meta")
    for name, module in model.body.named_children():
        rule = RULES.get(type(module), _no_rule)(module, f"body.{name}", value.shape[1:])
        if rule is None:
            return None
        layers.append(rule[0])
        arrangements |= rule[1]
        value = copy.deepcopy(module).to("meta", torch.float32)(value)
    weight, bias = model.head.weight.detach(), None if model.head.bias is None else model.head.bias.detach()

    def run(images: Tensor, soft: Tensor) -> tuple[dict[str, Tensor], Pullback]:
        count = len(images)
        value, backs = images.flatten(0, 1).contiguous(memory_format=torch.channels_last), []
        for layer in layers:
            value, back = layer(value, count)
            backs.append(back)
        slope, found, loss_tangent = _head(weight, bias, value, soft)
        tangents = []
        for position in range(len(layers) - 1, -1, -1):
            slope, own, tangent = backs[position](slope, position > 0)
            found.update(own)
            tangents.append(tangent)

        def pull(v: Gradient) -> tuple[Tensor, Tensor]:
            along, tangent_backs = None, []
            for tangent in reversed(tangents):
                along, tangent_back = tangent(along, v)
                tangent_backs.append(tangent_back)
            along, by_soft = loss_tangent(along, v)
            for tangent_back in reversed(tangent_backs):
                along = tangent_back(along)
            return along.view_as(images), by_soft

        return found, pull

    def arrange(update: Gradient) -> dict[str, Tensor]:
        return {name: arrangements.get(name, _as_it_is)(value) for name, value in update.items()}

    return GradientMap(run, arrange)


def _no_rule(module: nn.Module, name: str, shape: tuple[int, ...]) -> None:
    return None


def _as_it_is(value: Tensor) -> Tensor:
    return value


def _head(weight: Tensor, bias: Tensor | None, r: Tensor, soft: Tensor) -> tuple[Tensor, dict[str, Tensor], Callable]:
    """The last layer and the mean cross entropy: slope by r, own gradients, and the tangent down to the slope by r."""
    count, batch = soft.shape[:2]
    p = F.linear(r, weight, bias).softmax(-1)
    gz = (p - soft.flatten(0, 1)) / batch
    r_each, gz_each = r.unflatten(0, (count, batch)), gz.unflatten(0, (count, batch))
    own = {"head.weight": gz_each.mT @ r_each}
    if bias is not None:
        own["head.bias"] = gz_each.sum(1)

    def tangent(dr: Tensor | None, v: Gradient) -> tuple[Tensor, Tensor]:
        dz = torch.zeros_like(gz) if dr is None else F.linear(dr, weight)
        if "head.weight" in v:
            dz = dz + (r_each @ v["head.weight"].mT).flatten(0, 1)
        if "head.bias" in v:
            dz = dz + v["head.bias"].repeat_interleave(batch, 0)
        dz = (dz - (p * dz).sum(-1, keepdim=True)) / batch
        dgr = (p * dz) @ weight
        if "head.weight" in v:
            dgr = dgr + (gz_each @ v["head.weight"]).flatten(0, 1)
        return dgr, -dz.unflatten(0, (count, batch))

    return gz @ weight, own, tangent


def _sigmoid(module: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[Layer, Arrange]:
    """With s' = s(1 - s) and s'' = s'(1 - 2s)."""
    scaled = torch.ops.aten.sigmoid_backward  # g * y * (1 - y), in one pass

    def layer(x: Tensor, count: int):
        y = x.sigmoid()

        def back(gy: Tensor, needed: bool):
            def tangent(dx: Tensor, v: Gradient):
                def tangent_back(dgy: Tensor) -> Tensor:
                    bend = gy * dx
                    return scaled((dgy + bend).addcmul_(bend, y, value=-2), y)

                return scaled(dx, y), tangent_back

            return scaled(gy, y), {}, tangent

        return y, back

    return layer, {}


def _tanh(module: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[Layer, Arrange]:
    """With t' = 1 - t^2 and t'' = -2 t t'."""
    scaled = torch.ops.aten.tanh_backward  # g * (1 - y^2), in one pass

    def layer(x: Tensor, count: int):
        y = x.tanh()

        def back(gy: Tensor, needed: bool):
            def tangent(dx: Tensor, v: Gradient):
                return scaled(dx, y), lambda dgy: scaled(dgy.addcmul(gy * dx, y, value=-2), y)

            return scaled(gy, y), {}, tangent

        return y, back

    return layer, {}


def _relu(module: nn.Module, name: str, shape: tuple[int, ...]) -> tuple[Layer, Arrange]:
    """Its second derivative is zero wherever it exists."""

    def layer(x: Tensor, count: int):
        y = x.relu()

        def through(g: Tensor) -> Tensor:
            return torch.ops.aten.threshold_backward(g, y, 0)  # g where y > 0, in one pass

        def back(gy: Tensor, needed: bool):
            return through(gy), {}, lambda dx, v: (through(dx), through)

        return y, back

    return layer, {}


def _batch_norm(module: nn.BatchNorm2d, name: str, shape: tuple[int, ...]) -> tuple[Layer, Arrange] | None:
    """Batch norm with fixed statistics: an affine map of each channel."""
    if module.weight is None or module.running_var is None:
        return None
    column = (-1, 1, 1)
    width = (module.running_var + module.eps).rsqrt().view(column)
    centre, gain = module.running_mean.view(column), module.weight.detach().view(column)
    offset = module.bias.detach().view(column)

    def layer(x: Tensor, count: int):
        standard = (x - centre) * width

        def back(gy: Tensor, needed: bool):
            own = {
                f"{name}.weight": _each(gy * standard, count).sum((1, 3, 4)),
                f"{name}.bias": _each(gy, count).sum((1, 3, 4)),
            }

            def tangent(dx: Tensor, v: Gradient):
                dgain, doffset = (v[f"{name}.{part}"][:, None, :, None, None] for part in ("weight", "bias"))
                dy = dx * (gain * width) + (_each(standard, count) * dgain + doffset).flatten(0, 1)

                def tangent_back(dgy: Tensor) -> Tensor:
                    return (dgy * gain + (_each(gy, count) * dgain).flatten(0, 1)) * width

                return dy, tangent_back

            return gy * (gain * width), own, tangent

        return standard * gain + offset, back

    return layer, {}


def _each(values: Tensor, count: int) -> Tensor:
    return values.unflatten(0, (count, -1))


def _max_pool(module: nn.MaxPool2d, name: str, shape: tuple[int, ...]) -> tuple[Layer, Arrange] | None:
    """Max pooling: every derivative follows the winner."""
    if module.ceil_mode or module.dilation != 1:
        return None

    def layer(x: Tensor, count: int):
        y, winners = F.max_pool2d(x, module.kernel_size, module.stride, module.padding, return_indices=True)
        flat = winners.flatten(2)

        def scatter(gy: Tensor) -> Tensor:
            return torch.zeros_like(x).flatten(2).scatter_add(2, flat, gy.flatten(2)).view_as(x)

        def back(gy: Tensor, needed: bool):
            def tangent(dx: Tensor, v: Gradient):
                return dx.flatten(2).gather(2, flat).view_as(y), scatter

            return scatter(gy), {}, tangent

        return y, back

    return layer, {}


def _flatten(module: nn.Flatten, name: str, shape: tuple[int, ...]) -> tuple[Layer, Arrange]:
    def layer(x: Tensor, count: int):
        def back(gy: Tensor, needed: bool):
            def tangent(dx: Tensor | None, v: Gradient):
                return None if dx is None else dx.flatten(1), lambda dgy: dgy.view_as(x)

            return gy.view_as(x), {}, tangent

        return x.flatten(1), back

    return layer, {}


def _convolution(module: nn.Conv2d, name: str, shape: tuple[int, ...]) -> tuple[Layer, Arrange] | None:
    """Convolution, by Winograd's algorithm where that pays."""
    geometry = Geometry.of(module)
    if geometry is None:
        return None
    if winograd.fits(geometry, shape, module.out_channels):
        return _by_winograd(module, name), {f"{name}.weight": winograd.as_rows}
    return _by_patches(module, name, geometry), {f"{name}.weight": as_rows}


def _by_patches(module: nn.Conv2d, name: str, geometry: Geometry) -> Layer:
    """Shared weights as convolutions, a problem's own as matrix products with patches."""
    weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
    kernel = turn(as_rows(weight), geometry)
    own_weight, own_bias = f"{name}.weight", f"{name}.bias"
    size, stride, padding = geometry.size, geometry.stride, geometry.padding

    def layer(x: Tensor, count: int):
        high, wide = x.shape[2:]
        y = F.conv2d(x, weight, bias, stride, padding)
        like, around = (len(y), *y.shape[2:]), (padding, padding)
        seen = patches(padded(x, around, around), size, stride).view(count, -1, weight[0].numel())

        def back(gy: Tensor, needed: bool):
            own = {own_weight: places(gy, count).mT @ seen}
            if bias is not None:
                own[own_bias] = places(gy, count).sum(1)

            def tangent(dx: Tensor | None, v: Gradient):
                rows = v[own_weight].mT
                dy = seen @ rows if bias is None else torch.baddbmm(v[own_bias].unsqueeze(1), seen, rows)
                dy = channels_last(dy, like)
                if dx is not None:
                    dy = dy + F.conv2d(dx, weight, None, stride, padding)

                def tangent_back(dgy: Tensor) -> Tensor:
                    shared = by_input(dgy, kernel, geometry, high, wide)
                    return shared + own_by_input(gy, v[own_weight], geometry, high, wide)

                return dy, tangent_back

            return by_input(gy, kernel, geometry, high, wide) if needed else None, own, tangent

        return y, back

    return layer


def _by_winograd(module: nn.Conv2d, name: str) -> Layer:
    """All weights as matrix products of transforms."""
    weight, bias = winograd.from_kernel(winograd.as_rows(module.weight.detach())), module.bias
    bias = None if bias is None else bias.detach()
    own_weight, own_bias = f"{name}.weight", f"{name}.bias"

    def layer(x: Tensor, count: int):
        like = (len(x), *x.shape[2:])
        each = (-1, math.prod(like) // count // winograd.TILE**2)  # places of one problem in a transform
        seen = winograd.from_input(x.permute(0, 2, 3, 1))
        y = winograd.to_output(seen @ weight.mT, like)
        seen = seen.view(*each, seen.shape[-1])

        def back(gy: Tensor, needed: bool):
            gy = gy.permute(0, 2, 3, 1)
            felt = winograd.from_output(gy)
            felt_each = felt.view(*each, felt.shape[-1])
            products = (felt_each.mT @ seen).unflatten(0, (-1, count))
            own = {own_weight: winograd.to_kernel(products).movedim(0, 1)}
            if bias is not None:
                own[own_bias] = gy.unflatten(0, (count, -1)).sum((1, 2, 3))
            gx = winograd.to_input(felt @ weight, like).permute(0, 3, 1, 2) if needed else None

            def tangent(dx: Tensor | None, v: Gradient):
                own_each = winograd.from_kernel(v[own_weight].movedim(1, 0)).flatten(0, 1)
                dy = (seen @ own_each.mT).view(len(weight), -1, weight.shape[1])
                if dx is not None:
                    dy = dy.baddbmm_(winograd.from_input(dx.permute(0, 2, 3, 1)), weight.mT)
                dy = winograd.to_output(dy, like)
                if bias is not None:
                    dy = (dy.unflatten(0, (count, -1)) + v[own_bias][:, None, None, None]).flatten(0, 1)

                def tangent_back(dgy: Tensor) -> Tensor:
                    dgx = (felt_each @ own_each).view(len(weight), -1, weight.shape[2])
                    dgx = dgx.baddbmm_(winograd.from_output(dgy.permute(0, 2, 3, 1)), weight)
                    return winograd.to_input(dgx, like).permute(0, 3, 1, 2)

                return dy.permute(0, 3, 1, 2), tangent_back

            return gx, own, tangent

        return (y if bias is None else y + bias).permute(0, 3, 1, 2), back

    return layer


RULES: dict[type, Callable[[nn.Module, str, tuple[int, ...]], tuple[Layer, Arrange] | None]] = {
    nn.Conv2d: _convolution,
    nn.BatchNorm2d: _batch_norm,
    nn.Sigmoid: _sigmoid,
    nn.Tanh: _tanh,
    nn.ReLU: _relu,
    nn.MaxPool2d: _max_pool,
    nn.Flatten: _flatten,
}
