"""ResNet-18. Source: He et al. 2016, arXiv:1512.03385."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import model

if TYPE_CHECKING:
    from fldrep.models.model import Model


@model("resnet18", kinks="ReLU", one_way="ReLU")
def resnet18(shape: tuple[int, int, int], classes: int) -> Model:
    """torchvision's ResNet-18; He et al. 2016, arXiv:1512.03385."""
    from torch import nn
    from torchvision.models import resnet18

    from fldrep.models.model import with_head

    whole = resnet18()
    if shape[0] != 3:
        whole.conv1 = nn.Conv2d(shape[0], 64, kernel_size=7, stride=2, padding=3, bias=False)
    for module in whole.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # in-place changes do not go with per-update gradients
    return with_head(nn.Sequential(*list(whole.children())[:-1], nn.Flatten()), shape, classes)
