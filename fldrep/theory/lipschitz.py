"""How strongly a network's representation can react to its input: norms of layers, and of the Jacobian at an image.

All norms are spectral: largest singular values, from the 2-norm of the input to the 2-norm of the output.
"""

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import jvp, vjp

from fldrep.defenses.jacobian import fixed_statistics
from fldrep.errors import ConfigError
from fldrep.models.model import Model

# The Jacobian's norm at an image -------------------------------------------------------------------------------------


def jacobian_norms(
    model: Model, images: Tensor, *, steps: int = 40, tolerance: float = 0.01, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """||dr/dX||_2 at each image, from below, and the direction that reaches it.

    Shape: (N, C, H, W) -> (N,), (N, C, H, W).

    Lanczos iteration on J^T J with full reorthogonalisation: one forward- and one reverse-mode product a step, and
    after each the largest value over all directions met so far; none is ever above the true norm. It ends where for
    every image ||J^T J v - value v|| is at most `tolerance` times the value, whose own relative error is about the
    square of that.
    Args: start: directions to begin with, (N, C, H, W); random ones of a fixed seed if not given.
    """
    if start is None:
        drawn = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0), dtype=images.dtype)
        start = drawn.to(images.device).expand_as(images)
    basis = [unit(start.flatten(1))]
    inner = images.new_zeros(len(images), steps, steps)
    with torch.no_grad(), fixed_statistics(model):
        for step in range(steps):
            pulled = gram_product(model, images, basis[-1].view_as(images)).flatten(1)
            pulled, along = without(pulled, torch.stack(basis, 1))
            inner[:, step, : step + 1], inner[:, : step + 1, step] = along, along
            values, vectors = torch.linalg.eigh(inner[:, : step + 1, : step + 1])
            beyond = torch.linalg.vector_norm(pulled, dim=1)
            if step + 1 == steps or bool((beyond * vectors[:, -1, -1].abs() <= tolerance * values[:, -1]).all()):
                break
            basis.append(unit(pulled))
    direction = torch.einsum("nkp,nk->np", torch.stack(basis, 1), vectors[:, :, -1])
    return values[:, -1].clamp_min(0).sqrt(), direction.view_as(images)


def gram_product(model: Model, images: Tensor, directions: Tensor) -> Tensor:
    """J^T J v, J = dr/dX at each image. Shape: (N, C, H, W) twice -> same."""
    with warnings.catch_warnings():  # torch's forward mode scripts its own rules when first used
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)
        pushed = jvp(model.features, (images,), (directions,))[1]
    with torch.enable_grad():
        return vjp(model.features, images)[1](pushed)[0]


def without(vectors: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """What is left of vectors off an orthonormal basis, and their parts along it.

    Shapes: (N, P), (N, K, P) -> (N, P), (N, K). Done twice, since the first pass leaves rounding errors of the size of
    the parts taken off.
    """
    along = torch.einsum("nkp,np->nk", basis, vectors)
    left = vectors - torch.einsum("nkp,nk->np", basis, along)
    again = torch.einsum("nkp,np->nk", basis, left)
    return left - torch.einsum("nkp,nk->np", basis, again), along + again


def unit(directions: Tensor) -> Tensor:
    """Each scaled to norm 1; zero, or what is too small to tell from it, becomes zero. Shape: (N, P) -> same.

    Entries are scaled before they are squared: where a sigmoid is saturated they are so small that squares vanish.
    """
    largest = directions.abs().amax(1, keepdim=True)
    scaled = torch.where(largest > torch.finfo(directions.dtype).tiny, directions / largest, 0)
    return scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True).clamp_min(1)


# Upper bounds from layers --------------------------------------------------------------------------------------------


def lipschitz_bound(model: Model, shape: tuple[int, int, int] | None = None) -> float:
    """A number that no ||f(X) - f(Y)|| / ||X - Y|| exceeds, in float64: the product of the layers' bounds.

    Args: shape (C, H, W) of an image, `model.shape` if not given. Batch norm uses its running statistics.
    Errors: `ConfigError` naming a module that no bound is known for.
    """
    weight = model.head.weight
    with torch.no_grad(), fixed_statistics(model):
        return layer_norm(model.body, weight.new_zeros(1, *(shape or model.shape)))


def layer_norm(module: nn.Module, x: Tensor) -> float:
    """Bound of one module for inputs of the shape of x. Errors: `ConfigError` naming the module."""
    kind = type(module)
    bound = LAYER_NORMS.get(kind) or LAYER_NORMS_BY_NAME.get(f"{kind.__module__}.{kind.__qualname__}")
    if bound is None:
        known = ", ".join(sorted(one.__name__ for one in LAYER_NORMS))
        raise ConfigError(f"no Lipschitz bound is known for module {kind.__name__}; known: {known}")
    return bound(module, x)


def _chain(modules: list[nn.Module], x: Tensor) -> float:
    bound = 1.0
    for module in modules:
        bound *= layer_norm(module, x)
        x = module(x)
    return bound


def _sequential(module: nn.Sequential, x: Tensor) -> float:
    return _chain(list(module), x)


