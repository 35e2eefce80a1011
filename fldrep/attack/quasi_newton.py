"""L-BFGS for P independent problems at once: the algorithm of `torch.optim.LBFGS` without line search.

The two loops of the recursion (Nocedal 1980; Nocedal and Wright, algorithm 7.4) are written as four products with the
stored pairs and two triangular solves, with R[i, j] = s_i . y_j: the first loop is R a = -S g, the second
R' e = diag(R) a - h Y q, with q = -g - Y'a and the direction h q + S'e. Vectors stand as rows, a' R' = -g' S' and so
on: batched products of a row run at the speed of memory, those of a column up to ten times slower on a CPU.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from fldrep.attack.problem import finite, freeze

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
TOLERANCE_GRADIENT = 1e-7  # torch's defaults
TOLERANCE_CHANGE = 1e-9
LEAST_CURVATURE = 1e-10


@dataclass
class Memory:
    """The last M pairs of each problem: steps s and changes of gradient y, (P, M, D), each pair in a slot of its own.

    A new pair overwrites the oldest; `next` (P,) is its slot. `products` is R, (P, M, M), its rows and columns by age,
    oldest first; slots not yet used count as the oldest, with zero pairs and ones on the diagonal. `used` slots, the
    same for all problems, are at least as many as any has filled.
    """

    steps: Tensor
    changes: Tensor
    products: Tensor
    scale: Tensor
    next: Tensor
    used: int = 0

    @classmethod
    def empty(cls, start: Tensor, history: int) -> "Memory":
        """A memory without pairs for points (P, D)."""
        pairs = start.new_zeros(len(start), history, start.shape[1])
        products = torch.eye(history, dtype=start.dtype, device=start.device).repeat(len(start), 1, 1)
        slots = torch.zeros(len(start), dtype=torch.long, device=start.device)
        return cls(pairs, pairs.clone(), products, start.new_ones(len(start)), slots)

    def direction(self, gradient: Tensor, step: Tensor, change: Tensor, where: Tensor) -> Tensor:
        """Minus the approximate inverse Hessian times the gradient, (P, D), once the newest pair has been taken in.

        The pair of each problem in `where` (P,) is taken if it has enough curvature; the oldest falls out.
        """
        curvature = (step * change).sum(1)
        where = where & (curvature > LEAST_CURVATURE)
        self._store(step, change, where)
        self.scale = torch.where(where, curvature / change.square().sum(1), self.scale)
        steps, changes, scale = self.steps[:, : self.used], self.changes[:, : self.used], self.scale[:, None, None]
        onto_change, onto_gradient = self._by_age(torch.stack([change, gradient], 1) @ steps.mT).split(1, 1)
        upper = self._renewed_products(onto_change, where)
        first = torch.linalg.solve_triangular(upper.mT, -onto_gradient, upper=False, left=False)
        rest = -gradient[:, None] - self._by_slot(first) @ changes
        right = upper.diagonal(dim1=1, dim2=2)[:, None] * first - scale * self._by_age(rest @ changes.mT)
        second = torch.linalg.solve_triangular(upper, right, upper=True, left=False)
        return (scale * rest + self._by_slot(second) @ steps).squeeze(1)

    def _store(self, step: Tensor, change: Tensor, where: Tensor) -> None:
        self.used = min(self.used + 1, self.steps.shape[1])
        rows = torch.arange(len(step), device=step.device)
        for pairs, new in ((self.steps, step), (self.changes, change)):
            pairs[rows, self.next] = freeze(where, new, pairs[rows, self.next])
        self.next = torch.where(where, (self.next + 1) % self.steps.shape[1], self.next)

    def _renewed_products(self, newest: Tensor, where: Tensor) -> Tensor:
        """R of the used slots, (P, used, used), with the newest column (P, 1, used); it is part of `products`."""
        block = self.products[:, -self.used :, -self.used :]
        shifted = torch.zeros_like(block)
        shifted[:, :-1, :-1] = block[:, 1:, 1:]
        shifted[:, :, -1] = newest.squeeze(1)
        return block.copy_(freeze(where, shifted, block))

    def _by_age(self, values: Tensor) -> Tensor:
        """One number a used slot, (P, K, used), as one a pair, oldest of the used ones first, of the same shape."""
        history = self.steps.shape[1]
        ages = torch.arange(history - self.used, history, device=values.device)
        whole = torch.nn.functional.pad(values, (0, history - self.used))
        return whole.gather(2, ((self.next[:, None, None] + ages) % history).expand_as(values))

    def _by_slot(self, values: Tensor) -> Tensor:
        """The inverse of `_by_age`, (P, 1, used) -> the same; slots that a problem has not filled hold zero pairs."""
        history = self.steps.shape[1]
        slots = torch.arange(self.used, device=values.device)
        ages = (slots - self.next[:, None, None]) % history - (history - self.used)
        return values.gather(2, ages.clamp_min(0))


@dataclass
class State:
    """Where P problems stand: points (P, D), and what the next iteration needs of the last."""

    points: Tensor
    finite_points: Tensor
    finite_value: Tensor
    memory: Memory
    direction: Tensor
    length: Tensor
    gradient: Tensor
    value: Tensor
    begun: Tensor
    alive: Tensor


def begin(start: Tensor, history: int) -> State:
    """The state before the first step, at points (P, D)."""
    none = torch.zeros(len(start), dtype=torch.bool, device=start.device)
    zeros, zero = torch.zeros_like(start), start.new_zeros(len(start))
    never = torch.full_like(zero, torch.nan)
    return State(start, start, never, Memory.empty(start, history), zeros, zero, zeros, zero, none, ~none)


def tensors_of(state: State) -> dict[str, Tensor]:
    """All of a state by name, the memory's parts as `memory.NAME`."""
    memory = {f"memory.{name}": torch.as_tensor(value) for name, value in vars(state.memory).items()}
    return {name: value for name, value in vars(state).items() if name != "memory"} | memory


