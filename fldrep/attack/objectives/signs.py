"""Whether the signs agree: for updates of which only the signs were sent, or survived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@objective("signs", knows=["mechanism"])
def signs(trial: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The share of the trial's absolute sum that has another sign than was observed; 0 counts as another by half.

    It is 0 where all signs agree, whatever the magnitudes; the cosine with signs is not. Source: this project.
    """
    import torch

    from fldrep.attack.inner_product import dot, to_each

    known = {name: one.sign() for name, one in observed.items()}
    agreed = dot(trial, known)
    whole = sum(trial[name].abs().flatten(1).sum(1) for name in known)
    whole = whole.clamp_min(torch.finfo(whole.dtype).tiny ** 0.25)  # its square is divided by
    half = 0.5 / whole
    share = agreed * half / whole
    derivative = {
        name: to_each(share, one) * trial[name].sign() - to_each(half, one) * one for name, one in known.items()
    }
    return 0.5 - agreed * half, derivative
