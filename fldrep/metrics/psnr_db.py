"""The peak signal-to-noise ratio of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fldrep import registry
from fldrep.metrics.mse_pixel import mse_pixel

if TYPE_CHECKING:
    from torch import Tensor


@registry.metric(
    "psnr_db",
    meaning="peak signal-to-noise ratio, pixels, data range 1",
    unit="dB",
    larger_is_better=True,
    order=3,
)
def psnr_db(images: Tensor, originals: Tensor) -> np.ndarray:
    """10·log10(1 / mean squared difference), infinite for equal images. Shapes: (N, C, H, W) twice -> (N,)."""
    with np.errstate(divide="ignore"):
        return 10 * np.log10(1 / mse_pixel(images, originals).numpy())
