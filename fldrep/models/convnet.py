"""ConvNet as in the GS code (github.com/JonasGeiping/invertinggradients).

That code names one of its nine convolutions twice, so it has eight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fldrep.config.section import LARGEST, option
from fldrep.registry import model

if TYPE_CHECKING:
    from fldrep.models.model import Model

Width = Annotated[int, option(..., "channels of the first convolution", ge=1, le=LARGEST)]


@model("convnet", kinks="ReLU and MaxPool2d", one_way="")
def convnet(shape: tuple[int, int, int], classes: int, *, width: Width = 64) -> Model:
    """ConvNet as in the GS code: eight convolutions with batch norm and ReLU, and two max-pools."""
    from torch import nn

    from fldrep.models.model import with_head

    layers: list[nn.Module] = []
    incoming = shape[0]
    for times in (1, 2, 2, 4, 4, 4, None, 4, 4, None):
        if times is None:
            layers.append(nn.MaxPool2d(3))
            continue
        layers += [
            nn.Conv2d(incoming, times * width, kernel_size=3, padding=1),
            nn.BatchNorm2d(times * width),
            nn.ReLU(),
        ]
        incoming = times * width
    return with_head(nn.Sequential(*layers, nn.Flatten()), shape, classes)
