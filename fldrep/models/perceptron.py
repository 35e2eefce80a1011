"""A multilayer perceptron: linear layers on the pixels themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fldrep.config.section import LARGEST, option
from fldrep.registry import model

if TYPE_CHECKING:
    from fldrep.models.model import Model

Width = Annotated[int, option(..., "units of each hidden layer", ge=1, le=LARGEST)]
Depth = Annotated[int, option(..., "hidden layers", ge=1, le=64)]


@model("perceptron", kinks="ReLU", one_way="ReLU")
def perceptron(shape: tuple[int, int, int], classes: int, *, width: Width = 200, depth: Depth = 2) -> Model:
    """Linear layers with ReLU on the pixels themselves; as it is, the 2NN of McMahan et al. 2017, arXiv:1602.05629."""
    from torch import nn

    from fldrep.models.model import with_head

    layers: list[nn.Module] = [nn.Flatten()]
    for incoming in [shape[0] * shape[1] * shape[2], *[width] * (depth - 1)]:
        layers += [nn.Linear(incoming, width), nn.ReLU()]
    return with_head(nn.Sequential(*layers), shape, classes)
