"""The squared difference, each tensor in units of its own entries: small tensors count as much as large ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@objective("balanced-l2", squares=True)
def balanced_l2(trial: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared differences over the mean square of their tensor's entries that are not 0, as a mean over all of these.

    A gradient of zeros has distance 1. A tensor that was observed as zeros does not count.
    """
    counts = {name: (one != 0).flatten(1).sum(1) for name, one in observed.items()}
    whole = sum(counts.values()).clamp_min(1)
    distance, derivative = 0, {}
    for name, one in observed.items():
        squares = one.square().flatten(1).sum(1)
        weight = (counts[name] / (squares * whole)).nan_to_num(0, 0, 0)
        apart = trial[name] - one
        distance = distance + weight * apart.square().flatten(1).sum(1)
        derivative[name] = 2 * weight.view(-1, *[1] * (one.ndim - 1)) * apart
    return distance, derivative
