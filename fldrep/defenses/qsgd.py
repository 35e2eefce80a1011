"""Each entry is rounded at random to one of a few levels, so that the mean stays what it was.

Found in: Alistarh et al. 2017 (QSGD), arXiv:1610.02132, section 3.1: with s levels, v_i is sent as |v| sgn(v_i) xi_i,
where |v_i| / |v| lies in [l / s, (l + 1) / s], and xi_i is (l + 1) / s with probability |v_i| s / |v| - l, else l / s.
It is unbiased, and its variance is at most min(n / s^2, root(n) / s) |v|^2 for n entries (lemma 3.1). The norm, the
signs and the levels are sent. Ours: a vector is a tensor of the update, where the paper's experiments cut tensors into
buckets. They take the largest magnitude in place of the L2 norm, which is the setting `norm: max`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fldrep.config.presets import GS_SPECTRAL
from fldrep.config.section import Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fldrep.defenses.client import Client


@defense("qsgd")
class QSGD(Defense):
    """Round each entry at random to one of `levels` magnitudes above 0, unbiased."""

    class Settings(Section):
        """How coarse the levels are."""

        levels: int = option(..., "levels above 0, s: a magnitude is rounded to a multiple of norm / s", ge=1, le=2**20)
        norm: Literal["l2", "max"] = option("l2", "norm of a tensor that its levels are fractions of")

    distorts = True
    order, colour, marker, line = 60, "#56b4e9", "<", "--"
    strengths = ({"levels": 16}, {"levels": 4}, {"levels": 1})

    @property
    def adaptive(self) -> dict[str, Any]:
        """An entry is not far from its level."""
        return {**GS_SPECTRAL, "objective": "intervals"}

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """Each client's tensors, rounded."""
        client.require("generator", by="qsgd")
        size = {"l2": lambda flat: flat.norm(dim=1), "max": lambda flat: flat.abs().amax(1)}[self.settings.norm]
        return {
            name: rounded(values, size(values.reshape(len(values), -1)) / self.settings.levels, client.generator)
            for name, values in update.items()
        }


def rounded(values: Tensor, step: Tensor, generator: torch.Generator) -> Tensor:
    """Values rounded at random, up or down, to multiples of the step of their row, so that the mean stays.

    Shapes: (N, ...), (N,) -> (N, ...). A step of 0 leaves zeros.
    """
    import torch

    step = step.view(-1, *[1] * (values.ndim - 1))
    place = (values / step).nan_to_num(0, 0, 0)  # a row of zeros has a step of 0
    drawn = torch.empty(values.shape, dtype=values.dtype).uniform_(generator=generator)
    return (place + drawn.to(values.device)).floor() * step
