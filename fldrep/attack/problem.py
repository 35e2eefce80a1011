"""What an attack solves and what it returns.

A problem has its own loss, optimiser state and end, so its result does not depend on the problems beside it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.attack.resume import Keeper, State
from fldrep.config.attacks import AttackSettings
from fldrep.models.normalisation import Normalisation

Draw = Callable[[int, int], torch.Generator]


Tick = Callable[[int], None]


Numbers = list[tuple[int, int]]  # target and restart of each problem


@dataclass(frozen=True)
class Problems:
    """P problems for a solver: where to start, what is fixed, and how far a trial is from what was seen.

    `match` takes images (P, B, C, H, W) and soft labels (P, B, classes), and returns the distance of their update
    from the one seen, (P,), and its slopes by both. `images` and `logits` (P, B, classes) are initial points of the
    images and of the soft labels' logits; `labels` is (P, B), or None where the soft label is to be found. `hasten`
    may compile a function of tensors that is called at each step. All on the model's device and in its dtype.
    """

    match: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    images: Tensor
    logits: Tensor
    labels: Tensor | None
    normalisation: Normalisation
    hasten: Callable[[Callable], Callable]

    @property
    def soft_labels(self) -> Tensor:
        """The fixed labels as probabilities, (P, B, classes)."""
        return torch.nn.functional.one_hot(self.labels, self.logits.shape[-1]).to(self.images.dtype)


@dataclass(frozen=True)
class Course:
    """What a solver tells of its steps: they drive the progress bar, and are kept, so that a killed job can go on."""

    tick: Tick
    keeper: Keeper

    def begin(self, state: State) -> tuple[int, State]:
        """The steps already done and the tensors after them; 0 and `state` unless a killed job had come further."""
        done, state = self.keeper.begin(state)
        self.tick(done)
        return done, state

    def step(self, state: State) -> None:
        """One more step is done; `state`, all that the next one depends on, has the names and shapes of the first."""
        self.tick(1)
        self.keeper.step(1, state)


@dataclass(frozen=True)
class Outcome:
    """What a solver found for P problems: images (P, B, C, H, W), labels (P, B), and one number a problem.

    A problem that became not finite holds its last finite image and distance, and `finite` is False.
    """

    images: Tensor
    labels: Tensor
    initial_distance: Tensor
    final_distance: Tensor
    finite: Tensor
    iterations: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """What an attack found for N targets with R restarts, on the CPU, in the network's input space and dtype.

    `images` (N, C, H, W) and `distance` (N,) are the chosen restart's; `chosen` (N,) says which: the smallest gradient
    distance among those that did not diverge (among all, where all did). For updates of B images an axis B comes
    after N (and R). `initial_distance`, `final_distance`, `diverged`, `iterations` and `chunk`, how many problems were
    worked at once, are (N, R); `labels_found` is (N, R), or (N, R, B); `all_images` is (N, R, C, H, W). Diverged: not
    finite, or ended above the initial distance.
    `members`, for an ensemble, names the attack that each restart is from.
    """

    images: Tensor
    distance: Tensor
    chosen: Tensor
    all_images: Tensor
    labels_found: Tensor
    initial_distance: Tensor
    final_distance: Tensor
    diverged: Tensor
    iterations: Tensor
    chunk: Tensor
    members: list[list[str]] | None = None


Solve = Callable[[Problems, AttackSettings, Course], Outcome]


Attack = Callable[..., Reconstruction]


def initial_point(generator: torch.Generator, *shapes: tuple[int, ...]) -> list[Tensor]:
    """One float64 tensor of standard normal numbers for each shape, drawn on the CPU in this order.

    The image comes first, so attacks with and without a soft label start from the same image.
    """
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def freeze(alive: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` for the problems alive, `old` for the others. Shapes: (P,), (P, ...), (P, ...)."""
    return torch.where(alive.view(-1, *[1] * (new.ndim - 1)), new, old)


def finite(*tensors: Tensor) -> Tensor:
    """Whether each problem's entries are finite, and not so large that their sum is not. Shapes: (P, ...) -> (P,)."""
    flags = [one.reshape(len(one), -1).sum(1).isfinite() for one in tensors]
    return torch.stack(flags).all(0)


def choose(distance: Tensor, diverged: Tensor) -> Tensor:
    """The restart of smallest gradient distance, diverged ones last, ties to the first. Shapes: (N, R) twice -> (N,).

    >>> choose(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[False, True, False]]))
    tensor([2])
    """
    distance = distance.nan_to_num(nan=torch.inf)
    worst = torch.finfo(distance.dtype).max
    order = torch.where(diverged, torch.inf, distance.clamp_max(worst))
    return torch.where(diverged.all(1), distance.argmin(1), order.argmin(1))
