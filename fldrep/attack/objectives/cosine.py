"""Which way the gradient points, and not how long it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@objective("cosine")
def cosine(trial: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """1 - cosine over all tensors jointly. Source: Geiping et al. 2020, arXiv:2003.14053.

    A gradient that is zero everywhere has distance 1.
    """
    import torch

    from fldrep.attack.inner_product import dot, norm, to_each

    length = norm(trial)
    scale = 1 / (length * norm(observed))
    alike = dot(trial, observed) * scale
    pull = alike / length.square()
    derivative = {
        name: torch.addcmul(to_each(pull, one) * trial[name], to_each(scale, one), one, value=-1)
        for name, one in observed.items()
    }
    return 1 - alike, derivative
