"""Networks with one face: `features(images) -> r`, the representation the last layer sees, and `head`, that layer.

LeNet and ConvNet are those of the DLG notebook (github.com/mit-han-lab/dlg) and of the GS code
(github.com/JonasGeiping/invertinggradients); the second names one of its nine convolutions twice, so it has eight.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fldrep.errors import ConfigError, named
from fldrep.grid import Run
from fldrep.imageset import ImageSet
from fldrep.normalisation import Normalisation, normalisation_for
from fldrep.seeds import job_seed
from fldrep.settings import ModelSettings


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


def _lenet(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for incoming, stride in ((channels, 2), (12, 2), (12, 1), (12, 1)):
        layers += [nn.Conv2d(incoming, 12, kernel_size=5, stride=stride, padding=2), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Flatten())


def _convnet(channels: int, width: int = 64) -> nn.Sequential:
    layers: list[nn.Module] = []
    incoming = channels
    for times in (1, 2, 2, 4, 4, 4, None, 4, 4, None):
        if times is None:
            layers.append(nn.MaxPool2d(3))
            continue
        layers += [
            nn.Conv2d(incoming, times * width, kernel_size=3, padding=1),
            nn.BatchNorm2d(times * width),
            nn.ReLU(),
        ]
        incoming = times * width
    return nn.Sequential(*layers, nn.Flatten())


def _softmax(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten())


def _resnet18(channels: int) -> nn.Sequential:
    """torchvision's ResNet-18 without its last layer; He et al. 2016, arXiv:1512.03385."""
    from torchvision.models import resnet18

    whole = resnet18()
    if channels != 3:
        whole.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    for module in whole.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # in-place changes do not go with per-update gradients
    return nn.Sequential(*list(whole.children())[:-1], nn.Flatten())


ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "lenet": _lenet,
    "convnet": _convnet,
    "resnet18": _resnet18,
    "softmax": _softmax,
}


def _init_default(weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """PyTorch's own: uniform within 1/sqrt(fan in), for weights and biases."""
    bound = 1 / math.sqrt(weight[0].numel())
    for values in (weight, bias):
        if values is not None:
            values.uniform_(-bound, bound, generator=generator)


def _init_uniform(weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """Every weight and bias uniform in (-0.5, 0.5), as in the DLG notebook."""
    for values in (weight, bias):
        if values is not None:
            values.uniform_(-0.5, 0.5, generator=generator)


INITIALISATIONS = {"default": _init_default, "uniform": _init_uniform}


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


def model_for(run: Run, settings: ModelSettings, images: ImageSet) -> Model:
    """The untrained network of a run; its weights depend on data set, model and seed: never on the defense."""
    return build_model(
        settings.architecture,
        images.shape,
        images.classes,
        init=settings.init,
        seed=job_seed("weights", run.dataset, run.model, run.seed),
        width=settings.width,
    )


def input_of(run: Run, settings: ModelSettings, images: ImageSet) -> Normalisation:
    """What the network of a run takes: images normalised with the data set's constants, or pixels."""
    return normalisation_for(images.shape[0], run.dataset if settings.normalisation == "dataset" else "none")
