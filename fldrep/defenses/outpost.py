"""OUTPOST: pruning, and Gaussian noise where the gradient is large, as much as the layer's weights are spread.

Found in: Wang, Hugh and Li 2023, "More than Enough is Too Much: Adaptive Defenses against Gradient Leakage in
Production Federated Learning", INFOCOM, by its code in Plato (github.com/TL-System/plato,
examples/gradient_leakage_attacks: defense/Outpost/perturb.py, dlg_trainer.py, README), with its values beta 0.125, phi
40, prune 80, noise 0.8. At iteration i of a client the step's gradient is perturbed with probability 1 / (1 + beta i):
- a tensor's risk is the variance of its weights, 1 at most;
- its Fisher information is the mean over its first axis of the squared gradient; the phi per cent of all tensors'
  entries of this that are largest get noise;
- entries below the percentile `prune` of their tensor become 0, then N(0, (risk noise)^2) is added where noise is due.
What differs: in the version of the code found, what `noise` computes is not returned, so nothing is perturbed; here it
is. i counts the client's steps in a round from 1, as the code does within an epoch (it multiplies by the epoch's
number). The paper's text was not at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.config.section import Rate, Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.defenses.client import Client


@defense("outpost")
class Outpost(Defense):
    """Prune, and add noise by risk to the entries that matter most; rarer with each local step."""

    class Settings(Section):
        """How often, where and how strongly."""

        beta: float = option(0.125, "how fast perturbation becomes rare: its probability is 1 / (1 + beta i)", ge=0)
        phi: float = option(40.0, "per cent of the Fisher information's entries that get noise", ge=0, le=100)
        prune: Rate = option(0.8, "share of each tensor's entries that is pruned")
        noise: float = option(0.8, "standard deviation of the noise where a tensor's risk is 1", ge=0)

    zeros = "all"
    distorts = True
    order, colour, marker, line = 71, "#949494", "p", "-."
    strengths = ({"noise": 0.1, "prune": 0.5}, {})

    def on_step(self, gradient: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """The gradient, perturbed or, by chance, as it is."""
        import torch

        client.require("model", "generator", by="outpost")
        if float(torch.rand((), generator=client.generator)) >= 1 / (1 + self.settings.beta * (client.step + 1)):
            return gradient
        return self.perturbed(gradient, client)

    def perturbed(self, gradient: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """The gradient, pruned, with noise."""
        import torch

        from fldrep.defenses.compression import largest_entries
        from fldrep.defenses.quantile import percentile

        weights, found = dict(client.model.named_parameters()), {}
        information = {name: value.square().mean(0) for name, value in gradient.items()}
        least = percentile(torch.cat([one.flatten() for one in information.values()]), 1 - self.settings.phi / 100)
        for name, value in gradient.items():
            drawn = torch.randn(value.shape, generator=client.generator, dtype=value.dtype).to(value.device)
            risky = self.settings.noise * risk_of(weights[name].detach()) * (information[name] >= least)
            found[name] = largest_entries(value.unsqueeze(0), self.settings.prune)[0] + risky * drawn
        return found


def risk_of(weight: Tensor) -> Tensor:
    """The variance of a tensor's weights, 1 at most, and 0 of a single one. Shape: (...) -> ()."""
    return weight.var().clamp_max(1) if weight.numel() > 1 else weight.new_zeros(())
