"""||dr_i/dX|| from one extra forward pass: a variance of 1 on every pixel, pushed through the network.

If the pixels were independent with variance 1, a linear map J would give feature i the variance ||J_i||^2. Layer by
layer, correlations between units are ignored: exact behind one linear layer, an estimate behind more.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from fldrep.defenses.pointwise import POINTWISE, max_pool_winners
from fldrep.errors import ConfigError

# A signal: the values of a layer, and the variance of each of them; both (N, ...).
Signal = tuple[Tensor, Tensor]


def features_and_variances(body: nn.Module, images: Tensor) -> Signal:
    """r and an estimate of ||dr_i/dX||^2. Shape: (N, C, H, W) -> (N, F) twice.

    Batch norm uses its running statistics, whatever mode it is in.
    Errors: `ConfigError` naming a module without a rule.
    """
    return propagate(body, (images, torch.ones_like(images)))


def propagate(module: nn.Module, signal: Signal) -> Signal:
    """The signal behind a module. Errors: `ConfigError` naming a module without a rule."""
    kind = type(module)
    rule = RULES.get(kind) or RULES_BY_NAME.get(f"{kind.__module__}.{kind.__qualname__}")
    if rule is None:
        raise ConfigError(
            f"variance propagation has no rule for module {kind.__name__}; "
            f"known: {', '.join(sorted(known.__name__ for known in RULES))}"
        )
    return rule(module, signal)


def _sequential(module: nn.Sequential, signal: Signal) -> Signal:
    for child in module:
        signal = propagate(child, signal)
    return signal


def _conv(module: nn.Conv2d, signal: Signal) -> Signal:
    values, variances = signal
    if module.padding_mode != "zeros":
        raise ConfigError(f"variance propagation has no rule for Conv2d with padding_mode {module.padding_mode!r}")
    shape = (module.stride, module.padding, module.dilation, module.groups)
    return module(values), functional.conv2d(variances, module.weight.square(), None, *shape)


def _linear(module: nn.Linear, signal: Signal) -> Signal:
    values, variances = signal
    return module(values), functional.linear(variances, module.weight.square())


def _pointwise(module: nn.Module, signal: Signal) -> Signal:
    values, slopes = POINTWISE[type(module)](module, signal[0])
    return values, signal[1] * slopes.square()


def _max_pool(module: nn.MaxPool2d, signal: Signal) -> Signal:
    """A maximum varies as its winner does."""
    values, variances = signal
    pooled, winners = max_pool_winners(module, values)
    return pooled, variances.flatten(2).gather(2, winners.flatten(2)).view_as(pooled)


def _average_pool(module: nn.AvgPool2d, signal: Signal) -> Signal:
    """The mean of k inputs varies as the mean of their variances, divided by k."""
    kernel = module.kernel_size if isinstance(module.kernel_size, tuple) else (module.kernel_size,) * 2
    padded = module.padding not in (0, (0, 0))
    if padded or module.ceil_mode or module.divisor_override:
        raise ConfigError("variance propagation knows AvgPool2d without padding, ceil_mode and divisor_override")
    return module(signal[0]), module(signal[1]) / (kernel[0] * kernel[1])


def _adaptive_average_pool(module: nn.AdaptiveAvgPool2d, signal: Signal) -> Signal:
    values, variances = signal
    pooled = module(values)
    sizes = [(before, after) for before, after in zip(values.shape[2:], pooled.shape[2:], strict=True)]
    if any(before % after for before, after in sizes):
        raise ConfigError(f"variance propagation: AdaptiveAvgPool2d does not divide {tuple(values.shape[2:])} evenly")
    averaged = (sizes[0][0] // sizes[0][1]) * (sizes[1][0] // sizes[1][1])
    return pooled, module(variances) / averaged


def _flatten(module: nn.Flatten, signal: Signal) -> Signal:
    return module(signal[0]), module(signal[1])


def _basic_block(module: nn.Module, signal: Signal) -> Signal:
    """The residual block of ResNet-18 and -34: the variances of its two branches add."""
    inner = propagate(module.bn1, propagate(module.conv1, signal))
    inner = propagate(module.bn2, propagate(module.conv2, propagate(module.relu, inner)))
    skip = signal if module.downsample is None else propagate(module.downsample, signal)
    return propagate(module.relu, (inner[0] + skip[0], inner[1] + skip[1]))


RULES: dict[type[nn.Module], Callable[[nn.Module, Signal], Signal]] = {
    **dict.fromkeys(POINTWISE, _pointwise),
    nn.Sequential: _sequential,
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_average_pool,
    nn.Flatten: _flatten,
}
# By name, so that torchvision is not imported for networks that do not use it.
RULES_BY_NAME = {"torchvision.models.resnet.BasicBlock": _basic_block}
