"""Which features Soteria prunes at a rate."""

import torch
from torch import Tensor

from fldrep.config.section import Section
from fldrep.defenses.soteria.rules import RULES, rank_features
from fldrep.errors import ConfigError, named
from fldrep.models.model import Model
from fldrep.models.updates import require_fixed_statistics


def column_mask(
    model: Model, images: Tensor, rate: float, rule: str = "ratio", per: str = "sample", how: str = "exact", **options
) -> Tensor:
    """Which columns of the last layer's weight gradient are kept; False = pruned.

    Shapes: (N, C, H, W) -> (N, F), a mask an image; `per="batch"`: (F,), one mask from the images' summed values.
    Args: rate in [0, 1], of the live features (`ratio`, `inverse`) or of all (reference rules).
    Errors: `UnknownName`; `ConfigError` for a rate outside [0, 1] or batch norm in training mode.
    """
    require_fixed_statistics(model)
    _require_share(rate)
    batches = named("per", per, {"sample": 1, "batch": len(images)})
    kept = update_masks(model, images.unflatten(0, (-1, batches)), rate, rule, how, **options)
    return kept if per == "sample" else kept[0]


def training_mask(model: Model, images: Tensor, settings: Section, generator: torch.Generator) -> Tensor:
    """One mask for a local step, from the estimator `settings.norm_estimator`. Shape: (B, C, H, W) -> (F,) bool.

    No gradient is recorded. Batch norm uses its running statistics, whatever its mode, and is left as it was. The rule
    `inverse` has no estimator: it takes the whole Jacobian of every image.
    """
    options = {"generator": generator, "directions": 16} if settings.norm_estimator == "jvp" else {}
    return update_masks(model, images.unsqueeze(0), settings.rate, settings.rule, settings.norm_estimator, **options)[0]


def update_masks(
    model: Model, images: Tensor, rate: float, rule: str = "ratio", how: str = "exact", **options
) -> Tensor:
    """One mask an update, from values summed over its images. Shape: (N, B, C, H, W) -> (N, F) bool, False = pruned."""
    ranked = rank_features(model, images.flatten(0, 1), rule, how, **options)
    groups = images.shape[:2]
    return masks_of(ranked.values.unflatten(0, groups), ranked.live.unflatten(0, groups), rate, rule)


def masks_of(values: Tensor, live: Tensor, rate: float, rule: str) -> Tensor:
    """The mask of each update from its images' summed values; live is what any image makes live. (N,B,F) -> (N,F)."""
    return named("rule", rule, RULES).kept(values.sum(-2), live.any(-2), rate)


def mask_agreement(kept: Tensor, other: Tensor) -> Tensor:
    """Share of what one mask prunes that the other prunes too; 1 where it prunes nothing. Shape: (..., F) -> (...).

    >>> mask_agreement(torch.tensor([False, False, True]), torch.tensor([True, False, False]))
    tensor(0.5000)
    """
    pruned = (~kept).sum(-1)
    return torch.where(pruned > 0, (~kept & ~other).sum(-1) / pruned.clamp_min(1), 1.0)


def _require_share(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ConfigError(f"rate={rate} is not in [0, 1]")
