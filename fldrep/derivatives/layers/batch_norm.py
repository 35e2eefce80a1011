"""Batch norm with its running statistics, whatever mode it is in: an affine map of each channel."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.derivatives.layer import Gradient, NoRule, Passes, Run, Shape, as_it_is, each, layer, without_weights
from fldrep.derivatives.network import Names
from fldrep.derivatives.pointwise import Pointwise

COLUMN = (-1, 1, 1)


@layer(nn.BatchNorm2d)
class BatchNorm(Pointwise):
    """The rules of `nn.BatchNorm2d`."""

    def values_and_slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The slope is one number a channel."""
        module = self._with_statistics()
        gain = (module.running_var + module.eps).rsqrt()
        if module.weight is not None:
            gain = gain * module.weight
        values = F.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias, eps=module.eps)
        return values, gain.view(1, *COLUMN)

    def passes(self, names: Names, shape: Shape) -> Passes:
        """Its own gradients are sums over places."""
        module, own = self._with_statistics(), self.own(names)
        width = (module.running_var + module.eps).rsqrt().view(COLUMN)
        centre = module.running_mean.view(COLUMN)
        if not own:
            return Passes(_plain(centre, width), shape)
        weights = [getattr(module, part).detach().view(COLUMN) for part in ("weight", "bias")]
        run = _affine(own["weight"], own["bias"], centre, width, *weights)
        return Passes(run, shape, dict.fromkeys(own.values(), as_it_is))

    def inverse(self, y: Tensor) -> Tensor:
        """The affine map back. Errors: `NoRule` where a channel's slope is 0."""
        values, slopes = self.values_and_slopes(torch.zeros_like(y))
        if not slopes.all():
            raise NoRule("BatchNorm2d with a weight of 0")
        return (y - values) / slopes

    def norm(self, x: Tensor) -> float:
        """The largest slope of a channel."""
        module = self._with_statistics()
        gain = (module.running_var.double() + module.eps).rsqrt()
        return (gain if module.weight is None else gain * module.weight.double().abs()).max().item()

    def _with_statistics(self) -> nn.BatchNorm2d:
        if self.module.running_var is None:
            raise NoRule("BatchNorm2d without running statistics")
        return self.module


def _affine(own_gain: str, own_offset: str, centre: Tensor, width: Tensor, gain: Tensor, offset: Tensor) -> Run:
    def run(x: Tensor, count: int):
        standard = (x - centre) * width

        def back(gy: Tensor, needed: bool):
            own = {
                own_gain: each(gy * standard, count).sum((1, 3, 4)),
                own_offset: each(gy, count).sum((1, 3, 4)),
            }

            def pull(dx: Tensor | None, v: Gradient):
                dgain, doffset = (v[name][:, None, :, None, None] for name in (own_gain, own_offset))
                dy = (each(standard, count) * dgain + doffset).flatten(0, 1)

                def pull_back(dgy: Tensor) -> Tensor:
                    return (dgy * gain + (each(gy, count) * dgain).flatten(0, 1)) * width

                return dy if dx is None else dx * (gain * width) + dy, pull_back

            def push(dx: Tensor):
                def push_back(dgy: Tensor, needed: bool):
                    down = {
                        own_gain: each(dgy * standard + gy * (dx * width), count).sum((1, 3, 4)),
                        own_offset: each(dgy, count).sum((1, 3, 4)),
                    }
                    return dgy * (gain * width) if needed else None, down

                return dx * (gain * width), push_back

            return gy * (gain * width) if needed else None, own, pull, push

        return standard * gain + offset, back

    return run


def _plain(centre: Tensor, width: Tensor) -> Run:
    """Without weights of its own."""
    return without_weights(lambda x: ((x - centre) * width, width.mul, width.mul, None))
