"""A convolution of stride s as plain ones over the s x s phases of its pixels.

The input gradient gives each phase as channels of a convolution of stride 1, which processors run several times faster
than the transposed convolution it equals; the other way round, a strided convolution is a plain one on a phase a
channel, whose norm is found by frequencies.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def phase_kernels(weight: Tensor, stride: int) -> Tensor:
    """Kernels that compute a convolution's input gradient by a plain convolution, a phase of the pixels a channel.

    With output o looking at inputs s*o + j (before padding), input s*q + a gets sum_d g[q - d] w[a + s*d].
    Shape: (O, I, k, l) -> (I*s*s, O, ceil(k/s), ceil(l/s)), channels in the order of `pixel_shuffle`.
    """
    high, wide = (-(-size // stride) for size in weight.shape[2:])
    missing = (0, wide * stride - weight.shape[3], 0, high * stride - weight.shape[2])
    parts = F.pad(weight, missing).unflatten(3, (wide, stride)).unflatten(2, (high, stride))
    return parts.flip(2, 4).permute(1, 3, 5, 0, 2, 4).reshape(-1, len(weight), high, wide).contiguous()


@dataclass(frozen=True)
class Axis:
    """Along one axis: padding of the cotangent before and after, the pixels inside the image, and the first of them."""

    pads: tuple[int, int]
    inside: slice
    first: int


def window_axis(start: int, length: int, kernel: int, stride: int, padding: int, size: int) -> Axis:
    """How the window [start, start+length) of a convolution's output grows at its input of this size.

    Counted in steps of the stride from `start`, the cotangent reaches steps [0, length+kernel-1) and the image lies in
    [begin, end). A window that sees nothing but padding shrinks to the nearest step of the image, where it is 0.
    """
    begin, end = padding // stride - start, -(-(size + padding) // stride) - start
    low = min(max(0, begin), end - 1)
    high = max(min(length + kernel - 1, end), begin + 1)
    corner = stride * (start + low) - padding
    first, last = max(corner, 0), min(corner + stride * (high - low), size)
    return Axis((kernel - 1 - low, high - length), slice(first - corner, last - corner), first)


def padded_convolution(x: Tensor, kernels: Tensor, vertical: tuple[int, int], horizontal: tuple[int, int]) -> Tensor:
    """Convolution with a padding of its own on each side; a negative one crops."""
    (top, bottom), (left, right) = vertical, horizontal
    if top == bottom >= 0 and left == right >= 0:
        return F.conv2d(x, kernels, padding=(top, left))
    return F.conv2d(F.pad(x, (left, right, top, bottom)), kernels)


def phases_as_channels(kernel: Tensor, stride: tuple[int, int]) -> Tensor:
    """A strided kernel as one of stride 1 whose input channels are the phases.

    Shape: (O, I, H, W) -> (O, I s t, H / s, W / t), sizes rounded up, for a stride of (s, t).
    """
    down, right = stride
    padded = F.pad(kernel, (0, -kernel.shape[3] % right, 0, -kernel.shape[2] % down))
    outgoing, incoming, height, width = padded.shape
    split = padded.view(outgoing, incoming, height // down, down, width // right, right)
    return split.permute(0, 1, 3, 5, 2, 4).reshape(outgoing, -1, height // down, width // right)


def largest_singular_value(matrices: Tensor, chunk: int = 64) -> float:
    """The largest over all matrices. Shape: (M, rows, columns), real or complex, float64."""
    if matrices.shape[1] > matrices.shape[2]:
        matrices = matrices.mH
    squares = [torch.linalg.eigvalsh(part @ part.mH)[:, -1].max() for part in matrices.split(chunk)]
    return torch.stack(squares).max().clamp_min(0).sqrt().item()
