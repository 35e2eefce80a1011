"""What rounding at random to levels leaves: each entry lies within one level of what was observed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@objective("intervals", knows=["mechanism"])
def intervals(trial: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Squares of how far entries lie outside one level around the observed, over the squared norm of the observed.

    Levels are apart by at most the smallest magnitude of a tensor that is not 0, so the true gradient has distance 0. A
    tensor that was observed as zeros does not count. Source: this project, for QSGD's rounding.
    """
    import torch

    from fldrep.attack.inner_product import norm, norm2, to_each

    outside = {}
    for name, one in observed.items():
        magnitudes = one.abs()
        step = torch.where(magnitudes > 0, magnitudes, torch.inf).flatten(1).amin(1)
        apart = trial[name] - one
        outside[name] = (apart.abs() - to_each(step, one)).clamp_min(0) * apart.sign()
    scale = norm(observed).square().reciprocal()
    return norm2(outside) * scale, {name: 2 * to_each(scale, one) * one for name, one in outside.items()}
