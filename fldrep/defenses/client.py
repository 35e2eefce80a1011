"""What a client knows when it defends its update."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fldrep.errors import ConfigError
from fldrep.models.model import Model
from fldrep.models.updates import LocalSteps


@dataclass(frozen=True)
class Client:
    """The model, images and labels behind N updates, the generator of the client's own noise, and its local steps.

    Shapes: images (N, C, H, W) with labels (N,), or (N, B, C, H, W) with (N, B). `local` is None where an update is one
    gradient. A defense names what it lacks.
    """

    model: Model | None = None
    images: Tensor | None = None
    labels: Tensor | None = None
    generator: torch.Generator | None = None
    local: LocalSteps | None = None

    def require(self, *names: str, by: str) -> None:
        """Errors: `ConfigError` naming what `by` needs and the client was not given."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise ConfigError(f"{by} needs {', '.join(missing)}, which was not given")
