"""Networks built by name, with weights that depend on what is asked for alone."""

import torch
from torch import nn

from fldrep import registry
from fldrep.arguments import check_seed, check_shape, check_text, check_whole, line_of, refuse
from fldrep.config.models import NETWORKS, ModelSettings, model_settings
from fldrep.errors import ConfigError, named
from fldrep.models.initialisation import INITIALISATIONS
from fldrep.models.model import Model, Shape
from fldrep.models.wrapping import wrap


def build_model(
    name: str,
    shape: Shape = (3, 32, 32),
    classes: int = 10,
    *,
    init: str = "default",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    **settings,
) -> Model:
    """A network whose weights depend on its arguments alone; the global random state is left as it was.

    Args: name of a model that is built in or was added by a plug-in; shape (C, H, W) of an image; init: `default`,
    `uniform` or `own`, see the config's `init`; settings: the network's own, such as `width`; one that is None is one
    that is not given.
    Errors: `UnknownName` for a name or an initialisation; `ConfigError` for another argument, or an image too small for
    the network.
    """
    check_text("name", name)
    named("initialisation", init, INITIALISATIONS)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        refuse("dtype", dtype, "a floating-point dtype of torch, such as torch.float32")
    given = {key: value for key, value in settings.items() if value is not None}
    own = NETWORKS.section(name).model_fields.keys() - ModelSettings.model_fields.keys()
    if unknown := sorted(given.keys() - own):
        raise ConfigError(f"{unknown[0]}: no setting of model {name!r}, which takes {', '.join(sorted(own)) or 'none'}")
    asked = model_settings(name, init=init, **given)
    return network_of(asked, check_shape(shape), check_whole("classes", classes, 1), check_seed(seed), dtype)


def network_of(
    settings: ModelSettings, shape: Shape, classes: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Model:
    """The network of a config's section, in training mode.

    What draws weights in the network's own code is seeded; convolutions and linear layers are then drawn anew, in their
    order, as `init` says.
    Errors: `UnknownName` for the architecture; `ConfigError` where it does not take such images or lacks a last layer.
    """
    name = settings.architecture
    build, initialise = registry.value("model", name), named("initialisation", settings.init, INITIALISATIONS)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            made = build(shape, classes, **settings.own)
        except RuntimeError as error:
            told = line_of(error)
            raise ConfigError(f"model {name!r} does not take images of shape {tuple(shape)}: {told}") from None
        try:
            model = wrap(made, shape).to(dtype)
        except ConfigError as error:
            raise ConfigError(f"model {name!r}: {error}") from None
    if model.head.out_features != classes:
        raise ConfigError(
            f"model {name!r} gives {model.head.out_features} logits where {classes} classes are asked for"
        )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                initialise(module.weight, module.bias, generator)
    return model.train()
