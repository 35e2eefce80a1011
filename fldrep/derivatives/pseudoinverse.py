"""The norms of the columns of the Jacobian's (pseudo-)inverse, which Soteria's exact rule ranks by.

All in float64: the Jacobian of a sigmoid LeNet has a condition number of 1e8, so J J^T must not be formed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.derivatives.jacobian import full_jacobian


@dataclass(frozen=True)
class Conditioning:
    """Rank of the live features' Jacobian, how many live features there are, and its largest over smallest kept
    singular value."""

    rank: int
    live: int
    condition: float


def inverse_column_norms(model, image: Tensor) -> tuple[Tensor, Conditioning]:
    """||column i of the pseudo-inverse of dr/dX||, 0 for dead features. Shape: (C, H, W) -> (F,) float64."""
    return column_norms_of_inverse(full_jacobian(model, image))


def column_norms_of_inverse(jacobian: Tensor) -> tuple[Tensor, Conditioning]:
    """The same for a given Jacobian (F, D), rows of zeros being dead features.

    Full row rank: with J^T = Q R the pseudo-inverse is Q R^-T, so the norms are those of the rows of R^-1. Else: the
    singular value decomposition, without singular values below max(shape) * eps * the largest.

    >>> column_norms_of_inverse(torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 4.0, 0.0]]).double())[0]
    tensor([0.5000, 0.0000, 0.2500], dtype=torch.float64)
    """
    norms = jacobian.new_zeros(len(jacobian))
    live = jacobian.abs().amax(1) > 0
    rows = jacobian[live]
    if not len(rows):
        return norms, Conditioning(0, 0, float("nan"))
    triangle = torch.linalg.qr(rows.T, mode="r").R
    singular = torch.linalg.svdvals(triangle)
    cutoff = max(rows.shape) * torch.finfo(rows.dtype).eps * singular[0]
    rank = int((singular > cutoff).sum())
    found = _by_triangle(triangle) if rank == len(rows) else _by_singular_values(rows, rank)
    norms[live] = found
    return norms, Conditioning(rank, len(rows), float(singular[0] / singular[rank - 1]))


def _by_triangle(triangle: Tensor) -> Tensor:
    identity = torch.eye(len(triangle), dtype=triangle.dtype, device=triangle.device)
    return torch.linalg.solve_triangular(triangle, identity, upper=True).norm(dim=1)


def _by_singular_values(rows: Tensor, rank: int) -> Tensor:
    left, singular, _ = torch.linalg.svd(rows, full_matrices=False)
    return (left[:, :rank] / singular[:rank]).norm(dim=1)
