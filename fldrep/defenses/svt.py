"""NVFlare's filter by the sparse vector technique: some entries, picked and sent with noise.

Found in: `SVTPrivacy` of NVFlare (nvflare/app_common/filters/svt_privacy.py, its newer version), after Lyu et al. 2017,
"Understanding the Sparse Vector Technique", arXiv:1603.01699, algorithm 7. Of D entries c = ceil(fraction D) are
wanted. With Laplace noise of scale b, Lap(b):
- threshold tau + Lap(2 gamma / epsilon), drawn once;
- an entry, limited to a magnitude of gamma, is accepted where this + Lap(4 gamma c / epsilon_2) reaches the threshold,
  epsilon_2 = epsilon (2 c)^(2/3); those not accepted are asked again, until c are accepted;
- c of the accepted are drawn, with replacement unless `replace` is false; these are sent as the entry + Lap(2 gamma /
  noise_var), limited to [-gamma, gamma], all others as 0. With replacement some are drawn twice, so fewer than c
  arrive.
With the scales as they stand the technique would cost epsilon + epsilon_2 + c noise_var an update (`nominal_epsilon`).
But entries are limited only after their noise was added, so one value may move what is sent by any amount: NVFlare's
filter guarantees nothing, which `privacy` says.
What differs: as for the percentile filter, gamma and tau are in units of the sum of gradients that is sent here. After
`PASSES` passes what is missing is taken by largest noisy score; NVFlare's loop goes on, without an end where tau cannot
be reached.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fldrep.config.presets import GS_SPECTRAL
from fldrep.config.section import Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fldrep.defenses.client import Client

PASSES = 100


@defense("svt")
class SVT(Defense):
    """Send a share of the entries, picked by noisy comparison, with Laplace noise, limited."""

    class Settings(Section):
        """NVFlare's arguments, by their names."""

        fraction: float = option(0.1, "share of all entries that is drawn to be sent", gt=0, le=1)
        epsilon: float = option(0.1, "of the threshold; that of the comparisons follows from it", gt=0)
        noise_var: float = option(0.1, "of each answer: its noise has the scale 2 gamma / noise_var", gt=0)
        gamma: float = option(1e-5, "largest magnitude that is sent", unit="gradient entries", gt=0)
        tau: float = option(1e-6, "threshold before its noise", unit="gradient entries", ge=0)
        replace: bool = option(True, "whether accepted entries are drawn with replacement, so that fewer are sent")

    zeros = "all"
    distorts = True
    order, colour, marker, line = 41, "#fbafe4", "H", ":"
    strengths = (
        {"fraction": 1.0, "epsilon": 1e5, "noise_var": 1e5, "gamma": 1.0},
        {"fraction": 0.5, "epsilon": 1e3, "noise_var": 1e3, "gamma": 0.1},
        {},
    )

    @property
    def adaptive(self) -> dict[str, Any]:
        """The signs of what is sent."""
        return {**GS_SPECTRAL, "objective": "signs", "compares": "surviving"}

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """Each client's update, all its tensors as one vector."""
        import torch

        client.require("generator", by="svt")
        flat = torch.cat([values.reshape(len(values), -1) for values in update.values()], 1)
        sent = torch.stack([self._answers(row, client.generator) for row in flat])
        parts = sent.split([values[0].numel() for values in update.values()], 1)
        return {name: part.view_as(update[name]) for name, part in zip(update, parts, strict=True)}

    def wanted(self, entries: int) -> int:
        """How many entries are drawn, c."""
        return min(math.ceil(entries * self.settings.fraction), entries)

    def nominal_epsilon(self, entries: int) -> float:
        """What the technique would cost an update, were entries limited before their noise: pure, at delta 0."""
        count = self.wanted(entries)
        return self.settings.epsilon * (1 + (2 * count) ** (2 / 3)) + count * self.settings.noise_var

    def privacy(self, run: dict[str, Any]) -> list[dict[str, Any]]:
        """No guarantee; the nominal epsilon in words."""
        nominal = self.nominal_epsilon(run["entries"])
        told = f"no guarantee: entries are limited after noise, not before; nominally epsilon {nominal:.4g} an update"
        return [{"server": server, "guarantee": told} for server in ("each-update", "sum-only")]

    def _answers(self, values: Tensor, generator: torch.Generator) -> Tensor:
        """What is sent of one client's entries. Shape: (D,) -> (D,)."""
        import torch

        gamma, count = self.settings.gamma, self.wanted(len(values))
        accepted = self._accepted(values.clamp(-gamma, gamma).abs(), count, generator)
        if self.settings.replace:
            places = accepted[torch.randint(len(accepted), (count,), generator=generator).to(accepted.device)].unique()
        else:
            places = accepted[torch.randperm(len(accepted), generator=generator)[:count].to(accepted.device)]
        noise = laplace(values[places], 2 * gamma / self.settings.noise_var, generator)
        sent = torch.zeros_like(values)
        sent[places] = (values[places] + noise).clamp(-gamma, gamma)
        return sent

    def _accepted(self, magnitudes: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """The places of at least `count` entries that reached the threshold. Shape: (D,) -> (accepted,)."""
        import torch

        gamma, epsilon = self.settings.gamma, self.settings.epsilon
        threshold = self.settings.tau + laplace(magnitudes[:1], 2 * gamma / epsilon, generator)
        scale = 4 * gamma * count / (epsilon * (2 * count) ** (2 / 3))
        found, left = [], torch.arange(len(magnitudes), device=magnitudes.device)
        for number in range(PASSES):
            missing = count - sum(map(len, found))
            if missing <= 0:
                break
            score = magnitudes[left] + laplace(magnitudes[left], scale, generator)
            above = score >= threshold
            if number == PASSES - 1:
                above = torch.zeros_like(above).index_fill(0, score.topk(missing).indices, True)
            found.append(left[above])
            left = left[~above]
        return torch.cat(found)


def laplace(like: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Independent Laplace draws of a scale, of a tensor's shape, dtype and device: differences of two exponentials."""
    import torch

    one, other = (torch.empty(like.shape, dtype=like.dtype).exponential_(generator=generator) for _ in range(2))
    return (scale * (one - other)).to(like.device)
