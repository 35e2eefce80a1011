"""The squared difference up to a scale: for updates that were clipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@objective("scaled-l2", needs=["clip"], knows=["mechanism"])
def scaled_l2(trial: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The squared difference to the observed gradient once the trial is scaled as fits it best.

    |s|^2 - <g, s>^2 / |g|^2 for a trial g and observed s; the scale <g, s> / |g|^2 is never taken below 0.
    """
    from fldrep.attack.inner_product import dot, norm, to_each

    length = norm(trial)
    scale = (dot(trial, observed) / length.square()).clamp_min(0)
    distance = norm(observed).square() - (scale * length).square()
    derivative = {
        name: 2 * to_each(scale, one) * (to_each(scale, one) * trial[name] - one) for name, one in observed.items()
    }
    return distance, derivative
