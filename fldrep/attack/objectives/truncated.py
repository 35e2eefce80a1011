"""What leaving small entries out and limiting large ones tells of the entries that were changed: bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from fldrep.registry import objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Limit = Annotated[float | None, Field(description="magnitude that a defense limits entries to, as is public", gt=0)]


@objective("truncated", knows=["mechanism"])
def truncated(
    trial: Mapping[str, Tensor],
    observed: Mapping[str, Tensor],
    *,
    limit: Limit = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Squared differences to entries as they were sent, and beyond the bounds of others, over the observed squares.

    An entry that was not sent is at most as large as the smallest of its tensor that was; one at the limit is at least
    as large as that. So the true gradient has distance 0. A tensor that was observed as zeros does not count.
    Source: this project, for compression, top-k and NVFlare's percentile filter.
    """
    from fldrep.attack.inner_product import norm, norm2, to_each

    rest = {name: _beyond(trial[name], one, limit) for name, one in observed.items()}
    scale = norm(observed).square().reciprocal()
    return norm2(rest) * scale, {name: 2 * to_each(scale, one) * one for name, one in rest.items()}


def _beyond(trial: Tensor, observed: Tensor, limit: float | None) -> Tensor:
    """How far entries are from what is known of them. Shape: (P, ...) twice -> same."""
    import torch

    from fldrep.attack.inner_product import to_each

    magnitudes = observed.abs()
    smallest = torch.where(magnitudes > 0, magnitudes, torch.inf).flatten(1).amin(1)
    below = (trial.abs() - to_each(smallest, trial)).clamp_min(0) * trial.sign()
    apart = trial - observed
    if limit is not None:
        fits = (magnitudes >= limit * (1 - 1e-6)) & (apart * observed >= 0)
        apart = torch.where(fits, 0, apart)
    return torch.where(observed == 0, below, apart)
