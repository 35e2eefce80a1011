"""Softmax regression: the last layer alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import model

if TYPE_CHECKING:
    from fldrep.models.model import Model


@model("softmax", kinks="", one_way="")
def softmax(shape: tuple[int, int, int], classes: int) -> Model:
    """Softmax regression: the last layer alone, on the pixels themselves."""
    from torch import nn

    from fldrep.models.model import with_head

    return with_head(nn.Sequential(nn.Flatten()), shape, classes)
