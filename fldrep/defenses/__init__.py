"""Defenses: what a client does to its update before it leaves."""

import json
from collections.abc import Callable, Mapping

from torch import Tensor

from fldrep.defenses.client import Client
from fldrep.defenses.compression import compress
from fldrep.defenses.noise import add_gaussian, add_laplace
from fldrep.defenses.soteria import prune_update
from fldrep.errors import named
from fldrep.gradients import Update
from fldrep.models import Model
from fldrep.seeds import generator
from fldrep.settings import DefenseSettings, parse_section

Defense = Callable[[Update, DefenseSettings, Client], Update]


def _send_as_is(update: Update, settings: DefenseSettings, client: Client) -> Update:
    return Update(update, settings.defended_layers)


DEFENSES: dict[str, Defense] = {
    "none": _send_as_is,
    "soteria": prune_update,
    "compression": compress,
    "gaussian": add_gaussian,
    "laplace": add_laplace,
}


def defend(
    update: Mapping[str, Tensor],
    method: str,
    *,
    rate: float | None = None,
    rule: str | None = None,
    std: float | None = None,
    clip: float | None = None,
    pruned: str | None = None,
    model: Model | None = None,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    seed: int = 0,
) -> Update:
    """The update as a client sends it under a defense; the update given is left as it was.

    Shapes: update {name: (N, *shape)} -> same; images (N, C, H, W) with labels (N,), or (N, B, C, H, W) with (N, B).
    Args: method in `DEFENSES`; rate in [0, 1]; std and clip in the gradient's units; seed of the noise. Each method
    takes what it takes in the config's `defenses` section.
    Errors: `UnknownName` for the method; `ConfigError` naming an argument that is missing, not used, or out of range.
    """
    named("defense", method, DEFENSES)
    given = {"rate": rate, "rule": rule, "std": std, "clip": clip, "pruned": pruned}
    settings = parse_section(DefenseSettings, json.dumps({"method": method, **given}, default=str))
    drawn = generator("noise", method, seed)
    return DEFENSES[method](Update(update), settings, Client(model, images, labels, drawn))
