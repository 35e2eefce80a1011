"""CENSOR: a random update at right angles to the gradient is sent in its place.

Found in: Zhang et al. 2025 (CENSOR), NDSS, and its code, github.com/KaiyuanZh/censor, defense.py: for each tensor a
normal draw, less its part along the gradient, scaled to the gradient's norm; of `trials` such updates (20 in its
configs) the one is sent that gives the least loss on the client's batch after a step of 1e-4. What differs: the code
takes (x . g / |g|) g off a draw x where a projection is (x . g / |g|^2) g, so its updates are at right angles only to
gradients of norm 1; the paper says orthogonal, which is what is done here. The code starts with no least loss, so some
update is always replaced; so here. A tensor of one entry has no right angle: 0 is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fldrep.config.presets import GS_SPECTRAL
from fldrep.config.section import Positive, Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fldrep.defenses.client import Client


@defense("censor")
class Censor(Defense):
    """Send, of several random updates orthogonal to the gradient, the one that helps most."""

    class Settings(Section):
        """How many updates are tried, and how."""

        trials: Positive = option(20, "random updates of which the best is sent")
        lr: float = option(1e-4, "step size at which they are tried", gt=0)

    distorts = True
    order, colour, marker, line = 70, "#ca9161", "8", "-."
    strengths = ({}, {"trials": 5})

    @property
    def adaptive(self) -> dict[str, Any]:
        """What is sent is orthogonal to the gradient."""
        return {**GS_SPECTRAL, "objective": "orthogonal"}

    def on_step(self, gradient: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """The update of least loss; the gradient itself never leaves."""
        client.require("model", "images", "labels", "generator", by="censor")
        tried = [orthogonal_to(gradient, client.generator) for _ in range(self.settings.trials)]
        losses = [self._loss_after(update, client) for update in tried]
        return tried[min(range(len(tried)), key=losses.__getitem__)]

    def _loss_after(self, update: dict[str, Tensor], client: Client) -> float:
        """The loss of the step's images after a step along an update."""
        import torch

        from fldrep.derivatives.network import fixed_statistics
        from fldrep.functional import functional_call
        from fldrep.models.updates import cross_entropy

        model = client.model
        with torch.no_grad(), fixed_statistics(model):
            weights = {name: one - self.settings.lr * update[name] for name, one in model.named_parameters()}
            logits = functional_call(model, (weights, dict(model.named_buffers())), (client.images,))
            return float(cross_entropy(logits, client.labels))


def orthogonal_to(gradient: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """A random update, each tensor at right angles to the gradient's and as long."""
    import torch

    found = {}
    for name, value in gradient.items():
        drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
        tiny = torch.finfo(value.dtype).tiny
        along = (drawn * value).sum() / value.square().sum().clamp_min(tiny)
        turned = drawn - along * value
        found[name] = turned * (value.norm() / turned.norm().clamp_min(tiny)) * (value.numel() > 1)
    return found
