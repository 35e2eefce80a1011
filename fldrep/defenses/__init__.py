"""Defenses: what a client does to its update before it leaves.

Found by method and imported on use, so that an update under one does not depend on another.
"""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType

from torch import Tensor

from fldrep.config.defenses import DEFENSE_MODULES, DefenseSettings
from fldrep.config.reading import parse_section
from fldrep.defenses.client import Client
from fldrep.errors import named
from fldrep.models.model import Model
from fldrep.models.updates import Update
from fldrep.seeds import generator

Defense = Callable[[Update, DefenseSettings, Client], Update]


def defense_named(method: str) -> Defense:
    """The defense of a method: (update, settings, client) -> update. Errors: `UnknownName`."""
    return defense_module(method).DEFENSES[method]


def defense_module(method: str) -> ModuleType:
    """The module of a method, for what it offers beside its defense. Errors: `UnknownName`."""
    return import_module(named("defense", method, DEFENSE_MODULES))


def defend(
    update: Mapping[str, Tensor],
    method: str,
    *,
    rate: float | None = None,
    rule: str | None = None,
    std: float | None = None,
    clip: float | None = None,
    prune: str | None = None,
    model: Model | None = None,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
) -> Update:
    """The update as a client sends it under a defense; the update given is left as it was.

    Shapes: update {name: (N, *shape)} -> same; images (N, C, H, W) with labels (N,), or (N, B, C, H, W) with (N, B).
    Args: method in `DEFENSE_MODULES`; rate in [0, 1]; std and clip in the gradient's units; seed of the noise. Each
    method takes what it takes in the config's `defenses` section.
    Errors: `UnknownName` for the method; `ConfigError` naming an argument that is missing, not used, or out of range.
    """
    run = defense_named(method)
    given = {"rate": rate, "rule": rule, "std": std, "clip": clip, "prune": prune}
    settings = parse_section(DefenseSettings, json.dumps({"method": method, **given}, default=str))
    drawn = generator("noise", method, seed)
    return run(Update(update), settings, Client(model, images, labels, drawn))
