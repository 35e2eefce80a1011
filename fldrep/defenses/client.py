"""What a client knows when a hook of its defense runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fldrep.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fldrep.models.model import Model
    from fldrep.models.normalisation import Normalisation


@dataclass
class Client:
    """What a client knows of one update; a defense names what it lacks.

    `images` (B, C, H, W), the network's input, and `labels` (B,) are those of the step under way, or of the whole
    update; `features` (B, F) is the representation of the step, where a step has been taken. `model` is the network at
    the weights that the step starts from. `generator` draws what the defense draws. `step` counts local steps from 0.
    `training`: in federated training, where a defense may estimate what it computes exactly before an attack.
    `normalisation`: between the network's input and pixels. `memory` is the defense's own, {name: tensor}, kept for the
    client from round to round; change it in place.
    """

    model: Model | None = None
    images: Tensor | None = None
    labels: Tensor | None = None
    generator: torch.Generator | None = None
    features: Tensor | None = None
    step: int = 0
    training: bool = False
    memory: dict[str, Tensor] = field(default_factory=dict)
    normalisation: Normalisation | None = None

    def require(self, *names: str, by: str) -> None:
        """Errors: `ConfigError` naming what `by` needs and the client was not given."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise ConfigError(f"{by} needs {', '.join(missing)}, which was not given")
