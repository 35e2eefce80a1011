"""Images as coefficients of a cosine transform, each in units of what natural images have there.

The amplitudes of natural images fall as 1 / frequency, and their colours differ less than their brightness does
(Field 1987; Ruderman et al. 1998). Opponent colours are the cosine transform of the channels: (1, 1, 1), (1, 0, -1) and
(1, -2, 1) for three, so one transform of channels, rows and columns serves images of any shape.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Of natural images: amplitudes fall as 1 / frequency to this power, and those of colour beside those of brightness.
NATURAL = {"exponent": 1.0, "chroma": 0.3}


@dataclass(frozen=True)
class Spectrum:
    """The transform of images (..., C, H, W) to coefficients of the same shape, and back.

    `channels` (C, C), `rows` (H, H) and `columns` (W, W) are orthonormal; `amplitudes` (C, H, W), positive and of mean
    square 1, are the units of the coefficients.
    """

    channels: Tensor
    rows: Tensor
    columns: Tensor
    amplitudes: Tensor

    @classmethod
    def of(cls, images: Tensor, exponent: float, chroma: float) -> "Spectrum":
        """That of images (..., C, H, W), on their device and in their dtype.

        Args: exponent: amplitudes fall as 1 / frequency to this power; chroma: that of colour relative to brightness.
        """
        matrices = [cosine_matrix(size) for size in images.shape[-3:]]
        amplitudes = amplitudes_of(*images.shape[-3:], exponent=exponent, chroma=chroma)
        return cls(*(one.to(images) for one in (*matrices, amplitudes)))

    def gradient(self, grad_images: Tensor) -> Tensor:
        """The derivative by the coefficients, from that by the images."""
        turned = self.rows @ grad_images @ self.columns.mT
        return torch.einsum("oc,...chw->...ohw", self.channels, turned) * self.amplitudes

    def images(self, coefficients: Tensor) -> Tensor:
        """The images that have these coefficients."""
        turned = torch.einsum("oc,...ohw->...chw", self.channels, coefficients * self.amplitudes)
        return self.rows.mT @ turned @ self.columns


def cosine_matrix(size: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II) of a size, a row a frequency, (size, size) in float64.

    >>> cosine_matrix(3)[2] * 6 ** 0.5
    tensor([ 1.0000, -2.0000,  1.0000], dtype=torch.float64)
    """
    places, frequencies = torch.arange(size, dtype=torch.float64), torch.arange(size, dtype=torch.float64)[:, None]
    matrix = torch.cos(math.pi / size * frequencies * (places + 0.5)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def amplitudes_of(channels: int, high: int, wide: int, *, exponent: float, chroma: float) -> Tensor:
    """What natural images have in each coefficient, with mean square 1, (channels, high, wide) in float64.

    Frequencies are half waves in the longer side; those below 1, which is the mean alone, count as 1.
    """
    longer = max(high, wide)
    down, across = (torch.arange(size, dtype=torch.float64) * longer / size for size in (high, wide))
    falling = torch.hypot(down[:, None], across).clamp_min(1) ** -exponent
    weights = torch.tensor([1.0] + [chroma] * (channels - 1), dtype=torch.float64)
    found = weights[:, None, None] * falling
    return found / found.square().mean().sqrt()
