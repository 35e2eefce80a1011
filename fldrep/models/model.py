"""Networks with one face: `features(images) -> r`, the representation the last layer sees, and `head`, that layer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fldrep.errors import ConfigError, named
from fldrep.models.convnet import convnet
from fldrep.models.initialisation import INITIALISATIONS
from fldrep.models.lenet import lenet
from fldrep.models.resnet18 import resnet18
from fldrep.models.softmax import softmax


class Model(nn.Module):
    """A body that turns images into features and a linear head that turns features into logits.

    `shape` is the (C, H, W) of the images it was built for, where that is known.
    """

    def __init__(self, body: nn.Module, head: nn.Linear, shape: tuple[int, int, int] | None = None):
        super().__init__()
        self.shape = shape
        self.body = body
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """The representation r in front of the last layer. Shape: (N, C, H, W) -> (N, F)."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits. Shape: (N, C, H, W) -> (N, classes)."""
        return self.head(self.features(images))


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "lenet": lenet,
    "convnet": convnet,
    "resnet18": resnet18,
    "softmax": softmax,
}


def build_model(
    name: str,
    shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    *,
    init: str = "default",
    seed: int = 0,
    width: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Model:
    """A network whose weights depend on its arguments alone; the global random state is left as it was.

    Args: name in `ARCHITECTURES`; shape (C, H, W) of an image; width: channels of ConvNet's first convolution (64).
    Errors: `UnknownName` for a name or an initialisation; `ConfigError` for a width that has no meaning or an image too
    small for the network.
    """
    build = named("model", name, ARCHITECTURES)
    initialise = named("initialisation", init, INITIALISATIONS)
    if width is not None and name != "convnet":
        raise ConfigError(f"width={width} belongs to model 'convnet', not to {name!r}")
    if width is not None and width < 1:
        raise ConfigError(f"width: {width}: expected a whole number above 0")
    with torch.random.fork_rng(devices=[]):
        body = build(shape[0]) if width is None else build(shape[0], width)
        try:
            with torch.no_grad():
                features = body.eval()(torch.zeros(1, *shape)).shape[1]
        except RuntimeError as error:
            raise ConfigError(f"model {name!r} does not take images of shape {tuple(shape)}: {error}") from None
        model = Model(body, nn.Linear(features, classes), tuple(shape)).to(dtype)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                initialise(module.weight, module.bias, generator)
    return model.train()
