"""`fldrep.defend`: a client's defense from Python."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fldrep.config.defenses import defense_settings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_gradient, defense_of
from fldrep.models.model import Model
from fldrep.models.updates import Update, as_batches
from fldrep.seeds import generator


def defend(
    update: Mapping[str, Tensor],
    method: str,
    *,
    model: Model | None = None,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
    **settings: Any,
) -> Update:
    """The update as a client sends it under a defense; the update given is left as it was.

    Shapes: update {name: (N, *shape)} -> same; images (N, C, H, W) with labels (N,), or (N, B, C, H, W) with (N, B).
    Args: method: the name of a defense; settings: what it takes in the config's `defenses` section, such as rate in
    [0, 1], or std and clip in the gradient's units; None is as if not given; seed: of what the defense draws.
    Errors: `UnknownName` for the method; `ConfigError` naming an argument that is missing, not used, or out of range.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    defense = defense_of(defense_settings(method, **given))
    drawn = generator("noise", method, seed)
    if images is not None:
        single = images.ndim == 4
        images, _ = as_batches(images, images.new_zeros(len(images)))
        labels = labels.unsqueeze(1) if single and labels is not None else labels
    sent = []
    for number in range(len(next(iter(update.values())))):
        own = [None if values is None else values[number] for values in (images, labels)]
        client = Client(model, *own, generator=drawn)
        one = {name: value[number : number + 1] for name, value in update.items()}
        sent.append(defended_gradient(defense, client, one))
    return Update({name: torch.cat([one[name] for one in sent]) for name in sent[0]}, defense.zeros)
