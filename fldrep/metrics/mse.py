"""The mean squared error in the network's input space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep import registry

if TYPE_CHECKING:
    from torch import Tensor


@registry.metric(
    "mse",
    meaning="mean squared error, normalised space",
    unit="data set std squared",
    larger_is_better=False,
    space="input",
    order=1,
)
def mse(images: Tensor, originals: Tensor) -> Tensor:
    """Mean squared difference, not clamped. Shapes: (N, C, H, W) twice -> (N,)."""
    return (images - originals).square().flatten(1).mean(1)
