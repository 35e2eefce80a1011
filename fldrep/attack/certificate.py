"""Whether an update itself shows that the image found is the one behind it: local uniqueness.

A residual that rounding explains says that the image found gives the update that was sent. The derivative J at the
image says how far another image with such a residual can lie, to first order: ||J^+|| times the residual. Where J has
full column rank and this distance is small, no other image near by gives the update. Nothing is said of images far
away, nor of networks whose gradients jump, where a small residual tells nothing (they are refused before).
"""

import torch
from torch import Tensor

from fldrep.attack.gram import gram
from fldrep.attack.least_squares import LeastSquares

NEAR = 64  # in units of what rounding explains: from where a last step is tried
LARGEST_MSE = 1e-5  # of pixels in [0, 1]


def settled(system: LeastSquares, problem: int, point: Tensor) -> tuple[Tensor, bool]:
    """One system's solution after a last Gauss-Newton step, if that lowers the residual, and whether it is certified.

    Shape: (U,) -> (U,). Step and certificate are of the same J, at the point before the step, which is a step of the
    size of rounding where anything is certified. The residual counts as at least the update's own rounding: that is
    unknown even where the residual vanishes.
    """
    one = system.copies(problem, 1)
    size, rounding = one.residuals.target.norm(), one.residuals.rounding
    left = one.values(point[None]).norm()
    if not is_near(one, left):
        return point, False
    values, jacobian = system.jacobian(problem, point)
    if jacobian.shape[0] < jacobian.shape[1]:
        return point, False
    normal = gram(jacobian)
    moved = system.boxed(point[None] - _solved(normal, jacobian.mT @ values)[None])
    found = one.values(moved).norm()
    if found < left:
        point, left = moved[0], found
    least = torch.maximum(left, rounding * size) / (LARGEST_MSE * system.pixels) ** 0.5
    return point, bool(left <= one.rounding[0]) and smallest_exceeds(normal, float(least))


def is_near(one: LeastSquares, norm: Tensor) -> bool:
    """Whether a residual of one system is so small that a last step may bring it to rounding."""
    return bool(norm <= NEAR * one.rounding[0])


def _solved(normal: Tensor, right: Tensor) -> Tensor:
    """The step, or none where J'J has no Cholesky factor."""
    factor, failed = torch.linalg.cholesky_ex(normal)
    return torch.zeros_like(right) if failed else torch.cholesky_solve(right[:, None], factor)[:, 0]


def smallest_exceeds(normal: Tensor, bound: float) -> bool:
    """Whether the smallest singular value of J is above a bound and above what float64 can tell from 0.

    Args: normal: J'J, (U, U). Less bound^2 it has a Cholesky factor just where it is positive definite; its own
    rounding counts as bound.
    """
    noise = torch.finfo(normal.dtype).eps * len(normal) * normal.diagonal().sum()
    _, failed = torch.linalg.cholesky_ex(normal - (bound**2 + noise) * torch.eye(len(normal)).to(normal))
    return not bool(failed)
