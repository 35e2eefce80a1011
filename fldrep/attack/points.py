"""The unknowns of problems as vectors: images, and the logits of soft labels where labels are not fixed."""

from collections.abc import Callable

import torch
from torch import Tensor

from fldrep.attack.problem import Problems


def flat_points(problems: Problems) -> Tensor:
    """The initial points of all that is optimised, (P, D)."""
    free = [problems.images, problems.logits] if problems.labels is None else [problems.images]
    return torch.cat([one.flatten(1) for one in free], 1)


def flat_objective(problems: Problems) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Distance with regularisers (P,), and its derivative (P, D), at flat points (P, D)."""
    fixed = None if problems.labels is None else problems.soft_labels

    def objective(points: Tensor) -> tuple[Tensor, Tensor]:
        images, logits = parts_of(problems, points)
        soft = logits.softmax(-1) if fixed is None else fixed
        distance, by_image, by_soft = problems.match(images, soft)
        value, by_image = problems.regularised(images, distance, by_image)
        if fixed is not None:
            return value, by_image.flatten(1)
        by_logits = soft * (by_soft - (soft * by_soft).sum(-1, keepdim=True))
        return value, torch.cat([by_image.flatten(1), by_logits.flatten(1)], 1)

    return objective


def flat_distance(problems: Problems, points: Tensor) -> Tensor:
    """The distance alone (P,) at flat points (P, D)."""
    images, logits = parts_of(problems, points)
    return problems.match(images, logits.softmax(-1) if problems.labels is None else problems.soft_labels)[0]


def parts_of(problems: Problems, points: Tensor) -> tuple[Tensor, Tensor | None]:
    """Images (P, B, C, H, W) and logits (P, B, classes) of flat points; None where labels are fixed."""
    size = problems.images[0].numel()
    images = points[:, :size].view_as(problems.images)
    return images, points[:, size:].view_as(problems.logits) if problems.labels is None else None
