"""The network that is trained and attacked under a defense: the config's own, or one that the defense has added to."""

from pathlib import Path

import torch

from fldrep.arguments import refuse
from fldrep.config.defenses import DefenseSettings
from fldrep.config.models import ModelSettings
from fldrep.defenses.defended import defense_of
from fldrep.defenses.defense import Defense, overrides
from fldrep.models.checkpoint import model_for, with_checkpoint
from fldrep.models.model import Model
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import Run


def untrained(run: Run, model: ModelSettings, defense: DefenseSettings, images: ImageSet) -> Model:
    """The network of a run before round 1. What a defense adds is drawn by data set, model and seed, too."""
    drawn = generator("defense's network", run.dataset, run.model, run.seed)
    return network_under(defense_of(defense), model_for(run, model, images), drawn)


def trained(
    run: Run, round: int, model: ModelSettings, defense: DefenseSettings, images: ImageSet, checkpoints: Path | str
) -> Model:
    """The network of a run after a round, in eval mode. Errors: `DataError` for what the checkpoints do not hold."""
    return with_checkpoint(untrained(run, model, defense, images), checkpoints, round)


def network_under(defense: Defense, model: Model, drawn: torch.Generator) -> Model:
    """A network as a defense has everybody use it. Errors: `ConfigError` where the hook gives no such network."""
    if not overrides(defense, "on_network"):
        return model
    training, classes = model.training, model.head.out_features
    found = defense.on_network(model, drawn)
    if not isinstance(found, Model) or found.head.out_features != classes:
        named = f"defense {defense.settings.method!r}: what on_network returns"
        refuse(named, found, f"a Model with {classes} logits")
    return found.train(training)
