"""Adam on the sign of the gradient.

Source: Geiping et al. 2020, arXiv:2003.14053, with the values of github.com/JonasGeiping/invertinggradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.config.section import Section, option
from fldrep.registry import optimiser

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.attack.problem import Outcome, Problems, Progress
    from fldrep.config.attacks import AttackSettings


@optimiser("signed-adam")
class SignedAdam:
    """Adam on the sign of the gradient of distance + regularisers; the result is the last iterate."""

    class Settings(Section):
        """The step size, and what holds it and the image."""

        lr: float = option(0.1, "step size of the optimiser", gt=0)
        box: bool = option(True, "clamp the image to valid pixels after each step")
        lr_decay: bool = option(True, "multiply lr by 0.1 at 3/8, 5/8 and 7/8 of the iterations")

    def solve(self, problems: Problems, settings: AttackSettings, progress: Progress) -> Outcome:
        """Move the images; one iteration is one Adam step."""
        from fldrep.attack.adam import adam_rates, adam_step
        from fldrep.attack.problem import Outcome, finite, freeze

        # made once: to bring numbers to a GPU, the host waits for all it was asked before
        least, most = problems.normalisation.valid_range(problems.images)

        def move(images, first, second, distance, grad_images, alive, rates):
            alive = alive & finite(distance, grad_images)
            _, grad_images = problems.regularised(images, distance, grad_images)
            moved, first, second = adam_step(images, first, second, grad_images.sign(), rates)
            moved = moved.clamp(least, most) if settings.box else moved
            return freeze(alive, moved, images), first, second, alive

        move, soft = problems.compile(move), problems.soft_labels
        done, at = progress.begin(_begin(problems.images))
        rates = adam_rates(learning_rates(settings.iterations, settings.lr, settings.lr_decay)).to(problems.images)
        for step in range(done, settings.iterations):
            distance, grad_images, _ = problems.match(at["images"], soft)
            moved = (at["images"], at["first"], at["second"], distance, grad_images, at["alive"], rates[step])
            images, first, second, alive = move(*moved)
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
        initial = at["initial"] if settings.iterations else final
        return Outcome(at["images"], problems.labels, initial, final, at["alive"] & finite(final), at["steps"])


def _begin(images: Tensor) -> dict[str, Tensor]:
    """All that the first step of P problems depends on."""
    import torch

    alive = torch.ones(len(images), dtype=torch.bool, device=images.device)
    return {
        "images": images,
        "first": torch.zeros_like(images),
        "second": torch.zeros_like(images),
        "alive": alive,
        "steps": torch.zeros_like(alive, dtype=torch.long),
        "initial": torch.full_like(images[:, 0, 0, 0, 0], torch.nan),
    }


def learning_rates(iterations: int, lr: float, decay: bool) -> list[float]:
    """The step size of each iteration; decay: times 0.1 after 3/8, 5/8 and 7/8 of them, as the reference rounds that.

    >>> learning_rates(8, 1.0, True)[1:4]
    [1.0, 0.1, 0.1]
    """
    milestones = [iterations // 2.667, iterations // 1.6, iterations // 1.142] if decay else []
    return [lr * 0.1 ** sum(step >= one for one in milestones) for step in range(iterations)]
