"""Adam on the sign of the gradient.

Source: Geiping et al. 2020, arXiv:2003.14053, with the values of github.com/JonasGeiping/invertinggradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.config.section import Section, option
from fldrep.registry import optimiser

if TYPE_CHECKING:
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
        from fldrep.attack.descent import descend

        # made once: to bring numbers to a GPU, the host waits for all it was asked before
        least, most = problems.normalisation.valid_range(problems.images)

        def move(images, first, second, distance, grad_images, rates):
            _, grad_images = problems.regularised(images, distance, grad_images)
            moved, first, second = adam_step(images, first, second, grad_images.sign(), rates)
            return moved.clamp(least, most) if settings.box else moved, first, second

        rates = adam_rates(learning_rates(settings.iterations, settings.lr, settings.lr_decay))
        return descend(problems, problems.images, move, rates, progress)


def learning_rates(iterations: int, lr: float, decay: bool) -> list[float]:
    """The step size of each iteration; decay: times 0.1 after 3/8, 5/8 and 7/8 of them, as the reference rounds that.

    >>> learning_rates(8, 1.0, True)[1:4]
    [1.0, 0.1, 0.1]
    """
    milestones = [iterations // 2.667, iterations // 1.6, iterations // 1.142] if decay else []
    return [lr * 0.1 ** sum(step >= one for one in milestones) for step in range(iterations)]
