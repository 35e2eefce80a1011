"""What is known of images before anything is sent, as a normal law of their pixels.

`spectral`: the covariance s^2 T T' of natural images, whose amplitudes fall as 1/f (Field 1987) and whose colours are
weak beside their brightness. T maps independent coefficients of one variance to pixels, as `models.spectrum` has them.
Its rows and columns are scaled so that a pixel has the variance s^2, the mean over all of them.
"""

import torch
from torch import Tensor

from fldrep.models.spectrum import NATURAL, amplitudes_of, cosine_matrix


def spectral_basis(channels: int, high: int, wide: int) -> Tensor:
    """T of one image, in float64: coefficients to pixels, mean square of a row 1. Shape: (C * H * W, C * H * W)."""
    colours, rows, columns = (cosine_matrix(size).T.contiguous() for size in (channels, high, wide))
    basis = torch.kron(colours, torch.kron(rows, columns))
    return basis * amplitudes_of(channels, high, wide, **NATURAL).flatten()
