"""Attacks that know the defense: which tensors or columns were pruned is public, since they arrive as zeros.

Sources: Balunović et al. 2022, "Bayesian Framework for Gradient Leakage" (ICLR): leave the defended layer out;
Li et al. 2022, "Auditing Privacy Defenses in Federated Learning via Generative Gradient Leakage" (CVPR): apply the
public mask to the trial gradient.
"""

from collections.abc import Mapping

from torch import Tensor

from fldrep.attack.engine import solve_all
from fldrep.attack.masks import defended_part, public_mask, what_survives, without_head
from fldrep.attack.objectives import RELATIVE_SQUARED, Comparison, cosine
from fldrep.attack.optimisers.signed_adam import signed_adam
from fldrep.attack.problem import Reconstruction
from fldrep.attack.pruned import through_the_mask
from fldrep.config.attacks import AttackSettings
from fldrep.errors import AttackRefused
from fldrep.models.model import Model


def gs_masked(
    model: Model,
    seen: Mapping[str, Tensor],
    labels: Tensor | None,
    settings: AttackSettings,
    *,
    defended: str | None = None,
    **setup,
) -> Reconstruction:
    """GS that compares only what the public mask leaves. Errors: `AttackRefused` where there is no mask.

    Args: defended: `head`: columns of the last weight that are zero are left out; `all`: zero entries of every tensor
    are; what the update itself says if not given. `setup` as in `engine.solve_all`.
    """
    comparison = what_survives(public_mask("gs-masked", seen, defended))
    return solve_all(model, seen, labels, settings, comparison, signed_adam, **setup)


def gs_drop(
    model: Model,
    seen: Mapping[str, Tensor],
    labels: Tensor | None,
    settings: AttackSettings,
    *,
    defended: str | None = None,
    **setup,
) -> Reconstruction:
    """GS that leaves the defended layer, weight and bias, out of the cosine's numerator and both norms.

    Args: as for `gs_masked`. Errors: `AttackRefused` where no layer is defended.
    """
    where = defended_part(seen, defended)
    if where != "head":
        raise AttackRefused(f"attack 'gs-drop' leaves out the defended layer, but here it is {where!r}; use 'gs'")
    return solve_all(model, seen, labels, settings, Comparison(without_head, cosine), signed_adam, **setup)


def gs_l2(
    model: Model, seen: Mapping[str, Tensor], labels: Tensor | None, settings: AttackSettings, **setup
) -> Reconstruction:
    """GS with a squared distance, relative to the norm of what was seen: the likelihood of Gaussian noise."""
    setup.pop("defended", None)
    return solve_all(model, seen, labels, settings, RELATIVE_SQUARED, signed_adam, **setup)


PRESETS = {
    "gs-masked": gs_masked,
    "gs-pruned": through_the_mask(gs_masked),
    "gs-drop": gs_drop,
    "gs-l2": gs_l2,
}
