"""Soteria: prune the features of the last layer's input that tell most about the image.

Source: Sun et al. 2021, arXiv:2012.06043, and its code (github.com/jeremy313/Soteria), whose two variants are the rules
`reference-notebook` and `reference-script`, quirks included. README.md in this folder tells the rules apart.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fldrep.defenses.client import Client
from fldrep.defenses.inverse import column_norms_of_inverse
from fldrep.defenses.jacobian import features_and_norms, fixed_statistics, full_jacobian, live_features
from fldrep.defenses.percentile import percentile
from fldrep.errors import ConfigError, named
from fldrep.gradients import (
    HEAD_WEIGHT,
    LocalSteps,
    Update,
    as_batches,
    client_update,
    cross_entropy,
    require_fixed_statistics,
)
from fldrep.models import Model
from fldrep.settings import DefenseSettings


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


def training_mask(model: Model, images: Tensor, settings: DefenseSettings, generator: torch.Generator) -> Tensor:
    """One mask for a local step, from the estimator `settings.train_scores`. Shape: (B, C, H, W) -> (F,) bool.

    No gradient is recorded. Batch norm uses its running statistics, whatever its mode, and is left as it was. The rule
    `inverse` has no estimator: it takes the whole Jacobian of every image.
    """
    options = {"generator": generator, "directions": 16} if settings.train_scores == "jvp" else {}
    return update_masks(model, images.unsqueeze(0), settings.rate, settings.rule, settings.train_scores, **options)[0]


def rank_features(model: Model, images: Tensor, rule: str, how: str = "exact", **options) -> Ranked:
    """Features, sensitivities and the rule's values, no gradient recorded. Shape: (N, C, H, W) -> (N, F) each."""
    return named("rule", rule, RULES).rank(model, images, how, **options)


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


