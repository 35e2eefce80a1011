"""Convolution with 3 x 3 kernels by Winograd's minimal filtering: 36 products a tile of 4 x 4 pixels instead of 144.

A tile d of 6 x 6 inputs and a kernel w give 4 x 4 outputs A' [(G w G') * (B' d B)] A, with * entry by entry. Summed
over channels, each of the 36 entries is an ordinary matrix product, for shared weights and for a problem's own alike.
The adjoints of the three transforms give the slopes by input and by kernel: every pass of an attack is made of them.
Source: Lavin and Gray 2016, arXiv:1509.09308. The points 0, +-3/4, +-3/2 and infinity keep float32 rounding within a
few times that of a direct convolution (Barabasz et al. 2020, arXiv:1803.10986, on the choice of points).
Images are in the order channels last, (N, H, W, C); their transforms are (36, N * tiles, C).
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

TILE, KERNEL = 4, 3
WINDOW = TILE + KERNEL - 1
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)


@cache
def matrices(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The transforms of output (16, 36), kernel (36, 9) and input (36, 36), for both directions at once."""
    output = torch.zeros(TILE, WINDOW, dtype=torch.float64)
    kernel = torch.zeros(WINDOW, KERNEL, dtype=torch.float64)
    window = torch.zeros(WINDOW, WINDOW, dtype=torch.float64)
    for row, point in enumerate(POINTS):
        others = [one for one in POINTS if one != point]
        output[:, row] = torch.tensor([point**power for power in range(TILE)])
        powers = torch.tensor([point**power for power in range(KERNEL)], dtype=torch.float64)
        kernel[row] = powers / math.prod(point - one for one in others)
        window[row, : WINDOW - 1] = _coefficients(others)
    output[-1, -1] = kernel[-1, -1] = 1
    window[-1] = _coefficients(POINTS)
    return tuple(torch.kron(one, one).to(device, dtype) for one in (output, kernel, window))


def _coefficients(roots) -> Tensor:
    """Of the polynomial with these roots and leading coefficient 1, lowest power first."""
    found = torch.ones(1, dtype=torch.float64)
    for root in roots:
        found = F.pad(found, (1, 0)) - root * F.pad(found, (0, 1))
    return found


def fits(geometry, shape: tuple[int, int, int], outgoing: int) -> bool:
    """Whether this pays: 3 x 3, stride 1, padding 1, whole tiles, at least 16 of them and 64 channels in and out."""
    channels, high, wide = shape
    whole = high % TILE == 0 and wide % TILE == 0 and high * wide >= 16 * TILE**2
    return (geometry.size, geometry.stride, geometry.padding) == (3, 1, 1) and whole and min(channels, outgoing) >= 64


def as_rows(weight: Tensor) -> Tensor:
    """A weight with its taps first, after any axis of problems. Shape: ([P,] O, C, 3, 3) -> ([P,] 9, O, C).

    In memory the taps come before the problems, as the transforms need them.
    """
    taps = weight.flatten(-2)
    return taps.movedim(-1, 0).contiguous().movedim(0, -3)


def from_input(x: Tensor) -> Tensor:
    """The transform of an input's overlapping windows. Shape: (N, H, W, C) -> (36, N * tiles, C)."""
    x = F.pad(x, (0, 0, 1, 1, 1, 1))
    count, high, wide, channels = x.shape
    down, across, row = (high - 2) // TILE, (wide - 2) // TILE, wide * channels
    shape = (WINDOW, WINDOW, count, down, across, channels)
    strides = (row, channels, high * row, TILE * row, TILE * channels, 1)
    windows = x.as_strided(shape, strides).reshape(WINDOW**2, -1)
    return (_matrix(x, 2) @ windows).view(WINDOW**2, -1, channels)


def to_input(transform: Tensor, like: tuple[int, int, int]) -> Tensor:
    """The adjoint of `from_input`: windows in their places, added where they overlap. Shape: -> (N, H, W, C)."""
    count, high, wide = like
    down, across = high // TILE, wide // TILE
    windows = (_matrix(transform, 2).T @ transform.reshape(WINDOW**2, -1)).view(WINDOW, WINDOW, count, down, across, -1)
    windows = windows.permute(2, 3, 0, 4, 1, 5)  # (N, tile row, 6, tile column, 6, C)
    whole = windows.new_zeros(count, down + 1, TILE, across + 1, TILE, windows.shape[-1])
    rest = WINDOW - TILE
    whole[:, :down, :, :across] += windows[:, :, :TILE, :, :TILE]
    whole[:, 1:, :rest, :across] += windows[:, :, TILE:, :, :TILE]
    whole[:, :down, :, 1:, :rest] += windows[:, :, :TILE, :, TILE:]
    whole[:, 1:, :rest, 1:, :rest] += windows[:, :, TILE:, :, TILE:]
    return whole.flatten(3, 4).flatten(1, 2)[:, 1 : high + 1, 1 : wide + 1]


def to_output(transform: Tensor, like: tuple[int, int, int]) -> Tensor:
    """Outputs from their transform. Shape: (36, N * tiles, O), like (N, H, W) -> (N, H, W, O)."""
    count, high, wide = like
    tiles = _matrix(transform, 0) @ transform.reshape(WINDOW**2, -1)
    tiles = tiles.view(TILE, TILE, count, high // TILE, wide // TILE, -1)
    return tiles.permute(2, 3, 0, 4, 1, 5).reshape(count, high, wide, -1)


def from_output(slope: Tensor) -> Tensor:
    """The adjoint of `to_output`. Shape: (N, H, W, O) -> (36, N * tiles, O)."""
    tiles = slope.unflatten(2, (-1, TILE)).unflatten(1, (-1, TILE)).permute(2, 4, 0, 1, 3, 5)
    return (_matrix(slope, 0).T @ tiles.reshape(TILE**2, -1)).view(WINDOW**2, -1, slope.shape[-1])


def from_kernel(kernel: Tensor) -> Tensor:
    """The transform of kernels. Shape: (9, ..., C) -> (36, ..., C)."""
    return (_matrix(kernel, 1) @ kernel.reshape(KERNEL**2, -1)).view(WINDOW**2, *kernel.shape[1:])


def to_kernel(transform: Tensor) -> Tensor:
    """The adjoint of `from_kernel`. Shape: (36, ..., C) -> (9, ..., C)."""
    return (_matrix(transform, 1).T @ transform.reshape(WINDOW**2, -1)).view(KERNEL**2, *transform.shape[1:])


def _matrix(like: Tensor, which: int) -> Tensor:
    return matrices(like.dtype, like.device)[which]