def _basic_block(module: nn.Module, x: Tensor) -> float:
    """The residual block of ResNet-18 and -34: the bounds of its two branches add."""
    inner = _chain([module.conv1, module.bn1, module.relu, module.conv2, module.bn2], x)
    return inner + (1.0 if module.downsample is None else layer_norm(module.downsample, x))


def _linear(module: nn.Linear, x: Tensor) -> float:
    return torch.linalg.matrix_norm(module.weight.double(), 2).item()


def _conv(module: nn.Conv2d, x: Tensor) -> float:
    """Largest norm over the frequencies of a periodic convolution that contains this one: never below the true norm.

    A convolution of stride s is one of stride 1 on the s x s phases of its input as channels. With zero padding it is
    a part of the periodic convolution on a grid with room for input and kernel, and a part is never larger than the
    whole. The periodic one is block diagonal in frequency (Sedghi et al. 2019, arXiv:1805.10408).
    """
    if module.groups != 1 or module.dilation != (1, 1) or module.padding_mode != "zeros":
        raise ConfigError("no Lipschitz bound is known for Conv2d with groups, dilation or padding other than zeros")
    if isinstance(module.padding, str):
        raise ConfigError(f"no Lipschitz bound is known for Conv2d with padding {module.padding!r}")
    kernel = phases_as_channels(module.weight.double(), module.stride)
    grid = [
        math.ceil((size + 2 * pad) / step) + taps - 1
        for size, pad, step, taps in zip(x.shape[2:], module.padding, module.stride, kernel.shape[2:], strict=True)
    ]
    spectrum = torch.fft.rfft2(kernel, s=grid).flatten(2).permute(2, 0, 1)
    return largest_singular_value(spectrum)


def phases_as_channels(kernel: Tensor, stride: tuple[int, int]) -> Tensor:
    """A strided kernel as one of stride 1 whose input channels are the phases.

    Shape: (O, I, H, W) -> (O, I s t, H / s, W / t), sizes rounded up, for a stride of (s, t).
    """
    down, right = stride
    padded = nn.functional.pad(kernel, (0, -kernel.shape[3] % right, 0, -kernel.shape[2] % down))
    outgoing, incoming, height, width = padded.shape
    split = padded.view(outgoing, incoming, height // down, down, width // right, right)
    return split.permute(0, 1, 3, 5, 2, 4).reshape(outgoing, -1, height // down, width // right)


def largest_singular_value(matrices: Tensor, chunk: int = 64) -> float:
    """The largest over all matrices. Shape: (M, rows, columns), real or complex, float64."""
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.mH
    squares = [torch.linalg.eigvalsh(part @ part.mH)[:, -1].max() for part in matrices.split(chunk)]
    return torch.stack(squares).max().clamp_min(0).sqrt().item()


def _batch_norm(module: nn.BatchNorm2d, x: Tensor) -> float:
    gain = (module.running_var.double() + module.eps).rsqrt()
    return (gain if module.weight is None else gain * module.weight.double().abs()).max().item()


def _max_pool(module: nn.MaxPool2d, x: Tensor) -> float:
    """Each output moves by at most the largest move in its window, and a pixel is in so many windows."""
    if module.dilation not in (1, (1, 1)):
        raise ConfigError("no Lipschitz bound is known for MaxPool2d with dilation")
    return math.sqrt(_windows_of_a_pixel(module))


def _average_pool(module: nn.AvgPool2d, x: Tensor) -> float:
    """The square of a mean is at most the mean of squares."""
    if module.divisor_override or module.padding not in (0, (0, 0)):
        raise ConfigError("no Lipschitz bound is known for AvgPool2d with padding or divisor_override")
    return math.sqrt(_windows_of_a_pixel(module) / math.prod(_pair(module.kernel_size)))


def _adaptive_average_pool(module: nn.AdaptiveAvgPool2d, x: Tensor) -> float:
    sizes = list(zip(x.shape[2:], module(x).shape[2:], strict=True))
    if any(before % after for before, after in sizes):
        raise ConfigError(
            f"no Lipschitz bound is known for AdaptiveAvgPool2d that does not divide {tuple(x.shape[2:])}"
        )
    return math.sqrt(math.prod(after / before for before, after in sizes))


def _windows_of_a_pixel(module: nn.MaxPool2d | nn.AvgPool2d) -> int:
    sizes = zip(_pair(module.kernel_size), _pair(module.stride), strict=True)
    return math.prod(math.ceil(kernel / stride) for kernel, stride in sizes)


def _pair(value: int | tuple[int, int]) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def _at_most(slope: float) -> Callable[[nn.Module, Tensor], float]:
    return lambda module, x: slope


LAYER_NORMS: dict[type[nn.Module], Callable[[nn.Module, Tensor], float]] = {
    nn.Sequential: _sequential,
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm2d: _batch_norm,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_average_pool,
    nn.Sigmoid: _at_most(0.25),
    nn.Tanh: _at_most(1.0),
    nn.ReLU: _at_most(1.0),
    nn.LeakyReLU: lambda module, x: max(1.0, abs(module.negative_slope)),
    nn.Flatten: _at_most(1.0),
    nn.Identity: _at_most(1.0),
}
# By name, so that torchvision is not imported for networks that do not use it.
LAYER_NORMS_BY_NAME = {"torchvision.models.resnet.BasicBlock": _basic_block}
