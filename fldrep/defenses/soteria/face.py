"""Soteria's scores and masks for any network, with every argument checked."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from fldrep.arguments import check_one_of, check_share, check_whole, refuse
from fldrep.defenses.soteria import masks, rules
from fldrep.derivatives.jacobian import ESTIMATORS
from fldrep.errors import ConfigError, named
from fldrep.models.face import clients_of


def feature_scores(model: nn.Module, images: Tensor, rule: str = "ratio", how: str = "exact", **options) -> Tensor:
    """What a rule ranks features by, larger = pruned first. Shape: (N, C, H, W) -> (N, F).

    `ratio` and `inverse` are finite; a feature that does not depend on the image (dead) scores 0 and is never pruned.
    The reference rules prune where |s| is small, so their score is -|s|: 0 for dead features, which go first; -inf
    where r_i + c = 0 for a live one; NaN where both are 0 (c = 0), which turns the defense off.

    Args: model: as for `client_update`; rule: `ratio`, `inverse`, `reference-notebook` or `reference-script`; how and
    options: as for `jacobian.feature_norms`.
    Errors: `UnknownName` for a rule or an estimator; `ConfigError` naming another argument.
    """
    named("rule", rule, rules.RULES)
    _check_options(how, options)
    taken, images, _ = clients_of(model, images, dims=(4,))
    return rules.feature_scores(taken, images, rule, how, **options)


def column_mask(
    model: nn.Module,
    images: Tensor,
    rate: float,
    rule: str = "ratio",
    per: str = "sample",
    how: str = "exact",
    **options,
) -> Tensor:
    """Which columns of the last layer's weight gradient are kept; False = pruned.

    Shapes: (N, C, H, W) -> (N, F), a mask an image; `per="batch"`: (F,), one mask from the images' summed values.
    Args: rate in [0, 1], of the live features (`ratio`, `inverse`) or of all (reference rules); others as for
    `feature_scores`.
    Errors: `UnknownName` for a rule or an estimator; `ConfigError` naming another argument.
    """
    named("rule", rule, rules.RULES)
    check_one_of("per", per, ("sample", "batch"))
    _check_options(how, options)
    rate = check_share("rate", rate)
    taken, images, _ = clients_of(model, images, dims=(4,))
    return masks.column_mask(taken, images, rate, rule, per, how, **options)


def _check_options(how: str, options: dict[str, Any]) -> None:
    """Errors: `UnknownName` for an estimator; `ConfigError` naming an option that it does not take, or its value."""
    known = list(inspect.signature(named("estimator", how, ESTIMATORS)).parameters)[2:]
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"{name}: no option of how={how!r}, which takes {', '.join(known) or 'none'}")
        if name != "generator":
            check_whole(name, value, 1)
        elif not isinstance(value, torch.Generator):
            refuse(name, value, "a torch.Generator")