def effective_rates(features: Tensor, live: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What a mask really does: share of the live features pruned, and share of ||r||^2 removed; 0 where there is none.

    Shapes: features and live (N, F), or (N, B, F) for updates of B images; mask (N, F) or (F,) -> (N,), (N,).

    >>> r, live = torch.tensor([[3.0, 4.0, 0.0]]), torch.tensor([[True, True, False]])
    >>> effective_rates(r, live, torch.tensor([[True, False, False]]))
    (tensor([0.5000]), tensor([0.6400]))
    """
    batched = features if features.ndim == 3 else features.unsqueeze(1)
    alive = (live if live.ndim == 3 else live.unsqueeze(1)).any(1)
    pruned = ~mask.expand_as(alive)
    energy = batched.square().sum(1)
    tiny = torch.finfo(energy.dtype).tiny
    live_rate = (alive & pruned).sum(1) / alive.sum(1).clamp_min(1)
    return live_rate, (energy * pruned).sum(1) / energy.sum(1).clamp_min(tiny)


def mask_agreement(kept: Tensor, other: Tensor) -> Tensor:
    """Share of what one mask prunes that the other prunes too; 1 where it prunes nothing. Shape: (..., F) -> (...).

    >>> mask_agreement(torch.tensor([False, False, True]), torch.tensor([True, False, False]))
    tensor(0.5000)
    """
    pruned = (~kept).sum(-1)
    return torch.where(pruned > 0, (~kept & ~other).sum(-1) / pruned.clamp_min(1), 1.0)


def rates_of_update(update: Update, model: Model, images: Tensor) -> tuple[Tensor, Tensor]:
    """Effective rates of updates as sent: a column of the last layer that is zero throughout counts as pruned.

    Shapes: update {name: (N, *shape)}, images (N, C, H, W) or (N, B, C, H, W) -> live_rate (N,), energy_removed (N,).
    """
    batches, _ = as_batches(images, images.new_zeros(len(images)))
    flat = batches.flatten(0, 1)
    with torch.no_grad(), fixed_statistics(model):
        features = model.features(flat).view(*batches.shape[:2], -1)
    live = live_features(model, flat).view_as(features)
    return effective_rates(features, live, (update[HEAD_WEIGHT] != 0).any(1))


# The defense ---------------------------------------------------------------------------------------------------------


def prune_update(update: Update, settings: DefenseSettings, client: Client) -> Update:
    """Prune the columns that the rule names, one mask an update: of the gradient, or of the representation itself.

    `pruned="gradient"` zeroes the columns of the last layer's weight gradient, and leaves all else as it is.
    `pruned="representation"` computes the gradients anew with r' = mask * r, the mask a constant: the logits, their
    error and every lower gradient change, and through a pruned feature nothing flows back. The update given is then
    not read, so it must be the plain gradient of these images. Nor is it where the client does several local steps:
    each is then pruned by itself, at the weights it starts from, and the update is anew their sum.
    """
    client.require("model", "images", "labels", by="soteria")
    require_fixed_statistics(client.model)
    images, labels = as_batches(client.images, client.labels)
    if client.local is not None:
        sums = [pruned_steps(client.model, *one, settings, client.local) for one in zip(images, labels, strict=True)]
        return Update({name: torch.stack([one[name] for one in sums]) for name in update}, settings.defended_layers)
    kept = update_masks(client.model, images, settings.rate, settings.rule)
    if settings.pruned == "representation":
        return Update(masked_gradients(client.model, images, labels, kept), settings.defended_layers)
    return Update(with_columns(update, kept), settings.defended_layers)


def pruned_steps(
    model: Model, images: Tensor, labels: Tensor, settings: DefenseSettings, local: LocalSteps
) -> dict[str, Tensor]:
    """The sum of a client's local gradients, each pruned by a mask of its own at the weights it starts from.

    Shapes: images (B, C, H, W), labels (B,) -> {name: shape of the parameter}. The model is left as it was.
    """
    moved, total = copy.deepcopy(model), {}
    for step in local.batches(len(images)):
        client = Client(moved, images[step].unsqueeze(0), labels[step].unsqueeze(0))
        pruned = prune_update(client_update(moved, client.images, client.labels), settings, client)
        with torch.no_grad():
            for name, value in moved.named_parameters():
                value.sub_(pruned[name][0], alpha=local.lr)
                total[name] = total.get(name, 0) + pruned[name][0]
    return total


def with_columns(update: Update, kept: Tensor) -> dict[str, Tensor]:
    """The update with the pruned columns of the last layer's weight at zero. Shape of kept: (N, F) or (F,)."""
    masked = update[HEAD_WEIGHT] * kept.to(update[HEAD_WEIGHT].dtype).unsqueeze(-2)
    return {**update, HEAD_WEIGHT: masked}


class MaskedModel(nn.Module):
    """The model with its representation multiplied by a mask."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, mask: Tensor) -> Tensor:
        """Logits of r' = mask * r. Shapes: (B, C, H, W), (F,) -> (B, classes)."""
        return self.model.head(self.model.features(images) * mask)


def masked_gradients(model: Model, images: Tensor, labels: Tensor, kept: Tensor) -> dict[str, Tensor]:
    """The gradient of each update's mean loss with r' = mask * r.

    Shapes: images (N, B, C, H, W), labels (N, B), kept (N, F) -> {name: (N, *shape)}.
    """
    masked = MaskedModel(model)
    parameters = {name: value.detach() for name, value in masked.named_parameters()}
    buffers = dict(masked.named_buffers())

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor, mask: Tensor) -> Tensor:
        return cross_entropy(functional_call(masked, (weights, buffers), (image, mask)), label)

    found = vmap(grad(loss), in_dims=(None, 0, 0, 0))(parameters, images, labels, kept.to(images.dtype))
    return {name.removeprefix("model."): value.detach() for name, value in found.items()}


def _require_share(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ConfigError(f"rate={rate} is not in [0, 1]")


DEFENSES = {"soteria": prune_update}
