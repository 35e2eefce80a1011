"""The structural similarity of pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep import registry
from fldrep.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 11  # pixels a side: what sigma 1.5 cut at 3.5 sigma needs


@registry.metric(
    "ssim",
    meaning="structural similarity, gaussian weights, sigma 1.5",
    larger_is_better=True,
    order=4,
)
def ssim(images: Tensor, originals: Tensor) -> list[float]:
    """SSIM with gaussian weights of sigma 1.5, population covariance and data range 1, averaged over channels.

    Shapes: (N, C, H, W) twice -> (N,), in [-1, 1]. Errors: `DataError` for images smaller than 11 pixels a side.
    Source: Wang et al. 2004, doi:10.1109/TIP.2003.819861, by `skimage.metrics.structural_similarity`.
    """
    from skimage.metrics import structural_similarity

    if min(images.shape[-2:]) < WINDOW:
        raise DataError(f"images of shape {tuple(images.shape)} are too small for SSIM: {WINDOW} pixels a side")
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return [
        structural_similarity(one, other, channel_axis=0, **settings)
        for one, other in zip(images.numpy(), originals.numpy(), strict=True)
    ]
