"""Convolution: gradients by matrix products with patches, or by Winograd's algorithm where that pays.

`passes` and `rows` know square kernels, strides and paddings, without groups and dilation; others go by autograd.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.derivatives import winograd
from fldrep.derivatives.layer import Gradient, Layer, NoRule, Passes, Run, Shape, as_it_is, layer
from fldrep.derivatives.network import Names
from fldrep.derivatives.patches import (
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
from fldrep.derivatives.phases import (
    largest_singular_value,
    padded_convolution,
    phase_kernels,
    phases_as_channels,
    window_axis,
)
from fldrep.derivatives.rows import Patches, Record


@layer(nn.Conv2d)
class Convolution(Layer):
    """The rules of `nn.Conv2d`."""

    def passes(self, names: Names, shape: Shape) -> Passes:
        """Shared weights as convolutions, a problem's own as matrix products."""
        geometry, own = Geometry.of(self.module), self.own(names)
        if geometry is None:
            raise NoRule("Conv2d with groups, dilation, oblong sizes or padding other than zeros")
        by_transforms = winograd.fits(geometry, shape, self.module.out_channels)
        run = _by_winograd(self.module, own) if by_transforms else _by_patches(self.module, own, geometry)
        order = dict.fromkeys(own.values(), as_it_is)
        order[own["weight"]] = winograd.as_rows if by_transforms else as_rows
        high, wide = (geometry.coarse(length) for length in shape[1:])
        return Passes(run, (self.module.out_channels, high, wide), order)

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The same kernel over both."""
        one = self.module
        if one.padding_mode == "zeros":
            padding = one.padding
        else:
            padding, around = 0, one._reversed_padding_repeated_twice
            x, dx = F.pad(x, around, mode=one.padding_mode), F.pad(dx, around, mode=one.padding_mode)
        shape = one.stride, padding, one.dilation, one.groups
        return F.conv2d(x, one.weight, one.bias, *shape), F.conv2d(dx, one.weight, None, *shape)

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """A window of cotangents becomes a larger one, a phase of the pixels a channel."""
        one = self.module
        square = one.stride[0] == one.stride[1] and isinstance(one.padding, tuple)
        if not square or one.groups != 1 or one.dilation != (1, 1) or one.padding_mode != "zeros":
            raise NoRule("Conv2d with groups, dilation, oblong strides or padding other than zeros")
        stride, padding = one.stride[0], one.padding
        phases = phase_kernels(one.weight.detach(), stride)

        def pull(patches: Patches) -> Patches:
            high, wide = patches.values.shape[2:]
            vertical = window_axis(patches.top, high, phases.shape[2], stride, padding[0], x.shape[2])
            horizontal = window_axis(patches.left, wide, phases.shape[3], stride, padding[1], x.shape[3])
            values = padded_convolution(patches.values, phases, vertical.pads, horizontal.pads)
            if stride > 1:
                values = F.pixel_shuffle(values, stride)
            values = values[:, :, vertical.inside, horizontal.inside]
            return Patches(values, vertical.first, horizontal.first, patches.image)

        return one(x), [Record(x.shape[1:], pull)]

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """The squares of the kernel's entries over the variances."""
        one = self.module
        if one.padding_mode != "zeros":
            raise NoRule(f"Conv2d with padding_mode {one.padding_mode!r}")
        shape = one.stride, one.padding, one.dilation, one.groups
        return one(values), F.conv2d(variances, one.weight.square(), None, *shape)

    def norm(self, x: Tensor) -> float:
        """Largest norm over the frequencies of a periodic convolution that contains this one: not below the true norm.

        A convolution of stride s is one of stride 1 on the s x s phases of its input as channels. With zero padding it
        is a part of the periodic convolution on a grid with room for input and kernel, and a part is never larger than
        the whole. The periodic one is block diagonal in frequency (Sedghi et al. 2019, arXiv:1805.10408).
        """
        one = self.module
        if one.groups != 1 or one.dilation != (1, 1) or one.padding_mode != "zeros":
            raise NoRule("Conv2d with groups, dilation or padding other than zeros")
        if isinstance(one.padding, str):
            raise NoRule(f"Conv2d with padding {one.padding!r}")
        kernel = phases_as_channels(one.weight.double(), one.stride)
        grid = [
            math.ceil((size + 2 * pad) / step) + taps - 1
            for size, pad, step, taps in zip(x.shape[2:], one.padding, one.stride, kernel.shape[2:], strict=True)
        ]
        spectrum = torch.fft.rfft2(kernel, s=grid).flatten(2).permute(2, 0, 1)
        return largest_singular_value(spectrum)


