"""Levenberg-Marquardt for P independent systems: Gauss-Newton steps, damped until the residual falls.

A step solves (J'J + damping * scale) step = -J' residual; the damping falls after a step that is taken and grows
after one that is not. `dense` forms J'J, one system after the other; `matrix_free` solves by conjugate gradients, from
products with J and its transpose, for all systems at once. Sources: Levenberg 1944, Marquardt 1963; Nocedal and
Wright, chapter 10.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.attack.gram import gram
from fldrep.attack.least_squares import LeastSquares
from fldrep.attack.problem import freeze

FIRST_DAMPING = 1e-3
LEAST_DAMPING = 1e-13
GROWTH, DECAY = 5.0, 10.0
TRIES = 10  # dampings tried in one step
LEAST_GAIN = 1e-5  # a step that lowers the residual by less than this share is the last
SOLVED = 1e-6  # conjugate gradients end when their residual has fallen to this share


@dataclass
class State:
    """Where P systems stand: unknowns (P, U), the norm of the residual there, its damping, and which go on.

    A system ends where rounding explains its residual, or a step no longer lowers it by much.
    """

    points: Tensor
    norm: Tensor
    damping: Tensor
    alive: Tensor
    steps: Tensor

    @classmethod
    def begin(cls, system: LeastSquares, points: Tensor) -> "State":
        """Before the first step."""
        norm = system.values(points).norm(dim=1)
        alive = norm.isfinite() & (norm > system.rounding)
        return cls(points, norm, torch.full_like(norm, FIRST_DAMPING), alive, torch.zeros_like(alive, dtype=torch.long))


def dense_step(system: LeastSquares, state: State, box: bool) -> State:
    """One step of each system alive, with J'J formed in full."""
    for problem in state.alive.nonzero().flatten().tolist():
        _dense_step_of_one(system, state, problem, box)
    return state


def _dense_step_of_one(system: LeastSquares, state: State, problem: int, box: bool) -> None:
    point, norm, damping = state.points[problem], state.norm[problem], state.damping[problem]
    values, jacobian = system.jacobian(problem, point)
    normal, slope, one = gram(jacobian), jacobian.mT @ values, system.copies(problem, 1)
    size = normal.diagonal()
    scale = size.clamp_min(size[: system.pixels].mean())
    for _ in range(TRIES):
        factor, failed = torch.linalg.cholesky_ex(normal + torch.diag(damping * scale))
        if not failed:
            step = -torch.cholesky_solve(slope[:, None], factor).mT
            moved = system.boxed(point + step) if box else point + step
            found = one.values(moved).norm(dim=1)
            if found < norm:
                _take(state, problem, moved[0], found[0], (damping / DECAY).clamp_min(LEAST_DAMPING), one.rounding[0])
                return
        damping = damping * GROWTH
    state.alive[problem] = False


def _take(state: State, problem: int, point: Tensor, norm: Tensor, damping: Tensor, rounding: Tensor) -> None:
    gained = state.norm[problem] - norm > LEAST_GAIN * state.norm[problem]
    state.alive[problem] = gained & (norm > rounding)
    state.points[problem], state.norm[problem], state.damping[problem] = point, norm, damping
    state.steps[problem] += 1


def matrix_free_step(system: LeastSquares, state: State, box: bool, inner_iterations: int) -> State:
    """One step of each system alive, by at most so many products with J and its transpose a try."""
    values, push, pull = system.linearise(state.points)
    slope = pull(values)
    open_, damping = state.alive.clone(), state.damping.clone()
    gained = torch.zeros_like(state.norm)
    start = state.points
    size = _mean_square_column(system, push)
    for _ in range(TRIES):
        step = conjugate_gradients(lambda p: pull(push(p)), (damping * size)[:, None], -slope, open_, inner_iterations)
        moved = start + step
        moved = system.boxed(moved) if box else moved
        found = system.values(moved).norm(dim=1)
        better = open_ & (found < state.norm)
        gained = torch.where(better, 1 - found / state.norm, gained)
        state.points, state.norm = freeze(better, moved, state.points), torch.where(better, found, state.norm)
        state.steps = state.steps + better
        damping = torch.where(open_, torch.where(better, damping / DECAY, damping * GROWTH), damping)
        open_ = open_ & ~better
        if not open_.any():
            break
    state.damping = damping.clamp_min(LEAST_DAMPING)
    state.alive = state.alive & (gained > LEAST_GAIN) & (state.norm > system.rounding)
    return state


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], damping: Tensor, right: Tensor, alive: Tensor, iterations: int
) -> Tensor:
    """Solve (A + damping) x = right for P systems, (P, U) each; those not alive, or solved, stand still."""
    x, rest, direction = torch.zeros_like(right), right.clone(), right.clone()
    size = first = rest.square().sum(1)
    going = alive & (size > 0)
    for _ in range(iterations):
        image = product(direction) + damping * direction
        length = torch.where(going, size / (direction * image).sum(1), 0)[:, None]
        x, rest = x + length * direction, rest - length * image
        smaller = rest.square().sum(1)
        direction = rest + torch.where(going, smaller / size, 0)[:, None] * direction
        size = smaller
        going = going & (size > SOLVED**2 * first)
        if not going.any():
            break
    return x


def _mean_square_column(system: LeastSquares, push: Callable[[Tensor], Tensor]) -> Tensor:
    """An estimate of the mean squared norm of the pixels' columns of J, (P,): of sums of columns with random signs."""
    generator = torch.Generator().manual_seed(0)
    like = system.soft
    drawn = torch.randint(0, 2, (4, system.pixels), generator=generator) * 2 - 1
    found = like.new_zeros(len(like))
    for signs in drawn.to(like):
        along = like.new_zeros(len(like), system.unknowns)
        along[:, : system.pixels] = signs
        found = found + push(along).square().sum(1) / (len(drawn) * system.pixels)
    return found
