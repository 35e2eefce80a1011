"""Levenberg-Marquardt on the image itself, by products with the derivative of the update."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fldrep.config.section import Positive, Section, option
from fldrep.registry import optimiser

if TYPE_CHECKING:
    from fldrep.attack.problem import Outcome, Problems, Progress
    from fldrep.config.attacks import AttackSettings

DENSE_BYTES = 2**30  # of J, up to which steps are solved with J'J in full unless asked otherwise


@optimiser(
    "levenberg-marquardt",
    soft_labels=True,
    least_squares=True,
    float64=True,
    evaluations="products",
    needs=["smooth"],
)
class LevenbergMarquardt:
    """Damped Gauss-Newton steps in float64, on pixels in [0, 1], from a grey image with noise."""

    class Settings(Section):
        """How each step is solved, and what is unknown besides the image."""

        solver: Literal["auto", "dense", "matrix-free"] = option(
            "auto", "how steps are solved: by J'J in full, by products with J, or in full where J takes at most 1 GiB"
        )
        products: Positive = option(300, "most products with J and its transpose a try (matrix-free)")
        box: bool = option(True, "clamp the image to valid pixels after each step")
        begin: Literal["closed-form", "grey"] = option(
            "closed-form", "first image: what the closed form gives, where it is defined and right, or grey with noise"
        )
        free_scale: bool = option(False, "fit a factor on the trial's gradient besides, as clipping makes one")

    def refusals(self, problems: Problems, settings: AttackSettings) -> list[str]:
        """Why problems cannot be solved: numbers that are not finite, or fewer equations than unknowns."""
        from fldrep.attack.least_squares import LeastSquares

        system = LeastSquares.of(problems, settings.free_scale)
        finite = system.residuals.target.isfinite().all(1).tolist()
        left = [int(system.residuals.copies(place, 1).used.sum()) for place in range(len(finite))]
        short = f"entries for {system.unknowns} unknowns"
        return [
            (f"keeps {entries} {short}" if entries < system.unknowns else "") if whole else "is not finite"
            for whole, entries in zip(finite, left, strict=True)
        ]

    def solve(self, problems: Problems, settings: AttackSettings, progress: Progress) -> Outcome:
        """Move the images; one iteration is one step of Levenberg-Marquardt. Distances are relative residuals."""
        import torch

        from fldrep.attack.certificate import settled
        from fldrep.attack.closed_form import nearer_starts
        from fldrep.attack.gauss_newton import State, dense_step, matrix_free_step
        from fldrep.attack.least_squares import LeastSquares
        from fldrep.attack.problem import Outcome

        with torch.no_grad():
            system = LeastSquares.of(problems, settings.free_scale)
            whole = system.residuals.target.norm(dim=1)
            state = State.begin(system, system.begin(problems.images))
            initial = state.norm.clone()
            done, at = progress.begin(vars(state))
            state = State(**at)
            if settings.begin == "closed-form" and done == 0 and settings.iterations:
                state = State.begin(system, nearer_starts(problems, system, state.points, settings.iterations))
            dense = is_dense(system, settings.solver)
            for step in range(done, settings.iterations):
                if not state.alive.any():
                    progress.advance(settings.iterations - step)
                    break
                if dense:
                    state = dense_step(system, state, settings.box)
                else:
                    state = matrix_free_step(system, state, settings.box, settings.products)
                progress.step(vars(state))
            certified = [False] * len(state.points)
            for place in range(len(certified) if dense and settings.iterations else 0):
                state.points[place], certified[place] = settled(system, place, state.points[place])
            state.norm = system.values(state.points).norm(dim=1)
            images, soft = system.parts(state.points)
            labels = soft.argmax(-1) if problems.labels is None else problems.labels
            finite, certified = state.norm.isfinite(), torch.tensor(certified, device=images.device)
            return Outcome(images, labels, initial / whole, state.norm / whole, finite, state.steps, certified)


def is_dense(system, solver: str) -> bool:
    """Whether steps are solved with J'J in full."""
    entries = sum(one[0].numel() for one in system.residuals.observed.values())
    return solver == "dense" or (solver == "auto" and entries * system.unknowns * 8 <= DENSE_BYTES)