def _by_patches(module: nn.Conv2d, own: dict[str, str], geometry: Geometry) -> Run:
    """Shared weights as convolutions, a problem's own as matrix products with patches."""
    weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
    kernel = turn(as_rows(weight), geometry)
    own_weight, own_bias = own["weight"], own.get("bias")
    size, stride, padding = geometry.size, geometry.stride, geometry.padding

    def seen_by(x: Tensor, count: int) -> Tensor:
        around = (padding, padding)
        return patches(padded(x, around, around), size, stride).reshape(count, -1, weight[0].numel())

    def run(x: Tensor, count: int):
        high, wide = x.shape[2:]
        y = F.conv2d(x, weight, bias, stride, padding)
        like, seen = (len(y), *y.shape[2:]), seen_by(x, count)

        def gradients(g: Tensor) -> dict[str, Tensor]:
            found = {own_weight: places(g, count).mT @ seen}
            return found if bias is None else found | {own_bias: places(g, count).sum(1)}

        def back(gy: Tensor, needed: bool):
            def pull(dx: Tensor | None, v: Gradient):
                rows = v[own_weight].mT
                dy = seen @ rows if bias is None else torch.baddbmm(v[own_bias].unsqueeze(1), seen, rows)
                dy = channels_last(dy, like)
                if dx is not None:
                    dy = dy + F.conv2d(dx, weight, None, stride, padding)

                def pull_back(dgy: Tensor) -> Tensor:
                    shared = by_input(dgy, kernel, geometry, high, wide)
                    return shared + own_by_input(gy, v[own_weight], geometry, high, wide)

                return dy, pull_back

            def push(dx: Tensor):
                def push_back(dgy: Tensor, needed: bool):
                    down = gradients(dgy)
                    down[own_weight] = down[own_weight] + places(gy, count).mT @ seen_by(dx, count)
                    return by_input(dgy, kernel, geometry, high, wide) if needed else None, down

                return F.conv2d(dx, weight, None, stride, padding), push_back

            return by_input(gy, kernel, geometry, high, wide) if needed else None, gradients(gy), pull, push

        return y, back

    return run


def _by_winograd(module: nn.Conv2d, own: dict[str, str]) -> Run:
    """All weights as matrix products of transforms."""
    weight, bias = winograd.from_kernel(winograd.as_rows(module.weight.detach())), module.bias
    bias = None if bias is None else bias.detach()
    own_weight, own_bias = own["weight"], own.get("bias")

    def run(x: Tensor, count: int):
        like = (len(x), *x.shape[2:])
        each = (-1, math.prod(like) // count // winograd.TILE**2)  # places of one problem in a transform
        seen = winograd.from_input(x.permute(0, 2, 3, 1))
        y = winograd.to_output(seen @ weight.mT, like)
        seen = seen.view(*each, seen.shape[-1])

        def gradients(products: Tensor, g: Tensor) -> dict[str, Tensor]:
            found = {own_weight: winograd.to_kernel(products.unflatten(0, (-1, count))).movedim(0, 1)}
            return found if bias is None else found | {own_bias: g.unflatten(0, (count, -1)).sum((1, 2, 3))}

        def by_input(felt: Tensor) -> Tensor:
            return winograd.to_input(felt @ weight, like).permute(0, 3, 1, 2)

        def back(gy: Tensor, needed: bool):
            gy = gy.permute(0, 2, 3, 1)
            felt = winograd.from_output(gy)
            felt_each = felt.view(*each, felt.shape[-1])

            def pull(dx: Tensor | None, v: Gradient):
                own_each = winograd.from_kernel(v[own_weight].movedim(1, 0)).flatten(0, 1)
                dy = (seen @ own_each.mT).view(len(weight), -1, weight.shape[1])
                if dx is not None:
                    dy = dy.baddbmm_(winograd.from_input(dx.permute(0, 2, 3, 1)), weight.mT)
                dy = winograd.to_output(dy, like)
                if bias is not None:
                    dy = (dy.unflatten(0, (count, -1)) + v[own_bias][:, None, None, None]).flatten(0, 1)

                def pull_back(dgy: Tensor) -> Tensor:
                    dgx = (felt_each @ own_each).view(len(weight), -1, weight.shape[2])
                    dgx = dgx.baddbmm_(winograd.from_output(dgy.permute(0, 2, 3, 1)), weight)
                    return winograd.to_input(dgx, like).permute(0, 3, 1, 2)

                return dy.permute(0, 3, 1, 2), pull_back

            def push(dx: Tensor):
                change = winograd.from_input(dx.permute(0, 2, 3, 1))
                dy = winograd.to_output(change @ weight.mT, like).permute(0, 3, 1, 2)

                def push_back(dgy: Tensor, needed: bool):
                    dgy = dgy.permute(0, 2, 3, 1)
                    dfelt = winograd.from_output(dgy)
                    products = dfelt.view(*each, dfelt.shape[-1]).mT @ seen
                    products = products + felt_each.mT @ change.view(*each, change.shape[-1])
                    return by_input(dfelt) if needed else None, gradients(products, dgy)

                return dy, push_back

            return by_input(felt) if needed else None, gradients(felt_each.mT @ seen, gy), pull, push

        return (y if bias is None else y + bias).permute(0, 3, 1, 2), back

    return run
