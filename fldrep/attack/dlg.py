"""DLG and iDLG: plain squared gradient distance, L-BFGS, and a soft label that is optimised (DLG) or inferred (iDLG).

Sources: Zhu et al. 2019, arXiv:1906.08935; Zhao et al. 2020, arXiv:2001.02610.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from fldrep.attack.engine import solve_all
from fldrep.attack.masks import public_mask, what_survives
from fldrep.attack.objectives import SCALED_SQUARED, SQUARED, Comparison, squared
from fldrep.attack.optimisers import lbfgs
from fldrep.attack.problem import Course, Outcome, Problems, Reconstruction
from fldrep.attack.pruned import through_the_mask
from fldrep.config.attacks import AttackSettings
from fldrep.models.model import Model


def dlg(
    model: Model, seen: Mapping[str, Tensor], labels: Tensor | None, settings: AttackSettings, **setup
) -> Reconstruction:
    """Attack by L-BFGS on the squared distance; `setup` as in `engine.solve_all`.

    One iteration is one L-BFGS step of `inner_iterations` inner ones, as in the DLG notebook.
    """
    setup.pop("defended", None)
    return solve_all(model, seen, labels, settings, SQUARED, by_lbfgs, **setup)


def dlg_scaled(
    model: Model, seen: Mapping[str, Tensor], labels: Tensor | None, settings: AttackSettings, **setup
) -> Reconstruction:
    """DLG against updates that were clipped: the scale is estimated, at each step, as the one that fits best."""
    setup.pop("defended", None)
    return solve_all(model, seen, labels, settings, SCALED_SQUARED, by_lbfgs, **setup)


def dlg_masked(
    model: Model,
    seen: Mapping[str, Tensor],
    labels: Tensor | None,
    settings: AttackSettings,
    *,
    defended: str | None = None,
    **setup,
) -> Reconstruction:
    """DLG that compares only what the public mask leaves. Args, errors: as for `adaptive.gs_masked`."""
    kept = what_survives(public_mask("dlg-masked", seen, defended)).prepare
    return solve_all(model, seen, labels, settings, Comparison(kept, squared), by_lbfgs, **setup)


def by_lbfgs(problems: Problems, settings: AttackSettings, course: Course) -> Outcome:
    """Descend from the image, and from the soft label's logits where the label is not fixed."""
    objective = flat_objective(problems)
    state = lbfgs.begin(flat_points(problems), settings.history)
    first = {
        "steps": torch.zeros_like(state.alive, dtype=torch.long),
        "initial": torch.full_like(state.value, torch.nan),
    }
    done, at = course.begin(lbfgs.tensors_of(state) | first)
    state, steps, initial = lbfgs.state_of(at), at["steps"], at["initial"]
    for step in range(done, settings.iterations):
        moved, value = lbfgs.step(state, objective, settings.lr, settings.inner_iterations)
        initial = value if step == 0 else initial
        steps = steps + moved
        course.step(lbfgs.tensors_of(state) | {"steps": steps, "initial": initial})
        if not moved.any():  # every problem has converged or left the finite numbers: no later step would move one
            course.tick(settings.iterations - step - 1)
            break
    last, _ = lbfgs.evaluate(state, objective)
    images, labels = _parts(problems, state.points)
    initial = initial if settings.iterations else last
    return Outcome(images, labels, initial, state.finite_value, state.alive, steps)


def flat_points(problems: Problems) -> Tensor:
    """The initial points of all that is optimised, (P, D)."""
    free = [problems.images, problems.logits] if problems.labels is None else [problems.images]
    return torch.cat([one.flatten(1) for one in free], 1)


def flat_objective(problems: Problems) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Distance (P,) and slope (P, D) of flat points (P, D)."""
    fixed = None if problems.labels is None else problems.soft_labels
    size = problems.images[0].numel()

    def objective(points: Tensor) -> tuple[Tensor, Tensor]:
        images = points[:, :size].view_as(problems.images)
        if fixed is not None:
            distance, by_image, _ = problems.match(images, fixed)
            return distance, by_image.flatten(1)
        soft = points[:, size:].view_as(problems.logits).softmax(-1)
        distance, by_image, by_soft = problems.match(images, soft)
        by_logits = soft * (by_soft - (soft * by_soft).sum(-1, keepdim=True))
        return distance, torch.cat([by_image.flatten(1), by_logits.flatten(1)], 1)

    return objective


def _parts(problems: Problems, points: Tensor) -> tuple[Tensor, Tensor]:
    """Images and labels of flat points; a soft label's class is its largest logit."""
    size = problems.images[0].numel()
    images = points[:, :size].view_as(problems.images)
    if problems.labels is not None:
        return images, problems.labels
    return images, points[:, size:].view_as(problems.logits).argmax(-1)


PRESETS = {
    "dlg": dlg,
    "idlg": dlg,
    "dlg-scaled": dlg_scaled,
    "dlg-masked": dlg_masked,
    "dlg-pruned": through_the_mask(dlg_masked),
}
