"""NVFlare's percentile filter: small entries are left out, and large ones are limited.

Found in: `PercentilePrivacy` of NVFlare (nvflare/app_common/filters/percentile_privacy.py, an older and a newer
version), which names Shokri and Shmatikov 2015, "Privacy-preserving deep learning". The percentile is one for all
tensors together. Entries whose magnitude lies below it become 0, the others are limited to [-gamma, gamma]; defaults
10 and 0.01. Single numbers (tensors without an axis) are left alone. It adds nothing random, so it guarantees
nothing. What differs: NVFlare filters weight differences divided by their number of local steps. Here the update is
the sum of the steps' gradients: a gamma of theirs is gamma * steps / lr here. The percentile does not mind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fldrep.config.presets import GS_SPECTRAL
from fldrep.config.section import Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.defenses.client import Client


@defense("percentile")
class PercentileFilter(Defense):
    """Zero what lies below a percentile of all entries, and limit the others' magnitudes."""

    class Settings(Section):
        """What is left out, and what is limited."""

        percentile: float = option(10.0, "percentile of all magnitudes below which an entry is not sent", ge=0, le=100)
        gamma: float = option(0.01, "largest magnitude that is sent", unit="gradient entries", gt=0)

    zeros = "all"
    distorts = True
    order, colour, marker, line = 22, "#ece133", "P", "--"
    strengths = (
        {"percentile": 10.0, "gamma": 1.0},
        {"percentile": 50.0, "gamma": 0.1},
        {"percentile": 10.0, "gamma": 0.01},
    )

    @property
    def adaptive(self) -> dict[str, Any]:
        """What is left out is small, what is limited large, and the limit is public."""
        return {**GS_SPECTRAL, "objective": "truncated", "limit": self.settings.gamma}

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """Each client's update, by a percentile of its own."""
        import torch

        from fldrep.defenses.quantile import percentile

        magnitudes = torch.cat([values.abs().reshape(len(values), -1) for values in update.values()], 1)
        cutoff = percentile(magnitudes, self.settings.percentile / 100)
        return {name: self._filtered(values, cutoff) for name, values in update.items()}

    def _filtered(self, values: Tensor, cutoff: Tensor) -> Tensor:
        if values.ndim == 1:  # one number a client
            return values
        kept = values.abs() >= cutoff.view(-1, *[1] * (values.ndim - 1))
        return values.clamp(-self.settings.gamma, self.settings.gamma) * kept
