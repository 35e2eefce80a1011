"""Pictures of the gallery as they stand in a page: PNG in a `data:` address."""

import base64
from collections.abc import Mapping
from io import BytesIO

import numpy as np
from PIL import Image


def picture_address(pixels: np.ndarray) -> str:
    """A picture as an address for `img`. Args: pixels (C, H, W), clamped to [0, 1] here; what is no number is black."""
    pixels = np.nan_to_num(np.asarray(pixels, dtype=np.float32), nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    levels = np.rint(255 * pixels.transpose(1, 2, 0)).astype(np.uint8)
    made = BytesIO()
    Image.fromarray(levels.squeeze(-1) if levels.shape[-1] == 1 else levels).save(made, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(made.getvalue()).decode()


def address_of(images: Mapping[str, np.ndarray], name: str) -> str:
    """The address of a picture by its name in the gallery; empty where it was not kept."""
    return picture_address(images[name]) if name in images else ""
