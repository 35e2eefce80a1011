"""A small vision transformer. Source: Dosovitskiy et al. 2021, arXiv:2010.11929."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fldrep.config.section import LARGEST, option
from fldrep.errors import ConfigError
from fldrep.registry import model

if TYPE_CHECKING:
    from torch import nn

Patch = Annotated[int, option(..., "side of a patch in pixels, which divides the image's", ge=1)]
Width = Annotated[int, option(..., "entries of a token", ge=1, le=LARGEST)]
Depth = Annotated[int, option(..., "blocks", ge=1, le=64)]
Heads = Annotated[int, option(..., "heads of attention, which divide the width", ge=1)]


@model("vit", kinks="", one_way="attention")
def vit(
    shape: tuple[int, int, int],
    classes: int,
    *,
    patch: Patch = 4,
    width: Width = 64,
    depth: Depth = 4,
    heads: Heads = 4,
) -> nn.Module:
    """A small vision transformer: pre-norm blocks, GELU, the mean token in place of a class token, no dropout."""
    from fldrep.models.transformer import Transformer

    if shape[1] % patch or shape[2] % patch:
        raise ConfigError(f"patch: {patch}: expected a divisor of the image's sides, {shape[1]} and {shape[2]}")
    if width % heads:
        raise ConfigError(f"heads: {heads}: expected a divisor of width, {width}")
    return Transformer(shape, classes, patch, width, depth, heads)
