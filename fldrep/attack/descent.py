"""The loop of optimisers that evaluate the gradient once a step and keep two moments of it."""

from collections.abc import Callable

import torch
from torch import Tensor

from fldrep.attack.problem import Outcome, Problems, Progress, finite, freeze

# (images, first, second, distance, grad_images, rates) -> images, first and second moment after the step
Move = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def descend(problems: Problems, images: Tensor, move: Move, rates: Tensor, progress: Progress) -> Outcome:
    """Move images (P, B, C, H, W) once for each of rates (iterations, 2); the result is the last iterate.

    A problem whose distance or its derivative is not finite stays where it is from then on.
    """

    def moved(images, first, second, distance, grad_images, alive, rates):
        alive = alive & finite(distance, grad_images)
        new, first, second = move(images, first, second, distance, grad_images, rates)
        return freeze(alive, new, images), first, second, alive

    moved, soft = problems.compile(moved), problems.soft_labels
    done, at = progress.begin(_begin(images))
    rates = rates.to(images)
    for step in range(done, len(rates)):
        distance, grad_images, _ = problems.match(at["images"], soft)
        given = (at["images"], at["first"], at["second"], distance, grad_images, at["alive"], rates[step])
        images, first, second, alive = moved(*given)
        at = {
            "images": images,
            "first": first,
            "second": second,
            "alive": alive,
            "steps": at["steps"] + alive,
            "initial": distance if step == 0 else at["initial"],
        }
        progress.step(at)
    final, _, _ = problems.match(at["images"], soft)
    initial = at["initial"] if len(rates) else final
    return Outcome(at["images"], problems.labels, initial, final, at["alive"] & finite(final), at["steps"])


def _begin(images: Tensor) -> dict[str, Tensor]:
    """All that the first step of P problems depends on."""
    alive = torch.ones(len(images), dtype=torch.bool, device=images.device)
    return {
        "images": images,
        "first": torch.zeros_like(images),
        "second": torch.zeros_like(images),
        "alive": alive,
        "steps": torch.zeros_like(alive, dtype=torch.long),
        "initial": torch.full_like(images[:, 0, 0, 0, 0], torch.nan),
    }
