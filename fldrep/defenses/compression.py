"""Gradient compression: only the large entries of each tensor are sent.

Source: Lin et al. 2018, arXiv:1712.01887, without its momentum and error feedback; as a defense: Zhu et al. 2019,
arXiv:1906.08935.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fldrep.config.presets import GS_SPECTRAL
from fldrep.config.section import Rate, Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.defenses.client import Client


@defense("compression")
class Compression(Defense):
    """Zero, in each tensor, the entries whose magnitude lies below the percentile `rate`."""

    class Settings(Section):
        """How much is pruned."""

        rate: Rate = option(..., "share of each tensor's entries that is pruned")

    zeros = "all"
    order, colour, marker, line = 20, "#de8f05", "s", "--"
    strengths = ({"rate": 0.4}, {"rate": 0.6}, {"rate": 0.8})

    @property
    def adaptive(self) -> dict[str, Any]:
        """What is left out is smaller than what is sent."""
        return {**GS_SPECTRAL, "objective": "truncated"}

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """The large entries of each client's tensors."""
        return {name: largest_entries(values, self.settings.rate) for name, values in update.items()}


def largest_entries(values: Tensor, rate: float) -> Tensor:
    """Values with those zeroed whose magnitude lies below the percentile of their row. Shape: (N, ...) -> same.

    Args: rate in [0, 1], the share to zero. An entry at the percentile is kept.
    """
    from fldrep.defenses.quantile import percentile

    kept = values.clone()
    for one in kept:  # row by row: the order statistics need as much memory again as what they look at
        magnitudes = one.abs()
        one[magnitudes < percentile(magnitudes.flatten(), rate)] = 0
    return kept