def state_of(tensors: Mapping[str, Tensor]) -> State:
    """The inverse of `tensors_of`; other names are left alone."""
    memory = Memory(**{field.name: tensors[f"memory.{field.name}"] for field in fields(Memory)})
    memory.used = int(memory.used)
    return State(
        **{field.name: tensors[field.name] for field in fields(State) if field.name != "memory"}, memory=memory
    )


def step(state: State, objective: Objective, lr: float, inner_iterations: int) -> tuple[Tensor, Tensor]:
    """One step of `torch.optim.LBFGS`: up to `inner_iterations` moves of each problem.

    Returns which problems moved, (P,), and the values the step began with, (P,).
    Each problem stops by itself: at a small gradient, a small move, a small change of value, or where the direction no
    longer descends. A problem that is not finite goes back to its last finite point and stays there.
    """
    value, gradient = evaluate(state, objective)
    first = value
    active = state.alive & (gradient.abs().amax(1) > TOLERANCE_GRADIENT)
    moved = torch.zeros_like(active)
    for inner in range(inner_iterations):
        active, size = _move(state, gradient, value, active, lr)
        moved = moved | active
        if inner == inner_iterations - 1:
            break  # as torch does: the next step begins with this evaluation
        if state.points.device.type == "cpu" and not active.any():
            break  # nothing left to do in this step; on a GPU, asking would cost more than doing it
        value, gradient = evaluate(state, objective)
        still = state.alive & (gradient.abs().amax(1) > TOLERANCE_GRADIENT) & (size > TOLERANCE_CHANGE)
        active = active & still & ~((value - state.value).abs() < TOLERANCE_CHANGE)
    return moved, first


def evaluate(state: State, objective: Objective) -> tuple[Tensor, Tensor]:
    """Value (P,) and gradient (P, D) at the state's points; a problem not finite there is sent back and ends."""
    value, gradient = objective(state.points)
    state.alive = state.alive & finite(value, gradient)
    state.points = state.finite_points = freeze(state.alive, state.points, state.finite_points)
    state.finite_value = torch.where(state.alive, value, state.finite_value)
    return value, gradient


def _move(state: State, gradient: Tensor, value: Tensor, active: Tensor, lr: float) -> tuple[Tensor, Tensor]:
    """One iteration of the active problems. Returns which of them moved, and the largest entry of each one's move."""
    last_step, change = state.length[:, None] * state.direction, gradient - state.gradient
    direction = state.memory.direction(gradient, last_step, change, active & state.begun)
    direction = freeze(state.begun, direction, -gradient)
    length = torch.where(state.begun, lr, (1 / gradient.abs().sum(1)).clamp_max(1) * lr)
    state.direction = freeze(active, direction, state.direction)
    state.length = torch.where(active, length, state.length)
    state.gradient, state.value = freeze(active, gradient, state.gradient), torch.where(active, value, state.value)
    state.begun = state.begun | active
    active = active & ~((gradient * direction).sum(1) > -TOLERANCE_CHANGE)
    move = state.length[:, None] * state.direction
    state.points = freeze(active, state.points + move, state.points)
    return active, move.abs().amax(1)
