"""PRECODE: a variational bottleneck in front of the last layer, so that the gradients behind it are random.

Found in: Scheliga, Mäder and Seeland 2022, arXiv:2108.04725, and in the module VariationalBottleneck of their later
code (Convolutional Variational Bottlenecks, arXiv:2309.04515): a linear encoder to 2 K numbers, K = 256, the standard
deviation by a softplus; a sample mean + std * noise; a linear decoder back to the representation's size; beta = 1e-3
times the divergence from a standard normal law, in bits, added to the loss. What is ours: weights are drawn as
PyTorch draws them; the noise comes from the client's own seeds; the test accuracy is that of the mean, without noise.

Known to fail: the gradients below the bottleneck are not hidden. Balunović et al. 2022 (arXiv:2111.04706; their code
divides the first linear layer's weight gradient by its bias gradient) read the image of a fully connected network off
exactly; Scheliga et al. 2022b (arXiv:2208.04767) leave the random gradients out of a descent. Here both are one key of
an attack, `below_linear`: the encoder is a linear layer with a bias, so its own gradient tells the representation that
it was given and what came back through it, noise and all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fldrep.config.section import Positive, Section, option
from fldrep.defenses.defense import Defense
from fldrep.registry import defense

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from fldrep.defenses.client import Client
    from fldrep.models.model import Model


@defense("precode")
class Precode(Defense):
    """Send the gradient of a network that draws behind its representation."""

    class Settings(Section):
        """The size of the bottleneck, and the weight of its divergence."""

        width: Positive = option(256, "normal laws that the bottleneck draws from", source="K of VariationalBottleneck")
        beta: float = option(
            1e-3, "weight of the divergence in the loss", ge=0, unit="nats a bit", source="VariationalBottleneck"
        )

    order, colour, marker, line = 85, "#56b4e9", "H", "-"

    @property
    def adaptive(self) -> dict[str, Any]:
        """What lies below the bottleneck's own linear layer is exact."""
        return {"preset": "closed-form-below"}

    def on_network(self, model: Model, generator: Generator) -> Model:
        """With the bottleneck between body and head."""
        from torch import nn

        from fldrep.models.initialisation import default
        from fldrep.models.model import Model
        from fldrep.models.sampling import Sampled

        features, width = model.head.in_features, self.settings.width
        encoder, decoder = nn.Linear(features, 2 * width), nn.Linear(width, features)
        for layer in (encoder, decoder):
            default(layer.weight.data, layer.bias.data, generator)
        body = [*model.body] if isinstance(model.body, nn.Sequential) else [model.body]
        bottleneck = nn.Sequential(*body, encoder, Sampled(self.settings.beta), decoder)
        return Model(bottleneck.to(model.head.weight), model.head, model.shape)

    def on_batch(self, images: Tensor, labels: Tensor, client: Client) -> tuple[Tensor, Tensor]:
        """Draw the noise of the step."""
        import torch

        client.require("model", "generator", by="precode")
        layer = self._sampled(client.model)
        drawn = torch.randn(len(images), self.settings.width, generator=client.generator, dtype=torch.float64)
        layer.noise = drawn.to(client.model.head.weight)
        return images, labels

    def on_step(self, gradient: dict[str, Tensor], client: Client) -> dict[str, Tensor]:
        """Forget the noise."""
        self._sampled(client.model).noise = None
        return gradient

    def _sampled(self, model: Model):
        from fldrep.errors import ConfigError
        from fldrep.models.sampling import Sampled

        found = [one for one in model.modules() if isinstance(one, Sampled)]
        if not found:
            own = "fldrep.defended_model(model, 'precode')"
            raise ConfigError(f"model: defense 'precode' needs its own network, as of {own}")
        return found[0]
