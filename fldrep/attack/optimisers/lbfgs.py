"""L-BFGS on image and soft label together, as DLG has it.

Sources: Zhu et al. 2019, arXiv:1906.08935; the reference notebook takes PyTorch's defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.config.section import Positive, Section, option
from fldrep.registry import optimiser

if TYPE_CHECKING:
    from fldrep.attack.problem import Outcome, Problems, Progress
    from fldrep.config.attacks import AttackSettings


@optimiser("lbfgs", soft_labels=True, evaluations="inner_iterations")
class LBFGS:
    """L-BFGS without line search, on the image, and on the soft label's logits where the label is not fixed."""

    class Settings(Section):
        """The step size, and how much of the past it uses."""

        lr: float = option(1.0, "step size of the optimiser", gt=0)
        inner_iterations: Positive = option(20, "L-BFGS iterations in one step")
        history: Positive = option(100, "L-BFGS curvature pairs kept")

    def solve(self, problems: Problems, settings: AttackSettings, progress: Progress) -> Outcome:
        """Move the points; one iteration is one L-BFGS step of `inner_iterations` inner ones, as in the notebook."""
        import torch

        from fldrep.attack import quasi_newton
        from fldrep.attack.points import flat_distance, flat_objective, flat_points, parts_of
        from fldrep.attack.problem import Outcome

        objective, start = flat_objective(problems), flat_points(problems)
        state = quasi_newton.begin(start, settings.history)
        first = {
            "steps": torch.zeros_like(state.alive, dtype=torch.long),
            "initial": torch.full_like(state.value, torch.nan),
        }
        done, at = progress.begin(quasi_newton.tensors_of(state) | first)
        state, steps, initial = quasi_newton.state_of(at), at["steps"], at["initial"]
        for step in range(done, settings.iterations):
            moved, value = quasi_newton.step(state, objective, settings.lr, settings.inner_iterations)
            initial = value if step == 0 else initial
            steps = steps + moved
            progress.step(quasi_newton.tensors_of(state) | {"steps": steps, "initial": initial})
            if not moved.any():  # every problem has converged or left the finite numbers: no later step would move one
                progress.advance(settings.iterations - step - 1)
                break
        last, _ = quasi_newton.evaluate(state, objective)
        initial, final = initial if settings.iterations else last, state.finite_value
        if problems.regularisers:  # what is told is the distance alone
            initial, final = (flat_distance(problems, points) for points in (start, state.points))
        images, logits = parts_of(problems, state.points)
        labels = problems.labels if logits is None else logits.argmax(-1)
        return Outcome(images, labels, initial, final, state.alive, steps)
