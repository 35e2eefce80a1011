"""Which reconstruction of an update is of which of its images: nothing in an update of several images says.

The truth is used, as it must be, and only to score: the attacker is credited with the best one-to-one assignment.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

NOT_FINITE = 2.0  # the cost of a reconstruction that is no image: more than any mean squared error of valid pixels


def assigned(found: Tensor, originals: Tensor) -> Tensor:
    """The reconstruction set against each original: the assignment of least total MSE over pixels clamped to [0, 1].

    Shapes: found and originals (B, C, H, W), pixels -> (B,) int64, a permutation.
    Source: Kuhn 1955, by `scipy.optimize.linear_sum_assignment`.

    >>> pixels = torch.rand(3, 1, 4, 4)
    >>> assigned(pixels[[2, 0, 1]], pixels)
    tensor([1, 2, 0])
    """
    apart = originals.unsqueeze(1) - found.clamp(0, 1).unsqueeze(0)
    cost = apart.square().flatten(2).mean(2).nan_to_num(nan=NOT_FINITE)
    return torch.from_numpy(linear_sum_assignment(cost.numpy())[1])


def matches(images: Tensor, originals: Tensor, held: int) -> Tensor:
    """Which reconstruction of its update, 0 to held - 1, is set against each target, for every restart by itself.

    Shapes: images (T, R, C, H, W), originals (T, C, H, W), the targets of an update side by side -> (T, R) int64.
    """
    updates = zip(images.split(held), originals.split(held), strict=True)
    return torch.cat([torch.stack([assigned(one, truth) for one in found.unbind(1)], 1) for found, truth in updates])
