"""The mean squared error of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep import registry

if TYPE_CHECKING:
    from torch import Tensor


@registry.metric(
    "mse_pixel",
    meaning="mean squared error, clamped to [0, 1]",
    unit="pixel range squared",
    larger_is_better=False,
    order=2,
)
def mse_pixel(images: Tensor, originals: Tensor) -> Tensor:
    """Mean squared difference. Shapes: (N, C, H, W) twice -> (N,)."""
    return (images - originals).square().flatten(1).mean(1)
