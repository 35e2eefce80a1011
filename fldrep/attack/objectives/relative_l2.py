"""The squared difference in units of what was observed: what Gaussian noise on it calls for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@objective("relative-l2", squares=True, knows=["noise"])
def relative_l2(trial: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The squared difference over the squared norm of the observed gradient."""
    from fldrep.attack.inner_product import norm, norm2, to_each

    apart = {name: trial[name] - one for name, one in observed.items()}
    scale = norm(observed).square().reciprocal()
    return norm2(apart) * scale, {name: to_each(scale, one) * (2 * one) for name, one in apart.items()}
