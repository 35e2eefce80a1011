"""The squared difference of the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.registry import objective

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


@objective("l2", squares=True)
def l2(trial: Mapping[str, Tensor], observed: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The plain sum of squared differences. Source: Zhu et al. 2019 (DLG), arXiv:1906.08935."""
    from fldrep.attack.inner_product import norm2

    apart = {name: trial[name] - one for name, one in observed.items()}
    return norm2(apart), {name: 2 * one for name, one in apart.items()}
