"""Adam on the sign of the gradient.

Source: Geiping et al. 2020, arXiv:2003.14053, with the values of github.com/JonasGeiping/invertinggradients."""

import torch
from torch import Tensor

from fldrep.attack.problem import Course, Outcome, Problems, finite, freeze
from fldrep.attack.regularisers import total_variation_slope
from fldrep.config.attacks import AttackSettings

BETAS = (0.9, 0.999)


EPS = 1e-8


def signed_adam(problems: Problems, settings: AttackSettings, course: Course) -> Outcome:
    """Adam on the sign of the gradient of distance + total variation; returns the last iterate.

    The distances of the outcome are without total variation. One iteration is one Adam step.
    """

    def move(images: Tensor, first: Tensor, second: Tensor, distance: Tensor, slope: Tensor, alive: Tensor, rates):
        alive = alive & finite(distance, slope)
        slope = slope + settings.total_variation * total_variation_slope(images)
        moved, first, second = adam_step(images, first, second, slope.sign(), rates)
        moved = problems.normalisation.clamp(moved) if settings.box else moved
        return freeze(alive, moved, images), first, second, alive

    move, soft = problems.hasten(move), problems.soft_labels
    done, at = course.begin(_adam_start(problems.images))
    for step, rates in enumerate(adam_rates(settings)[done:].to(problems.images), done):
        distance, slope, _ = problems.match(at["images"], soft)
        initial = distance if step == 0 else at["initial"]
        images, first, second, alive = move(
            at["images"], at["first"], at["second"], distance, slope, at["alive"], rates
        )
        steps = at["steps"] + alive
        at = {"images": images, "first": first, "second": second, "alive": alive, "steps": steps, "initial": initial}
        course.step(at)
    final, _, _ = problems.match(at["images"], soft)
    initial = at["initial"] if settings.iterations else final
    return Outcome(at["images"], problems.labels, initial, final, at["alive"] & finite(final), at["steps"])


def _adam_start(images: Tensor) -> dict[str, Tensor]:
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


def adam_step(
    images: Tensor, first: Tensor, second: Tensor, slope: Tensor, rates: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of Adam (Kingma and Ba 2015): images and both moments after it; rates (2,) of `adam_rates`."""
    first = torch.lerp(first, slope, 1 - BETAS[0])
    second = (second * BETAS[1]).addcmul(slope, slope, value=1 - BETAS[1])
    return images - rates[0] * first / (second.sqrt() * rates[1] + EPS), first, second


def adam_rates(settings: AttackSettings) -> Tensor:
    """For each iteration, the step size over the first moment's bias correction, and 1 / the root of the second's.

    Shape: (iterations, 2), float64. They are tensors, so that a compiled step serves all iterations.
    """
    steps = torch.arange(1, settings.iterations + 1, dtype=torch.float64)
    sizes = torch.tensor(learning_rates(settings), dtype=torch.float64)
    return torch.stack([sizes / (1 - BETAS[0] ** steps), (1 - BETAS[1] ** steps).rsqrt()], 1)


def learning_rates(settings: AttackSettings) -> list[float]:
    """The step size of each iteration: multiplied by 0.1 after 3/8, 5/8 and 7/8 of them, as the reference rounds that.

    >>> learning_rates(AttackSettings(preset="gs", iterations=8, lr=1.0))[1:4]
    [1.0, 0.1, 0.1]
    """
    count = settings.iterations
    milestones = [count // 2.667, count // 1.6, count // 1.142] if settings.lr_decay else []
    return [settings.lr * 0.1 ** sum(step >= one for one in milestones) for step in range(count)]
