"""What is known of images before anything is sent, as a normal law of their pixels.

`spectral`: the covariance s^2 T T' of natural images, whose amplitudes fall as 1/f (Field 1987) and whose colours are
weak beside their brightness. T maps independent coefficients of one variance to pixels: an orthonormal cosine transform
of each plane and three orthonormal opponent colours. Its rows and columns are scaled so that a pixel has the variance
s^2, the mean over all of them.
"""

import math

import torch
from torch import Tensor

CHROMA = 0.3  # amplitude of colours beside that of brightness


def spectral_basis(channels: int, high: int, wide: int) -> Tensor:
    """T of one image, in float64: coefficients to pixels, mean square of a row 1. Shape: (C * H * W, C * H * W)."""
    rows, columns, colours = cosines(high), cosines(wide), opponents(channels)
    basis = torch.kron(colours.T.contiguous(), torch.kron(rows.T.contiguous(), columns.T.contiguous()))
    return basis * amplitudes(channels, high, wide).flatten()


def amplitudes(channels: int, high: int, wide: int) -> Tensor:
    """Standard deviations of coefficients, 1 / max(|f|, 1) in index units, of mean square 1. Shape: (C, H, W)."""
    down, across = torch.arange(high, dtype=torch.float64), torch.arange(wide, dtype=torch.float64)
    plane = 1 / torch.hypot(down[:, None], across[None, :]).clamp_min(1)
    whole = torch.stack([plane] + [CHROMA * plane] * (channels - 1))
    return whole / whole.square().mean().sqrt()


def cosines(length: int) -> Tensor:
    """The orthonormal cosine transform (DCT-II). Shape: (frequencies, places).

    >>> torch.allclose(cosines(5) @ cosines(5).T, torch.eye(5, dtype=torch.float64))
    True
    """
    frequency, place = (torch.arange(length, dtype=torch.float64) for _ in range(2))
    table = torch.cos(math.pi / length * frequency[:, None] * (place + 0.5)) * math.sqrt(2 / length)
    table[0] /= math.sqrt(2)
    return table


def opponents(channels: int) -> Tensor:
    """Orthonormal colours, brightness first; the opponent colours where there are three channels. Shape: (C, C)."""
    if channels == 3:
        colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]], dtype=torch.float64)
        return colours / colours.norm(dim=1, keepdim=True)
    return cosines(channels)
