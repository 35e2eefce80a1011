"""Pixels as pictures, and pictures as they stand in a page: PNG in a `data:` address."""

import base64
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from PIL import Image


def picture_of(pixels: np.ndarray) -> Image.Image:
    """A picture of pixels (C, H, W), clamped to [0, 1] here; what is no number is black.

    Of other than 1 or 3 channels their mean is shown.
    """
    pixels = np.nan_to_num(np.asarray(pixels, dtype=np.float32), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    if len(pixels) not in (1, 3):
        pixels = pixels.mean(0, keepdims=True)
    levels = np.rint(255 * pixels.transpose(1, 2, 0)).astype(np.uint8)
    return Image.fromarray(levels.squeeze(-1) if levels.shape[-1] == 1 else levels)


def enlarged(picture: Image.Image, times: int) -> Image.Image:
    """Each pixel as so many times so many."""
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)


def address(picture: Image.Image) -> str:
    """A picture as an address for `img`."""
    made = BytesIO()
    picture.save(made, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(made.getvalue()).decode()


def address_of(images: Mapping[str, np.ndarray], name: str) -> str:
    """The address of a picture by its name in the gallery; empty where it was not kept."""
    return address(picture_of(images[name])) if name in images else ""
