"""Original images in whatever layout they come, as the network's input."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fldrep.arguments import check_finite, refuse
from fldrep.models.normalisation import Normalisation
from fldrep.storage.imageset import as_pixels

PIXELS, INPUT = "pixels", "the network's input"


def originals_of(given: Any, shape: tuple[int, int, int], normalisation: Normalisation) -> tuple[Tensor, str]:
    """Images (B, C, H, W) as the network's input, and what they were taken for: `PIXELS` or `INPUT`.

    Args: given: (B, C, H, W) or (B, H, W, C), B may be absent, and C where it is 1; uint8, and floats in [0, 1], are
    pixels. Errors: `ConfigError` for another shape, other numbers, or none.
    """
    if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
        given = torch.from_numpy(np.ascontiguousarray(given)).reshape(given.shape)
    channels, high, wide = shape
    expected = f"images ({channels}, {high}, {wide}) or ({high}, {wide}, {channels}), one or several"
    if not isinstance(given, Tensor) or not given.numel():
        refuse("originals", given, expected)
    images = check_finite("originals", given.detach().cpu()) if given.is_floating_point() else given.detach().cpu()
    if images.dtype != torch.uint8 and not images.is_floating_point():
        refuse("originals", images, f"{expected}, uint8 or floating point")
    images = _channels_first(images, shape)
    if images is None:
        refuse("originals", given, expected)
    if images.dtype == torch.uint8:
        return normalisation.to_input(as_pixels(images)), PIXELS
    images = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
    if float(images.min()) >= 0 and float(images.max()) <= 1:
        return normalisation.to_input(images), PIXELS
    return images, INPUT


def _channels_first(images: Tensor, shape: tuple[int, int, int]) -> Tensor | None:
    """(B, C, H, W), or None where the axes are none of those expected."""
    channels, high, wide = shape
    if tuple(images.shape[-3:]) == shape and images.ndim in (3, 4):
        return images.reshape(-1, *shape)
    if tuple(images.shape[-3:]) == (high, wide, channels) and images.ndim in (3, 4):
        return images.reshape(-1, high, wide, channels).permute(0, 3, 1, 2).contiguous()
    if channels == 1 and tuple(images.shape[-2:]) == (high, wide) and images.ndim in (2, 3):
        return images.reshape(-1, *shape)
    return None
