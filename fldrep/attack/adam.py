"""Adam (Kingma and Ba 2015) as a function of tensors, so that a step can be compiled once for all iterations."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Betas = tuple[float, float]

BETAS: Betas = (0.9, 0.999)
EPS = 1e-8


def adam_step(
    points: Tensor, first: Tensor, second: Tensor, gradient: Tensor, rates: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One step: points and both moments after it; rates (2,) of `adam_rates`."""
    change, first, second = adam_change(first, second, gradient, rates)
    return points - change, first, second


def adam_change(
    first: Tensor, second: Tensor, gradient: Tensor, rates: Tensor, betas: Betas = BETAS
) -> tuple[Tensor, Tensor, Tensor]:
    """What a step takes off its points, and both moments after it; rates (2,) of `adam_rates`, of the same betas."""
    first = torch.lerp(first, gradient, 1 - betas[0])
    second = (second * betas[1]).addcmul(gradient, gradient, value=1 - betas[1])
    return rates[0] * first / (second.sqrt() * rates[1] + EPS), first, second


def adam_rates(learning_rates: Sequence[float], betas: Betas = BETAS) -> Tensor:
    """For each iteration, the step size over the first moment's bias correction, and 1 / the root of the second's.

    Shape: (iterations, 2), float64.
    """
    steps = torch.arange(1, len(learning_rates) + 1, dtype=torch.float64)
    sizes = torch.tensor(learning_rates, dtype=torch.float64)
    return torch.stack([sizes / (1 - betas[0] ** steps), (1 - betas[1] ** steps).rsqrt()], 1)


def cosine_schedule(iterations: int, lr: float) -> list[float]:
    """The step size of each iteration: down half a cosine from `lr`, and never below a thousandth of it.

    >>> [round(one, 3) for one in cosine_schedule(4, 1.0)]
    [1.001, 0.855, 0.501, 0.147]
    """
    return [lr * ((1 + math.cos(math.pi * step / iterations)) / 2 + 1e-3) for step in range(iterations)]
