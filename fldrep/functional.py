"""Networks as functions: called with other weights than their own, and by operations that have all derivatives."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

Tensors = Mapping[str, Tensor]


def functional_call(module: nn.Module, tensors: Tensors | tuple[Tensors, ...], inputs: tuple):
    """As `torch.func.functional_call`, which leaves a plain tensor in a module that is used twice.

    Args: tensors: parameters and buffers by the names that `named_parameters` and `named_buffers` give them, each once;
    wherever else the module uses one of them, the same tensor stands in.
    """
    given = dict(tensors) if isinstance(tensors, Mapping) else {k: v for one in tensors for k, v in one.items()}
    places = {place: given[name] for place, name in places_of(module).items() if name in given}
    return torch.func.functional_call(module, places, inputs, tie_weights=False)


def places_of(module: nn.Module) -> dict[str, str]:
    """Every place that holds a parameter or a buffer, once a module, and the name of what it holds.

    >>> first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    >>> second.weight = first.weight
    >>> places_of(nn.Sequential(first, second, first))
    {'0.weight': '0.weight', '1.weight': '0.weight'}
    """
    names = {id(value): name for name, value in [*module.named_parameters(), *module.named_buffers()]}
    found = {}
    for path, one in module.named_modules():
        own = {**one._parameters, **one._buffers}
        found |= {f"{path}.{key}".lstrip("."): names[id(value)] for key, value in own.items() if value is not None}
    return found


@contextmanager
def differentiable() -> Iterator[None]:
    """Torch computes by operations that it can differentiate in every way, and twice.

    Any mode of functions, such as `ByFormula`, also keeps attention off its fast path, which has no derivatives.
    """
    with sdpa_kernel(SDPBackend.MATH), ByFormula():
        yield


class ByFormula(TorchFunctionMode):
    """Replaces functions of torch that it cannot differentiate twice by formulas."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # noqa: D105
        return FORMULAS.get(func, func)(*args, **(kwargs or {}))


def _hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    return functional.relu6(x + 3) / 6


FORMULAS: dict[Callable, Callable] = {functional.hardsigmoid: _hardsigmoid}
