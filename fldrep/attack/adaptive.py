"""Attacks that know the defense: which tensors or columns were pruned is public, since they arrive as zeros.

Sources: Balunović et al. 2022, "Bayesian Framework for Gradient Leakage" (ICLR): leave the defended layer out;
Li et al. 2022, "Auditing Privacy Defenses in Federated Learning via Generative Gradient Leakage" (CVPR): apply the
public mask to the trial gradient.
"""

from collections.abc import Mapping

from torch import Tensor

from fldrep.attack.comparisons import RELATIVE_SQUARED, Aim, Comparison, cosine, keep, keep_all
from fldrep.attack.engine import Reconstruction, solve_all
from fldrep.attack.gs import signed_adam
from fldrep.attack.pullback import Gradient
from fldrep.errors import AttackRefused, named
from fldrep.gradients import HEAD_BIAS, HEAD_WEIGHT, Update
from fldrep.models import Model
from fldrep.settings import AttackSettings


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
    where = defended_part(seen, defended)
    if where == "none":
        raise AttackRefused("attack 'gs-masked' compares what a public mask leaves, but nothing is masked; use 'gs'")
    return solve_all(model, seen, labels, settings, what_survives(where), signed_adam, **setup)


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


def defended_part(seen: Mapping[str, Tensor], defended: str | None = None) -> str:
    """What is known to be pruned: `none`, `head` or `all`, as told, as the update says, or by the evidence of zeros.

    The evidence: some column of the last weight is zero in all its rows, which an undefended gradient has only where
    a feature is exactly 0.
    """
    if defended is not None:
        return named("defended part", defended, {part: part for part in ("none", "head", "all")})
    if isinstance(seen, Update):
        return seen.defended
    return "head" if bool((seen[HEAD_WEIGHT] == 0).all(1).any()) else "none"


def what_survives(where: str) -> Comparison:
    """The cosine over the entries that survive the public mask. Args: where: as `defended_part` has it."""
    return Comparison({"none": keep_all, "head": masked_columns, "all": masked_entries}[where], cosine)


def masked_columns(seen: Gradient) -> Aim:
    """Compare all but the columns of the last weight that are zero in what was seen."""
    return keep(seen, {HEAD_WEIGHT: (seen[HEAD_WEIGHT] != 0).any(1, keepdim=True)})


def masked_entries(seen: Gradient) -> Aim:
    """Compare the entries that are not zero in what was seen."""
    return keep(seen, {name: value != 0 for name, value in seen.items()})


def without_head(seen: Gradient) -> Aim:
    """Compare all tensors but the last layer's, weight and bias."""
    return keep_all({name: value for name, value in seen.items() if name not in (HEAD_WEIGHT, HEAD_BIAS)})


PRESETS = {"gs-masked": gs_masked, "gs-drop": gs_drop, "gs-l2": gs_l2}
