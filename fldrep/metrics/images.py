"""How far a reconstruction is from the image: the normalised MSE, and MSE, PSNR and SSIM on pixels."""

import numpy as np
import pandas as pd
from skimage.metrics import structural_similarity
from torch import Tensor

from fldrep.arguments import check_tensor
from fldrep.errors import DataError
from fldrep.models.normalisation import Normalisation, normalisation_for

SSIM_WINDOW = 11  # pixels a side: what sigma 1.5 cut at 3.5 sigma needs


def compare(found: Tensor, images: Tensor, normalisation: str | Normalisation | None = None) -> pd.DataFrame:
    """The errors of reconstructions against their images, one row an image.

    Shapes: found and images (N, C, H, W), both in the network's normalised space, any float dtype, H and W at least 11.
    Args: normalisation: a data set's name, constants, `none`, or None for those that fit the channel count.
    Returns the columns, all float64:
    `mse`, mean squared difference in normalised space, not clamped;
    `mse_pixel`, the same on pixels clamped to [0, 1];
    `psnr_db`, 10·log10(1 / mse_pixel), on pixels of range 1, infinite where the clamped pixels are equal;
    `ssim`, `skimage.metrics.structural_similarity` on clamped pixels with gaussian weights of sigma 1.5, population
    covariance and data range 1, averaged over channels (Wang et al. 2004, doi:10.1109/TIP.2003.819861).
    A reconstruction that is not finite is NaN in all four.
    Errors: `DataError` for shapes that differ or are too small, or images that are not finite.

    >>> import torch
    >>> compare(torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16), "none").round(2).values.tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    for name, given in (("found", found), ("images", images)):
        check_tensor(name, given, "images (N, C, H, W) in the network's input space")
    _require_pairs(found, images)
    constants = normalisation_for(images, normalisation)
    found, images = _exact(found), _exact(images)
    return _errors(found - images, constants.to_pixels(found), constants.to_pixels(images))


def compare_pixels(
    found_pixels: Tensor, pixels: Tensor, normalisation: str | Normalisation | None = None
) -> pd.DataFrame:
    """What `compare` says, for reconstructions and images given as pixels (N, C, H, W), reconstructions not clamped.

    The normalised MSE is taken with the constants of `normalisation`, as in `compare`.
    """
    _require_pairs(found_pixels, pixels)
    constants = normalisation_for(pixels, normalisation)
    found_pixels, pixels = _exact(found_pixels), _exact(pixels)
    return _errors(constants.to_input(found_pixels) - constants.to_input(pixels), found_pixels, pixels)


def _errors(difference: Tensor, found_pixels: Tensor, pixels: Tensor) -> pd.DataFrame:
    """The four columns from the difference in normalised space and the two images as pixels, not clamped."""
    mse = difference.square().flatten(1).mean(1)
    finite = mse.isfinite().numpy()  # false exactly where an entry is not finite, or is too large to square
    found_pixels, pixels = found_pixels.clamp(0, 1), pixels.clamp(0, 1)
    mse_pixel = (found_pixels - pixels).square().flatten(1).mean(1).numpy()
    with np.errstate(divide="ignore"):
        psnr_db = 10 * np.log10(1 / mse_pixel)
    ssim = [
        _similarity(one, other) if usable else np.nan
        for one, other, usable in zip(found_pixels.numpy(), pixels.numpy(), finite, strict=True)
    ]
    table = pd.DataFrame({"mse": mse.numpy(), "mse_pixel": mse_pixel, "psnr_db": psnr_db, "ssim": ssim}, dtype=float)
    table.loc[~finite] = np.nan
    return table


def _similarity(found: np.ndarray, image: np.ndarray) -> float:
    """SSIM of two images (C, H, W) with pixels in [0, 1]; in [-1, 1]."""
    return structural_similarity(
        found, image, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0, channel_axis=0
    )


def _exact(images: Tensor) -> Tensor:
    return images.detach().cpu().double()


def _require_pairs(found: Tensor, images: Tensor) -> None:
    if images.ndim != 4 or found.shape != images.shape:
        raise DataError(
            f"reconstructions have shape {tuple(found.shape)} and images {tuple(images.shape)}; "
            "expected the same (N, C, H, W) twice"
        )
    if min(images.shape[-2:]) < SSIM_WINDOW:
        raise DataError(f"images of shape {tuple(images.shape)} are too small for SSIM: {SSIM_WINDOW} pixels a side")
    if not images.isfinite().all():
        raise DataError("the original images hold values that are not finite")
