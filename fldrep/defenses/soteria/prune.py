"""Soteria on a client's update: columns of the last gradient, or the representation itself."""

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fldrep.config.defenses import DefenseSettings
from fldrep.defenses.client import Client
from fldrep.defenses.soteria.masks import update_masks
from fldrep.models.model import Model
from fldrep.models.updates import (
    HEAD_WEIGHT,
    LocalSteps,
    Update,
    as_batches,
    client_update,
    cross_entropy,
    require_fixed_statistics,
)

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
    if settings.prune == "representation":
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


DEFENSES = {"soteria": prune_update}
