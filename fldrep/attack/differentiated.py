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
        for key, expected, said in _pairs(at, found[1]):
            if not isinstance(said, Tensor) or said.shape != expected.shape:
                told = f"the derivative that {_name(function)} returns{key and f'[{key!r}]'}"
                refuse(told, said, f"a tensor of shape {tuple(expected.shape)}")
        return found
    value, back = torch.func.vjp(lambda at: function(at, *others), at)
    return value, back(torch.ones_like(value))[0]


def _pairs(at: Any, derivative: Any) -> list[tuple[str, Tensor, Any]]:
    """Names, what a derivative is by, and what was given; None where a tensor is missing."""
    if not isinstance(at, dict):
        return [("", at, derivative)]
    return [(key, one, derivative.get(key) if isinstance(derivative, dict) else None) for key, one in at.items()]


def _name(function: Callable) -> str:
    return getattr(getattr(function, "func", function), "__name__", "it")  # `func`: of a partial
