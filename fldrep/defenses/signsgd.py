"""Only the sign of each entry is sent.

Found in: Bernstein et al. 2018 (signSGD), arXiv:1802.04434: clients send sign(g), one bit an entry, and the server
takes the majority's; Karimireddy et al. 2019, arXiv:1901.09847: scaled by the mean magnitude of its tensor, sign(g) is
a compressed gradient. Here the server averages what clients send, as it does under every defense, and takes no
majority. Ours: the sign of an entry that is exactly 0 is 0, which tells an attacker so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fldrep.config.presets import GS_SPECTRAL
from fldrep.config.section import Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.defenses.client import Client


@defense("signsgd")
class SignSGD(Defense):
    """The sign of each entry, times one magnitude for all, or the mean magnitude of its tensor."""

    class Settings(Section):
        """How large a sign is."""

        magnitude: Literal["one", "mean"] = option(
            "mean", "what signs are multiplied by: `scale` alone, or `scale` times the `mean` magnitude of their tensor"
        )
        scale: float = option(1.0, "factor on what is sent", gt=0)

    distorts = True
    order, colour, marker = 50, "#d55e00", "^"

    @property
    def adaptive(self) -> dict[str, Any]:
        """The signs, and no magnitudes."""
        return {**GS_SPECTRAL, "objective": "signs"}

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """The signs of each client's tensors."""
        return {name: values.sign() * self._magnitude(values) for name, values in update.items()}

    def _magnitude(self, values: Tensor) -> Tensor | float:
        if self.settings.magnitude == "one":
            return self.settings.scale
        return self.settings.scale * values.abs().reshape(len(values), -1).mean(1).view(-1, *[1] * (values.ndim - 1))
