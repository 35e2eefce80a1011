"""Functions with their derivatives: written out where they say them, by autograd where they do not."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fldrep.arguments import refuse


def differentiated(function: Callable, at: Any, *others: Any) -> tuple[Tensor, Any]:
    """Value (P,) and derivative of a function that returns both, or the value alone; by its first argument.

    Args: at: a tensor or a dict of tensors, one row a problem. Errors: `ConfigError` where it returns something else.

    >>> value, derivative = differentiated(lambda x: x.square().sum(1), torch.tensor([[1.0, 2.0]]))
    >>> value.tolist(), derivative.tolist()
    ([5.0], [[2.0, 4.0]])
    """
    found = function(at, *others)
    value = found[0] if isinstance(found, tuple) and len(found) == 2 else found
    if not isinstance(value, Tensor) or value.ndim != 1:
        refuse(f"what {_name(function)} returns", found, "values of shape (P,), or these and their derivative")
    if isinstance(found, tuple):
        _require_alike(at, found[1], _name(function))
        return found
    value, back = torch.func.vjp(lambda at: function(at, *others), at)
    return value, back(torch.ones_like(value))[0]


def _require_alike(at: Any, derivative: Any, name: str) -> None:
    """Errors: `ConfigError` where a derivative has another form than what it is by."""
    expected, said = (one if isinstance(one, dict) else {"": one} for one in (at, derivative))
    for key in expected.keys() | said.keys():
        shape = getattr(expected.get(key), "shape", None)
        if shape is None or getattr(said.get(key), "shape", None) != shape:
            told = "no such tensor" if shape is None else f"a tensor of shape {tuple(shape)}"
            refuse(f"the derivative that {name} returns{f'[{key!r}]' if key else ''}", said.get(key), told)


def _name(function: Callable) -> str:
    return getattr(getattr(function, "func", function), "__name__", "it")  # `func`: of a partial
