"""Whether an update itself shows that the image found is the one behind it: local uniqueness.

A residual that rounding explains says that the image found gives the update that was sent. The derivative J at the
image says how far another image with such a residual can lie, to first order: ||J^+|| times the residual. Where J has
full column rank and this distance is small, no other image near by gives the update. Nothing is said of images far
away, nor of networks whose gradients jump, where a small residual tells nothing (they are refused before).
"""

import torch
from torch import Tensor

from fldrep.attack.least_squares import LeastSquares

ROUNDING = 64  # in units of the update's last digit: what a residual, relative to the update, may be
LARGEST_MSE = 1e-5  # of pixels in [0, 1]


def is_certified(system: LeastSquares, problem: int, point: Tensor) -> bool:
    """Whether one system's solution is certified. Shape: (U,).

    The residual counts as at least the update's own rounding: that is unknown even where the residual vanishes.
    """
    one = system.copies(problem, 1)
    size, rounding = one.residuals.target.norm(), one.residuals.rounding
    left = one.values(point[None]).norm()
    if not left <= ROUNDING * rounding * size:
        return False
    _, jacobian = system.jacobian(problem, point)
    if jacobian.shape[0] < jacobian.shape[1]:
        return False
    least = torch.maximum(left, rounding * size) / (LARGEST_MSE * system.pixels) ** 0.5
    return smallest_exceeds(jacobian, float(least))


def smallest_exceeds(matrix: Tensor, bound: float) -> bool:
    """Whether the smallest singular value is above a bound and above what float64 can tell from 0. Shape: (M, U).

    J'J - bound^2 has a Cholesky factor just where it is positive definite; its own rounding counts as bound.
    """
    normal = matrix.mT @ matrix
    noise = torch.finfo(matrix.dtype).eps * len(normal) * normal.diagonal().sum()
    _, failed = torch.linalg.cholesky_ex(normal - (bound**2 + noise) * torch.eye(len(normal)).to(normal))
    return not bool(failed)
