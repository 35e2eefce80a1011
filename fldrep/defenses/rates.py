"""What columns of the last gradient that are zero remove: features, and their share of the representation's norm."""

import torch
from torch import Tensor

from fldrep.derivatives.jacobian import live_features
from fldrep.derivatives.network import fixed_statistics
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_WEIGHT, Update, as_batches


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
    live_pruned = (alive & pruned).sum(1) / alive.sum(1).clamp_min(1)
    return live_pruned, (energy * pruned).sum(1) / energy.sum(1).clamp_min(tiny)


def rates_of_update(update: Update, model: Model, images: Tensor) -> tuple[Tensor, Tensor]:
    """Effective rates of updates as sent: a column of the last layer that is zero throughout counts as pruned.

    Shapes: update {name: (N, *shape)}, images (N, C, H, W) or (N, B, C, H, W) -> live_pruned (N,), norm2_removed (N,).
    """
    batches, _ = as_batches(images, images.new_zeros(len(images)))
    flat = batches.flatten(0, 1)
    with torch.no_grad(), fixed_statistics(model):
        features = model.features(flat).view(*batches.shape[:2], -1)
    live = live_features(model, flat).view_as(features)
    return effective_rates(features, live, (update[HEAD_WEIGHT] != 0).any(1))
