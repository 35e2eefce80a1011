"""Pictures of the user's, as images of the size a network takes."""

import struct
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fldrep.arguments import check_shape, refuse
from fldrep.errors import DataError, told
from fldrep.storage.imageset import as_pixels

MAX_PIXELS = 40_000_000
# Pillow knows more, but hands some of them (EPS) to other programs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def read_photo(path: Path | str, shape: tuple[int, int, int] = (3, 32, 32)) -> Tensor:
    """The photo of `resized_photo` as float32 pixels in [0, 1], same shape.

    Errors: as there; `ConfigError` for a shape that is none, or of other than 1 or 3 channels.
    """
    if not isinstance(path, Path | str):
        refuse("path", path, "the path of a photo")
    if check_shape(shape)[0] not in (1, 3):
        refuse("shape", shape, "1 or 3 channels")
    return as_pixels(resized_photo(path, check_shape(shape)))


def resized_photo(path: Path | str, shape: tuple[int, int, int] = (3, 32, 32)) -> Tensor:
    """A photo resized to (C, H, W) with a bicubic filter, as the reference does; uint8.

    Errors: as `_opened`.
    """
    channels, height, width = shape
    resized = _opened(path, channels).resize((width, height), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(resized).copy())
    return pixels.reshape(height, width, channels).permute(2, 0, 1).contiguous()


def square_picture(path: Path | str, channels: int, size: int) -> np.ndarray:
    """The largest square in the middle of a picture, resized with a bicubic filter: uint8 (size, size, channels).

    Errors: as `_opened`.
    """
    picture = _opened(path, channels)
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BICUBIC)).reshape(size, size, channels)


def _opened(path: Path | str, channels: int) -> Image.Image:
    """A picture in RGB, or in grey for one channel.

    Transparent parts are laid on white; a camera's rotation mark is obeyed.
    Errors: `DataError` naming the file: not an image of `FORMATS`, animated, more than 8 bits a channel, or too large.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as photo:
                _require_plain(photo, path)
                upright = ImageOps.exif_transpose(photo)
                return _on_white(upright).convert("RGB" if channels == 3 else "L")
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise DataError(f"{told(path)}: too large: {error}; resize it to at most {MAX_PIXELS} pixels") from None
        except UnidentifiedImageError:
            raise DataError(f"{told(path)}: not a readable image: expected one of {', '.join(FORMATS)}") from None
        except (OSError, SyntaxError, ValueError, ArithmeticError, LookupError, TypeError, struct.error) as error:
            # what Pillow's readers raise on damaged bytes; tests/faults damages many
            raise DataError(f"{told(path)}: not a readable image: {' '.join(str(error).split())}") from None


def _require_plain(photo: Image.Image, path: Path | str) -> None:
    frames = getattr(photo, "n_frames", 1)
    if frames > 1:
        raise DataError(f"{told(path)}: animated, {frames} frames; expected a still image")
    if photo.mode.startswith(("I", "F")) or _stored_in_16_bits(photo):
        raise DataError(f"{told(path)}: mode {photo.mode!r} has more than 8 bits a channel; expected an 8-bit image")
    if photo.width * photo.height > MAX_PIXELS:
        raise DataError(f"{told(path)}: {photo.width} x {photo.height} pixels; expected at most {MAX_PIXELS}")


def _stored_in_16_bits(photo: Image.Image) -> bool:
    """Whether Pillow would drop the lower byte of each channel in silence, as it does for colour PNG and TIFF."""
    return any(";16" in str(tile[-1]) for tile in getattr(photo, "tile", ()))


def _on_white(photo: Image.Image) -> Image.Image:
    if "A" not in photo.getbands() and "transparency" not in photo.info:
        return photo
    rgba = photo.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
