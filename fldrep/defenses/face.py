"""`fldrep.defend` and `fldrep.defended_model`: a client's defense from Python."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fldrep.arguments import check_keywords, check_seed, check_text, check_update, refuse
from fldrep.config.defenses import defense_settings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_gradient, defense_of
from fldrep.defenses.networks import network_under
from fldrep.models.face import clients_of, constants_for, steady, with_inner_names, with_own_names
from fldrep.models.model import Model
from fldrep.models.normalisation import BY_CHANNELS, Normalisation
from fldrep.models.updates import Update
from fldrep.seeds import generator


def defend(
    update: Mapping[str, Tensor],
    method: str,
    *,
    model: nn.Module | None = None,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    normalisation: str | Normalisation | None = None,
    seed: int = 0,
    **settings: Any,
) -> Update:
    """The update as a client sends it under a defense; the update given is left as it was.

    Shapes: update {name: (N, *shape)} -> same; images (N, C, H, W) with labels (N,), or (N, B, C, H, W) with (N, B).
    Args: method: the name of a defense; model: as for `client_update`; normalisation: as for `reconstruct`; settings:
    what it takes in the config's `defenses` section, such as rate in [0, 1], or std and clip in the gradient's units;
    None is as if not given; seed: of what the defense draws.
    Errors: `UnknownName` for the method; `ConfigError` naming an argument that is missing, not used, or out of range.
    """
    check_keywords(settings, {"pruned": "prune", "train_scores": "norm_estimator"})
    given = {key: value for key, value in settings.items() if value is not None}
    defense = defense_of(defense_settings(check_text("method", method), **given))
    taken = None
    if images is not None and model is not None:
        single = images.ndim == 4
        taken, images, labels = clients_of(model, images, labels)
        images, labels = (images[:, None], None if labels is None else labels[:, None]) if single else (images, labels)
    elif model is not None:
        taken = steady(model)
    update = check_update(update) if taken is None else with_inner_names(taken, update)
    clients = len(next(iter(update.values())))
    if images is not None and len(images) != clients:
        refuse("images", tuple(images.shape), f"one for each of the {clients} updates")
    constants = constants_fitting(images, normalisation)
    drawn, sent = generator("noise", method, check_seed(seed)), []
    for number in range(clients):
        own = [None if values is None else values[number] for values in (images, labels)]
        client = Client(taken, *own, generator=drawn, normalisation=constants)
        one = {name: value[number : number + 1] for name, value in update.items()}
        sent.append(defended_gradient(defense, client, one))
    joined = {name: torch.cat([one[name] for one in sent]) for name in sent[0]}
    whole = Update(joined, defense.zeros, defense.distorts)
    return whole if taken is None else with_own_names(taken, whole)


def defended_model(
    model: nn.Module, method: str, *, shape: tuple[int, int, int] | None = None, seed: int = 0, **settings: Any
) -> Model:
    """The network that is trained under a defense: a copy of the one given, with the layers that the defense adds.

    Args: as for `defend`; shape (C, H, W) where the model does not say it; seed: of the weights of what is added.
    Errors: as for `defend`.
    """
    defense = defense_of(defense_settings(check_text("method", method), **settings))
    taken = copy.deepcopy(steady(model, shape))
    return network_under(defense, taken, generator("defense's network", method, check_seed(seed)))


def constants_fitting(images: Tensor | None, asked: str | Normalisation | None) -> Normalisation | None:
    """The constants asked for, or those that fit the channels of images (..., C, H, W), where some do."""
    if images is None or (asked is None and images.shape[-3] not in BY_CHANNELS):
        return None
    return constants_for(images.shape[-3], asked)
