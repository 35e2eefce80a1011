"""The largest entries of each tensor are sent; what is not sent is kept, and added to the next round's update.

Found in: Stich et al. 2018 (sparsified SGD with memory), arXiv:1809.07599, algorithm 1: g = top_k(m + v), m = m + v -
g; Karimireddy et al. 2019, arXiv:1901.09847, call m the error that is fed back. So what is sent, summed over rounds,
and the memory add up to all that was to be sent. Ours: v is the sum of a round's gradients, without the step size,
which the paper has in it; k is a share of each tensor, at least one entry. `compression` is the same without memory, at
a percentile.
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
    from fldrep.models.model import Model


@defense("top-k")
class TopK(Defense):
    """Send the entries of largest magnitude of each tensor, and feed the error back in the next round."""

    class Settings(Section):
        """How much is held back."""

        rate: Rate = option(..., "share of each tensor's entries that is not sent this round")

    zeros = "all"
    distorts = True  # by what was held back in earlier rounds
    order, colour, marker, line = 21, "#de8f05", "d", "--"
    strengths = ({"rate": 0.5}, {"rate": 0.7}, {"rate": 0.9})

    @property
    def adaptive(self) -> dict[str, Any]:
        """What is left out is smaller than what is sent, in a client's first round."""
        return {**GS_SPECTRAL, "objective": "truncated"}

    def memory(self, model: Model) -> dict[str, Tensor]:
        """Nothing has been held back so far."""
        import torch

        return {name: torch.zeros_like(value) for name, value in model.named_parameters()}

    def on_update(self, update: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """The largest entries of the update and the memory together; the memory is what is left."""
        whole = {name: values + client.memory[name] for name, values in update.items()}
        sent = {name: largest(values, self.settings.rate) for name, values in whole.items()}
        client.memory.update({name: (whole[name] - values)[0].detach() for name, values in sent.items()})
        return sent


def largest(values: Tensor, rate: float) -> Tensor:
    """Values with all but the round((1 - rate) K) largest magnitudes of each row's K at 0; one at least stays.

    Shape: (N, ...) -> same. Of equal magnitudes as many stay as are wanted.
    """
    import torch

    flat = values.reshape(len(values), -1)
    kept = max(1, round((1 - rate) * flat.shape[1]))
    places = flat.abs().topk(kept, dim=1).indices
    return torch.zeros_like(flat).scatter(1, places, flat.gather(1, places)).view_as(values)
