"""The closed form: no trial image is moved, the image is solved for from the last layer down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.config.section import Section
from fldrep.registry import optimiser

if TYPE_CHECKING:
    from fldrep.attack.problem import Outcome, Problems, Progress
    from fldrep.config.attacks import AttackSettings


@optimiser(
    "layer-by-layer",
    least_squares=True,
    float64=True,
    whole=True,
    needs=["one-image", "one-step", "head-bias", "whole-body", "exact", "invertible"],
)
class LayerByLayer:
    """Layer by layer in closed form, for chains of convolutions and linear layers with invertible activations.

    Through a mask on the head, steps of Levenberg-Marquardt find the input of the last layer below it: `iterations`.
    Through ReLU and max-pools it begins at a convolution whose gradient gives its input away, and a mask on the head
    does not matter. Where an update does not tell its image, the outcome says why.
    """

    class Settings(Section):
        """It has no keys of its own."""

    def solve(self, problems: Problems, settings: AttackSettings, progress: Progress) -> Outcome:
        """Solve each problem by itself. Distances are relative residuals; restarts find the same."""
        import torch

        from fldrep.attack.certificate import settled
        from fldrep.attack.closed_form import image_of
        from fldrep.attack.least_squares import LeastSquares
        from fldrep.attack.problem import Outcome
        from fldrep.attack.reasons import as_bytes
        from fldrep.attack.way_down import way_down
        from fldrep.derivatives.layer import NoRule

        with torch.no_grad():
            it, system = problems.observation, LeastSquares.of(problems, free_scale=False)
            way = way_down(it.model, it.shape)
            points, whole = system.begin(problems.images), system.residuals.target.norm(dim=1)
            initial = system.values(points).norm(dim=1) / whole
            at = {
                "points": points,
                "steps": torch.zeros(len(points), dtype=torch.long, device=points.device),
                "certified": torch.zeros(len(points), dtype=torch.bool, device=points.device),
                "refused": as_bytes([""] * len(points)),
            }
            done, at = progress.begin(at)
            for place in range(done, len(points) if settings.iterations else 0):
                at = {name: one.clone() for name, one in at.items()}
                try:
                    image, steps = image_of(it, way, place, problems.labels[place : place + 1], settings.iterations)
                except NoRule as reason:
                    at["points"][place], at["refused"][place] = torch.nan, as_bytes([f"has {reason}"])[0]
                    progress.step(at)
                    continue
                point = system.points_of(image[None, None])[0]
                at["points"][place], at["certified"][place] = settled(system, place, point)
                at["steps"][place] = steps
                progress.step(at)
            if it.structure.kinks:  # a small residual says nothing of the image where the gradient jumps
                at["certified"] = torch.zeros_like(at["certified"])
            final = system.values(at["points"]).norm(dim=1) / whole
            images, _ = system.parts(at["points"])
            found = images, problems.labels, initial, final, final.isfinite(), at["steps"], at["certified"]
            return Outcome(*found, at["refused"])
