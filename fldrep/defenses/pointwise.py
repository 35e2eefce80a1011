"""Layers that act on each unit alone: their values, and their slopes there.

Batch norm uses its running statistics, whatever mode it is in, so that images do not mix.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from fldrep.errors import ConfigError

# Values (N, ...) in; values and slopes out, the slopes of a shape that broadcasts against the values.
Pointwise = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]


def _batch_norm(module: nn.BatchNorm2d, x: Tensor) -> tuple[Tensor, Tensor]:
    mean, variance = module.running_mean, module.running_var
    if variance is None:
        raise ConfigError("batch norm without running statistics mixes the images of a batch")
    gain = (variance + module.eps).rsqrt()
    if module.weight is not None:
        gain = gain * module.weight
    values = functional.batch_norm(x, mean, variance, module.weight, module.bias, eps=module.eps)
    return values, gain.view(1, -1, 1, 1)


def _sigmoid(module: nn.Sigmoid, x: Tensor) -> tuple[Tensor, Tensor]:
    values = x.sigmoid()
    return values, values * (1 - values)


def _tanh(module: nn.Tanh, x: Tensor) -> tuple[Tensor, Tensor]:
    values = x.tanh()
    return values, 1 - values.square()


def _relu(module: nn.ReLU, x: Tensor) -> tuple[Tensor, Tensor]:
    return x.relu(), (x > 0).to(x.dtype)


def _leaky_relu(module: nn.LeakyReLU, x: Tensor) -> tuple[Tensor, Tensor]:
    slopes = torch.where(x > 0, 1.0, module.negative_slope).to(x.dtype)
    return x * slopes, slopes


def _identity(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    return x, x.new_ones(1)


POINTWISE: dict[type[nn.Module], Pointwise] = {
    nn.BatchNorm2d: _batch_norm,
    nn.Sigmoid: _sigmoid,
    nn.Tanh: _tanh,
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky_relu,
    nn.Identity: _identity,
}


def max_pool_winners(module: nn.MaxPool2d, x: Tensor) -> tuple[Tensor, Tensor]:
    """Maxima, and the position of each in its input plane. Shape: (N, C, H, W) -> (N, C, H', W') twice."""
    shape = (module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode)
    return functional.max_pool2d_with_indices(x, *shape)
