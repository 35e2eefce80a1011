"""Inner products and norms of gradients {name: (P, ...)}, over all tensors jointly: one number a problem, (P,)."""

from collections.abc import Mapping

import torch
from torch import Tensor


def dot(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
    """The inner product of two gradients, over the names of the second."""
    return sum((one[name] * value).sum(tuple(range(1, value.ndim))) for name, value in other.items())


def norm2(gradient: Mapping[str, Tensor]) -> Tensor:
    """The squared norm."""
    return sum(torch.linalg.vector_norm(one, dim=tuple(range(1, one.ndim))).square() for one in gradient.values())


def norm(gradient: Mapping[str, Tensor]) -> Tensor:
    """The norm, at least the root of the smallest number, so that nothing divides by zero."""
    squares = norm2(gradient)
    return squares.sqrt().clamp_min(torch.finfo(squares.dtype).tiny ** 0.5)


def to_each(values: Tensor, like: Tensor) -> Tensor:
    """One number a problem, (P,), shaped to multiply a tensor (P, ...)."""
    return values.view(-1, *[1] * (like.ndim - 1))
