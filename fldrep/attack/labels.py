"""Labels as the attacker has them: given, read from the gradient of the last layer, or left to the optimiser."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fldrep.attack.observation import Observation
from fldrep.errors import AttackRefused, ConfigError
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT


def labels_for(strategy: str, observation: Observation) -> Tensor | None:
    """The labels of each update, (N, B), or None where the optimiser is to find them.

    Args: strategy: `known`, `inferred` or `optimised`; the observation's own labels are read only by `known`.
    Errors: `ConfigError` where labels are to be known and are not, or do not fit the updates; `AttackRefused` where
    they cannot be inferred.
    """
    if strategy == "optimised":
        return None
    count, batch = observation.count(), observation.images or 1
    if strategy == "inferred":
        steps = 1 if observation.local is None else observation.local.gradients(batch)
        return inferred_labels(observation.model, observation.update, batch, steps)
    if observation.labels is None:
        raise ConfigError("labels: none given, but the attack takes them as known; give them, or infer labels")
    labels = observation.labels.reshape(len(observation.labels), -1)
    if labels.shape != (count, batch):
        found = tuple(labels.shape)
        raise ConfigError(f"labels: shape {found}, expected ({count},) or ({count}, images an update)")
    return labels


def inferred_labels(model: Model, update: Mapping[str, Tensor], batch: int = 1, steps: float = 1) -> Tensor:
    """The labels of each update, in ascending order. Shape: {name: (N, *shape)} -> (N, B).

    For one image it is the only class whose logit the gradient wants to raise: the gradient of the last bias is
    softmax - onehot, negative at the true class alone. Without a bias the sums of the rows of the last weight's
    gradient have the same signs where features are not negative (ReLU, sigmoid). Source: Zhao et al. 2020 (iDLG),
    arXiv:2001.02610. For several images see `inferred_counts`, of the mean of the gradients that an update sums up.
    """
    if batch == 1:
        evidence = update[HEAD_BIAS] if HEAD_BIAS in update else update[HEAD_WEIGHT].sum(-1)
        return evidence.argmin(1, keepdim=True)
    head = {name: update[name] / steps for name in (HEAD_WEIGHT, HEAD_BIAS) if name in update}
    counts = inferred_counts(model, head, batch)
    return torch.stack([torch.arange(counts.shape[1], device=counts.device).repeat_interleave(one) for one in counts])


def inferred_counts(model: Model, update: Mapping[str, Tensor], batch: int) -> Tensor:
    """How many images of each class an update holds. Shape: {name: (N, *shape)} -> (N, classes), rows sum to B.

    The gradient of the last bias is the mean softmax less the classes' shares. The mean softmax is taken to be that
    of the mean representation, which the rows of the classes present give: sum of dL/dW over sum of dL/db, over the
    classes where dL/db is negative. (The softmax from the gradient itself: Ma et al. 2023, arXiv:2110.09074.)
    Errors: `AttackRefused` where the last layer has no bias.
    """
    if HEAD_BIAS not in update:
        raise AttackRefused(
            f"labels 'inferred' of {batch} images an update are read from {HEAD_BIAS}, which is missing"
        )
    grad_logits = update[HEAD_BIAS]
    present = (grad_logits < 0).to(grad_logits.dtype)
    total = (present * grad_logits).sum(1, keepdim=True).clamp_max(-torch.finfo(grad_logits.dtype).tiny)
    mean_features = (present[:, :, None] * update[HEAD_WEIGHT]).sum(1) / total
    with torch.no_grad():
        mean_softmax = model.head(mean_features.to(model.head.weight)).softmax(-1).to(grad_logits)
    return whole_shares((mean_softmax - grad_logits).clamp_min(0), batch)


def whole_shares(shares: Tensor, total: int) -> Tensor:
    """Whole numbers in proportion to shares that sum to `total`, by largest remainder. Shape: (N, K) -> (N, K), int64.

    Shares that are all 0 say nothing: the whole numbers are then as even as can be.

    >>> whole_shares(torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 0.0]]), 4).tolist()
    [[2, 1, 1], [2, 1, 1]]
    """
    shares = torch.where(shares.sum(1, keepdim=True) > 0, shares, torch.ones_like(shares))
    exact = shares * total / shares.sum(1, keepdim=True)
    whole = exact.floor()
    left = total - whole.sum(1, keepdim=True)
    rank = (exact - whole).argsort(dim=1, descending=True, stable=True).argsort(1)
    return (whole + (rank < left)).long()
