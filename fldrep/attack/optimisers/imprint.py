"""An active server: it sends a network by whose gradient it reads the images off. Nothing is optimised.

Source: Fowl et al. 2022, "Robbing the Fed", arXiv:2110.13057.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep.config.section import Positive, Section, option
from fldrep.registry import optimiser

if TYPE_CHECKING:
    from torch import Tensor

    from fldrep.attack.problem import Outcome, Problems, Progress
    from fldrep.config.attacks import AttackSettings
    from fldrep.models.model import Model


@optimiser("imprint", server="active", whole=True, needs=["one-step", "public-images"], knows=["public-images"])
class Imprint:
    """Put an imprint module in front of the network, and read its gradient."""

    class Settings(Section):
        """The module."""

        units: Positive = option(64, "thresholds; images of one update that lie between different ones are told apart")
        gain: float = option(1.0, "how many times as large the gradient of the units is, against noise", gt=0)

    def sent_network(self, model: Model, public: Tensor, settings: AttackSettings) -> Model:
        """The network that the server sends to its clients. Args: public: images (M, C, H, W)."""
        from fldrep.attack.imprint import with_imprint

        return with_imprint(model, public, settings.units, settings.gain)

    def solve(self, problems: Problems, settings: AttackSettings, progress: Progress) -> Outcome:
        """Read the images of each update. Nothing is moved, so the initial distance is that of what is read.

        Errors: `ConfigError` where the network has no such module.
        """
        import torch

        from fldrep.attack.imprint import BIAS, WEIGHT, Imprint, images_in
        from fldrep.attack.problem import Outcome, finite
        from fldrep.errors import ConfigError

        module = next((one for one in problems.observation.model.modules() if isinstance(one, Imprint)), None)
        if module is None:
            raise ConfigError("model: attack 'imprint' needs the network that its server sends: attack.active")
        update = problems.observation.rows(list(range(len(problems.images))))
        thresholds = module.thresholds.double()
        each = problems.images.shape[1]
        found = [images_in(*one, thresholds, each) for one in zip(update[WEIGHT], update[BIAS], strict=True)]
        images = torch.stack(found).view_as(problems.images).to(problems.images)
        images = problems.normalisation.clamp(images)
        progress.advance(settings.iterations)
        distance, _, _ = problems.match(images, problems.soft_labels)
        steps = torch.full_like(distance, settings.iterations, dtype=torch.long)
        return Outcome(images, problems.labels, distance, distance, finite(distance), steps)
