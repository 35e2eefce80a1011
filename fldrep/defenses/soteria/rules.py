"""How Soteria ranks features.

Source: Sun et al. 2021, arXiv:2012.06043, and its code (github.com/jeremy313/Soteria), whose two variants are the rules
`reference-notebook` and `reference-script`, quirks included. README.md in the folder above tells the rules apart."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.defenses.quantile import percentile
from fldrep.derivatives.jacobian import features_and_norms, full_jacobian
from fldrep.derivatives.network import fixed_statistics
from fldrep.derivatives.pseudoinverse import column_norms_of_inverse
from fldrep.errors import named
from fldrep.models.model import Model
from fldrep.models.updates import require_fixed_statistics


@dataclass(frozen=True)
class Ranked:
    """What a rule ranks the features of N images by: representation, sensitivity ||dr_i/dX||, the rule's own number.

    Shapes: all (N, F). `values` is the score for `ratio` and `inverse`; the reference's own ratio, whose *small*
    magnitudes are pruned, for its rules.
    """

    features: Tensor
    norms: Tensor
    values: Tensor

    @property
    def live(self) -> Tensor:
        """Features that depend on the image, (N, F) bool."""
        return self.norms > 0


# Rules ---------------------------------------------------------------------------------------------------------------

Rank = Callable[..., Ranked]  # (model, images (N, C, H, W), how, **options) -> Ranked; how: the estimator of the norms


Values = Callable[[Tensor, Tensor], Tensor]  # (features, norms), (N, F) each -> (N, F)


@dataclass(frozen=True)
class Rule:
    """How a rule ranks the features of images, and `kept(values, live, rate)`, the mask it leaves: all (..., F)."""

    rank: Rank
    kept: Callable[[Tensor, Tensor, float], Tensor]
    small_first: bool = False


def _ranked_by(values: Values) -> Rank:
    def rank(model: Model, images: Tensor, how: str, **options) -> Ranked:
        features, norms = features_and_norms(model, images, how, **options)
        return Ranked(features, norms, values(features, norms))

    return rank


def _ratio(features: Tensor, norms: Tensor) -> Tensor:
    """|r_i| / ||dr_i/dX||; 0 for dead features."""
    return torch.where(norms > 0, features.abs() / norms, 0)


def _reference_ratio(offset: float) -> Values:
    """||dr_i/dX|| / (r_i + offset), signed; 0/0 is NaN."""
    return lambda features, norms: norms / (features + offset)


def _ranked_by_inverse(model: Model, images: Tensor, how: str, **options) -> Ranked:
    """|r_i| ||column i of the Jacobian's pseudo-inverse||; 0 for dead features. Always exact and in float64."""
    with torch.no_grad(), fixed_statistics(model):
        features = model.features(images)
    norms, columns = torch.empty_like(features), torch.empty_like(features)
    for number, image in enumerate(images):
        jacobian = full_jacobian(model, image)
        norms[number], columns[number] = jacobian.norm(dim=1), column_norms_of_inverse(jacobian)[0]
    return Ranked(features, norms, features.abs() * columns)


def _kept_by_count(values: Tensor, live: Tensor, rate: float) -> Tensor:
    """All but the round(rate * live) largest of the live features; of equal ones the lower index goes first."""
    order = torch.where(live, values, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    count = (rate * live.sum(-1, keepdim=True, dtype=torch.float64)).round()
    return order.argsort(dim=-1) >= count


def _kept_by_reference(values: Tensor, live: Tensor, rate: float) -> Tensor:
    """All but those below the percentile of the *signed* values in magnitude; a NaN anywhere keeps all."""
    return ~(values.abs() < percentile(values, rate).unsqueeze(-1))


RULES: dict[str, Rule] = {
    "ratio": Rule(_ranked_by(_ratio), _kept_by_count),
    "inverse": Rule(_ranked_by_inverse, _kept_by_count),
    "reference-notebook": Rule(_ranked_by(_reference_ratio(0.0)), _kept_by_reference, small_first=True),
    "reference-script": Rule(_ranked_by(_reference_ratio(0.1)), _kept_by_reference, small_first=True),
}


# The public face -----------------------------------------------------------------------------------------------------


def feature_scores(model: Model, images: Tensor, rule: str = "ratio", how: str = "exact", **options) -> Tensor:
    """What a rule ranks features by, larger = pruned first. Shape: (N, C, H, W) -> (N, F).

    `ratio` and `inverse` are finite; a feature that does not depend on the image (dead) scores 0 and is never pruned.
    The reference rules prune where |s| is small, so their score is -|s|: 0 for dead features, which go first; -inf
    where r_i + c = 0 for a live one; NaN where both are 0 (c = 0), which turns the defense off.

    Args: rule in `RULES`; how and options: as for `jacobian.feature_norms`.
    Errors: `UnknownName`; `ConfigError` where batch norm is in training mode.
    """
    require_fixed_statistics(model)
    ranked = rank_features(model, images, rule, how, **options)
    return -ranked.values.abs() if RULES[rule].small_first else ranked.values


def rank_features(model: Model, images: Tensor, rule: str, how: str = "exact", **options) -> Ranked:
    """Features, sensitivities and the rule's values, no gradient recorded. Shape: (N, C, H, W) -> (N, F) each."""
    return named("rule", rule, RULES).rank(model, images, how, **options)
