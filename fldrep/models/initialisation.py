"""Initial weights of convolutions and linear layers, drawn from a generator of their own."""

import math

import torch
from torch import Tensor


def default(weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """PyTorch's own: uniform within 1/sqrt(fan in), for weights and biases."""
    bound = 1 / math.sqrt(weight[0].numel())
    for values in (weight, bias):
        if values is not None:
            values.uniform_(-bound, bound, generator=generator)


def uniform(weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """Every weight and bias uniform in (-0.5, 0.5), as in the DLG notebook."""
    for values in (weight, bias):
        if values is not None:
            values.uniform_(-0.5, 0.5, generator=generator)


def own(weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """As the network's own code drew them."""


INITIALISATIONS = {"default": default, "uniform": uniform, "own": own}
