"""r-matching: the representation read off the last layer's gradient, matched besides the gradient itself.

For logits W r + b and one image, dL/dW = d r' and dL/db = d: the clean bias gradient gives r exactly wherever a column
of dL/dW was kept, whatever mask the defense put on the others.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from fldrep.attack.engine import solve_all
from fldrep.attack.masks import defended_part, what_survives
from fldrep.attack.objectives import Aim, Comparison
from fldrep.attack.optimisers.signed_adam import signed_adam
from fldrep.attack.problem import Reconstruction
from fldrep.attack.pullback import Gradient
from fldrep.config.attacks import AttackSettings
from fldrep.errors import AttackRefused
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT


def r_matching(
    model: Model,
    seen: Mapping[str, Tensor],
    labels: Tensor | None,
    settings: AttackSettings,
    *,
    defended: str | None = None,
    **setup,
) -> Reconstruction:
    """GS over what the public mask leaves, plus `feature_weight` times the distance of representations.

    `setup` as in `engine.solve_all`.
    Errors: `AttackRefused` where r cannot be read: several images an update, or a last layer without bias.
    """
    images = labels.shape[1] if labels is not None and labels.ndim == 2 else setup.get("batch") or 1
    if images > 1 or setup.get("local") is not None:
        raise AttackRefused(f"attack 'r-matching' reads r from one image an update; these hold {images} or local steps")
    if HEAD_BIAS not in seen:
        raise AttackRefused(
            f"attack 'r-matching' reads r as {HEAD_WEIGHT} over {HEAD_BIAS}, which is missing; use 'gs'"
        )
    plain = what_survives(defended_part(seen, defended))
    comparison = Comparison(partial(with_features, plain), partial(matched, plain, settings.feature_weight))
    return solve_all(model, seen, labels, settings, comparison, signed_adam, **setup)


def with_features(plain: Comparison, seen: Gradient) -> Aim:
    """The aim of a comparison, and the representation that was seen where it was kept, 0 elsewhere."""
    kept = (seen[HEAD_WEIGHT] != 0).any(1)
    return plain.prepare(seen) | {"features": {"kept": kept, "seen": features_of(seen)[0] * kept}}


def matched(plain: Comparison, weight: float, trial: Gradient, aim: Aim) -> tuple[Tensor, dict[str, Tensor]]:
    """A comparison plus `weight` times the squared distance of representations, relative to the one seen."""
    distance, slope = plain.compare(trial, aim)
    found, power = features_of(trial)
    target = aim["features"]["seen"]
    apart = (found - target) * aim["features"]["kept"]
    scale = weight / target.square().sum(1).clamp_min(torch.finfo(target.dtype).tiny)
    by_features = 2 * scale[:, None] * apart / power[:, None]  # slope by r, over |dL/db|^2
    bias = trial[HEAD_BIAS]
    by_weight = bias[:, :, None] * by_features[:, None]
    by_bias = (trial[HEAD_WEIGHT] @ by_features[:, :, None]).squeeze(2)
    by_bias = by_bias - 2 * bias * (by_features * found).sum(1, keepdim=True)
    added = {HEAD_WEIGHT: slope[HEAD_WEIGHT] + by_weight, HEAD_BIAS: slope[HEAD_BIAS] + by_bias}
    return distance + scale * apart.square().sum(1), slope | added


def features_of(gradient: Gradient) -> tuple[Tensor, Tensor]:
    """r as the least squares fit of dL/dW = dL/db r', and |dL/db|^2. Shapes: {name: (P, *shape)} -> (P, F), (P,)."""
    bias = gradient[HEAD_BIAS]
    power = bias.square().sum(1).clamp_min(torch.finfo(bias.dtype).tiny)
    return (bias[:, None] @ gradient[HEAD_WEIGHT]).squeeze(1) / power[:, None], power


PRESETS = {"r-matching": r_matching}
