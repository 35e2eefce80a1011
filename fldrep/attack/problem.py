"""What an optimiser solves, how it tells of its steps, and what it returns.

A problem has its own loss, optimiser state and end, so its result does not depend on the problems beside it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.attack.differentiated import differentiated
from fldrep.attack.observation import Observation
from fldrep.attack.reasons import as_bytes
from fldrep.attack.residuals import Residuals
from fldrep.attack.resume import Checkpointer, State
from fldrep.models.normalisation import Normalisation

Regulariser = Callable[[Tensor], tuple[Tensor, Tensor] | Tensor]


@dataclass(frozen=True)
class Problems:
    """P problems for an optimiser: where to start, what is fixed, and how far a trial is from what was observed.

    `match` takes images (P, B, C, H, W) and soft labels (P, B, classes), and returns the distance of their update
    from the one observed, (P,), and its derivatives by both. `regularisers` are added to the distance, each with its
    weight. `images` and `logits` (P, B, classes) are initial points of the images and of the soft labels' logits, white
    noise; an optimiser that moves an image in coordinates of its own takes them as those. `labels` is (P, B), or None
    where the soft label is to be found. `compile` may compile a function of tensors that is called at each step.
    `residuals`, for optimisers that say `least_squares=True`, are those whose squares sum up to the distance.
    `observation` is that of these problems' updates, for optimisers that take the network apart. `fixed_soft`
    (P, B, classes): soft labels that are known as such. All on the model's device and in its dtype.
    """

    match: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    regularisers: tuple[tuple[float, Regulariser], ...]
    images: Tensor
    logits: Tensor
    labels: Tensor | None
    normalisation: Normalisation
    compile: Callable[[Callable], Callable]
    residuals: Residuals | None = None
    observation: Observation | None = None
    fixed_soft: Tensor | None = None

    @property
    def soft_labels(self) -> Tensor:
        """The fixed labels as probabilities, (P, B, classes)."""
        if self.fixed_soft is not None:
            return self.fixed_soft
        return torch.nn.functional.one_hot(self.labels, self.logits.shape[-1]).to(self.images.dtype)

    def regularised(self, images: Tensor, value: Tensor, grad_images: Tensor) -> tuple[Tensor, Tensor]:
        """A value (P,) and its derivative by the images, with the regularisers' added."""
        for weight, regulariser in self.regularisers:
            added, by_images = differentiated(regulariser, images)
            value, grad_images = value + weight * added, grad_images + weight * by_images
        return value, grad_images


@dataclass(frozen=True)
class Progress:
    """What an optimiser tells of its steps: they drive the progress bar, and are kept, so that a killed job can go on.

    An optimiser calls `begin` first and `step` after each step, or only `advance`, if nothing is to be kept.
    """

    advance: Callable[[int], None]
    checkpointer: Checkpointer

    def begin(self, state: State) -> tuple[int, State]:
        """The steps already done and the tensors after them; 0 and `state` unless a killed job had come further."""
        done, state = self.checkpointer.begin(state)
        self.advance(done)
        return done, state

    def step(self, state: State) -> None:
        """One more step is done; `state`, all that the next one depends on, has the names and shapes of the first."""
        self.advance(1)
        self.checkpointer.step(1, state)


@dataclass(frozen=True)
class Outcome:
    """What an optimiser found for P problems: images (P, B, C, H, W), labels (P, B), and one number a problem.

    Distances are without regularisers. A problem that became not finite holds its last finite image and distance, and
    `finite` is False. `certified`: the update itself shows that the image is the one behind it, near as it can be
    (`certificate`); an optimiser that cannot tell leaves it out, and nothing is. `refused`: why there is no image of a
    problem, as `reasons.as_bytes` makes it of sentences that are empty where there is one; image and distance of a
    problem with a reason are not numbers, and it is not finite.
    """

    images: Tensor
    labels: Tensor
    initial_distance: Tensor
    final_distance: Tensor
    finite: Tensor
    iterations: Tensor
    certified: Tensor | None = None
    refused: Tensor | None = None

    def __post_init__(self):
        """Where nothing is told, nothing is certified, and nothing refused."""
        if self.refused is None:
            object.__setattr__(self, "refused", as_bytes([""] * len(self.finite)))
        if self.certified is None:
            object.__setattr__(self, "certified", torch.zeros_like(self.finite))


def freeze(alive: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` for the problems alive, `old` for the others. Shapes: (P,), (P, ...), (P, ...)."""
    return torch.where(alive.view(-1, *[1] * (new.ndim - 1)), new, old)


def finite(*tensors: Tensor) -> Tensor:
    """Whether each problem's entries are finite, and not so large that their sum is not. Shapes: (P, ...) -> (P,)."""
    flags = [one.reshape(len(one), -1).sum(1).isfinite() for one in tensors]
    return torch.stack(flags).all(0)
