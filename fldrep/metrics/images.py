"""How far a reconstruction is from the image, by every registered metric."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fldrep import registry
from fldrep.arguments import check_tensor
from fldrep.errors import DataError
from fldrep.models.normalisation import Normalisation, normalisation_for
from fldrep.tables.attacks import metrics_of

Pair = tuple[Tensor, Tensor]


def compare(found: Tensor, images: Tensor, normalisation: str | Normalisation | None = None) -> pd.DataFrame:
    """The errors of reconstructions against their images, one row an image.

    Shapes: found and images (N, C, H, W), both in the network's normalised space, any float dtype, H and W at least 11.
    Args: normalisation: a data set's name, constants, `none`, or None for those that fit the channel count.
    Returns the columns, all float64:
    `mse`, mean squared difference in normalised space, not clamped;
    `mse_pixel`, the same on pixels clamped to [0, 1];
    `psnr_db`, 10·log10(1 / mse_pixel), on pixels of range 1, infinite where the clamped pixels are equal;
    `ssim`, `skimage.metrics.structural_similarity` on clamped pixels with gaussian weights of sigma 1.5, population
    covariance and data range 1, averaged over channels (Wang et al. 2004, doi:10.1109/TIP.2003.819861);
    and the metrics of plug-ins. A reconstruction that is not finite is NaN in all.
    Errors: `DataError` for shapes that differ or are too small, or images that are not finite.

    >>> import torch
    >>> compare(torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16), "none").round(2).values[:, :4].tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    for name, given in (("found", found), ("images", images)):
        check_tensor(name, given, "images (N, C, H, W) in the network's input space")
    _require_pairs(found, images)
    constants = normalisation_for(images, normalisation)
    found, images = _exact(found), _exact(images)
    return _measured((found, images), (constants.to_pixels(found), constants.to_pixels(images)))


def compare_pixels(
    found_pixels: Tensor, pixels: Tensor, normalisation: str | Normalisation | None = None
) -> pd.DataFrame:
    """What `compare` says, for reconstructions and images given as pixels (N, C, H, W), reconstructions not clamped.

    The normalised MSE is taken with the constants of `normalisation`, as in `compare`.
    """
    _require_pairs(found_pixels, pixels)
    constants = normalisation_for(pixels, normalisation)
    found_pixels, pixels = _exact(found_pixels), _exact(pixels)
    return _measured((constants.to_input(found_pixels), constants.to_input(pixels)), (found_pixels, pixels))


def _measured(inputs: Pair, pixels: Pair) -> pd.DataFrame:
    """A column a metric, of reconstructions and images in the network's input space and as pixels, not clamped."""
    found, images = inputs
    # Not finite where an entry is not, or is too large to square; there the image itself stands in for metrics.
    finite = (found - images).square().flatten(1).mean(1).isfinite()
    clamped = (pixels[0].clamp(0, 1), pixels[1].clamp(0, 1))
    spaces = {
        space: (one.where(finite.view(-1, 1, 1, 1), other), other)
        for space, (one, other) in {"input": inputs, "pixels": clamped}.items()
    }
    entries = registry.entries("metric")
    table = pd.DataFrame(
        {
            metric.column: _values(name, entries[name].value, spaces[metric.space])
            for name, metric in metrics_of(entries).items()
        },
        dtype=float,
    )
    table.loc[~finite.numpy()] = np.nan
    return table


def _values(name: str, metric: Callable, pair: Pair) -> np.ndarray:
    """What a metric says of each image. Errors: `DataError` where it is not one number an image."""
    with torch.no_grad():
        values = np.asarray(metric(*pair), dtype=float)
    if values.shape != (len(pair[0]),):
        raise DataError(f"metric {name!r}: returned shape {values.shape} for {len(pair[0])} images; expected one each")
    return values


def _exact(images: Tensor) -> Tensor:
    return images.detach().cpu().double()


def _require_pairs(found: Tensor, images: Tensor) -> None:
    if images.ndim != 4 or found.shape != images.shape:
        raise DataError(
            f"reconstructions have shape {tuple(found.shape)} and images {tuple(images.shape)}; "
            "expected the same (N, C, H, W) twice"
        )
    if not images.isfinite().all():
        raise DataError("the original images hold values that are not finite")
