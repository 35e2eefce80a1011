"""What an update tells that is orthogonal to the gradient, tensor by tensor, and as long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@objective("orthogonal", knows=["mechanism"])
def orthogonal(trial: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over tensors of the squared cosine and of the squared relative difference of lengths.

    Two numbers a tensor, no more: it is what an attacker knows for sure who knows CENSOR. A tensor that was observed as
    zeros does not count. Source: this project.
    """
    import torch

    from fldrep.attack.inner_product import to_each

    distance, derivative = 0, {}
    for name, one in observed.items():
        axes = tuple(range(1, one.ndim))
        tiny = torch.finfo(one.dtype).tiny ** 0.25
        length, wanted = (torch.linalg.vector_norm(it, dim=axes) for it in (trial[name], one))
        counts = (wanted > 0).to(one) / len(observed)
        length, wanted = length.clamp_min(tiny), wanted.clamp_min(tiny)
        cosine, excess = (trial[name] * one).sum(axes) / (length * wanted), length / wanted - 1
        distance = distance + counts * (cosine.square() + excess.square())
        by_one = 2 * counts * cosine / (length * wanted)
        by_trial = 2 * counts * (excess / (length * wanted) - (cosine / length).square())
        derivative[name] = to_each(by_one, one) * one + to_each(by_trial, one) * trial[name]
    return distance, derivative
