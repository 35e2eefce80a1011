"""A layer that draws: a normal law at each unit, and a sample of it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Sampled(nn.Module):
    """K normal laws, told by 2 K inputs, and a sample of each. Inputs: means, and deviations before a softplus.

    `noise` (B, K), standard normal, is what the samples are made from; where it is None, as in evaluation and for an
    attacker who does not know it, the output is the mean. With noise, the gradient is that of the loss plus `penalty`
    times the mean divergence of the laws from the standard normal one, in bits.
    """

    def __init__(self, penalty: float = 0.0):
        super().__init__()
        self.penalty = penalty
        self.noise: Tensor | None = None

    def forward(self, told: Tensor) -> Tensor:
        """Shape: (B, 2 K) -> (B, K)."""
        if self.noise is None:
            return told.chunk(2, 1)[0]
        mean, spread = Penalised.apply(told, self.penalty).chunk(2, 1)
        return mean + F.softplus(spread) * self.noise


class Penalised(torch.autograd.Function):
    """The inputs of `Sampled` as they are; on the way back, the slope of the divergence is added to theirs."""

    generate_vmap_rule = True

    @staticmethod
    def forward(told: Tensor, penalty: float) -> Tensor:  # noqa: D102
        return told.clone()

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # noqa: D102
        told, ctx.penalty = inputs
        ctx.save_for_backward(told)

    @staticmethod
    def backward(ctx, slope: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        (told,) = ctx.saved_tensors
        return slope + ctx.penalty / len(told) * divergence_slope(told), None


def divergence(told: Tensor) -> Tensor:
    """How far the laws of each row are from standard normal ones, in bits. Shape: (B, 2 K) -> (B,)."""
    mean, spread = told.chunk(2, 1)
    std = F.softplus(spread)
    return (mean.square() + std.square() - 1 - 2 * std.log()).sum(1) / (2 * math.log(2))


def divergence_slope(told: Tensor) -> Tensor:
    """The derivative of each row's divergence by that row. Shape: (B, 2 K) -> same."""
    mean, spread = told.chunk(2, 1)
    std = F.softplus(spread)
    return torch.cat([mean, (std - 1 / std) * spread.sigmoid()], 1) / math.log(2)
