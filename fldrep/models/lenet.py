"""LeNet as in the DLG notebook (github.com/mit-han-lab/dlg)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import model

if TYPE_CHECKING:
    from fldrep.models.model import Model


@model("lenet", kinks="", one_way="")
def lenet(shape: tuple[int, int, int], classes: int) -> Model:
    """LeNet as in the DLG notebook: four convolutions, each behind a sigmoid."""
    from torch import nn

    from fldrep.models.model import with_head

    layers: list[nn.Module] = []
    for incoming, stride in ((shape[0], 2), (12, 2), (12, 1), (12, 1)):
        layers += [nn.Conv2d(incoming, 12, kernel_size=5, stride=stride, padding=2), nn.Sigmoid()]
    return with_head(nn.Sequential(*layers, nn.Flatten()), shape, classes)
