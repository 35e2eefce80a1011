"""All that the evidence uses of the package beyond its Python face: where the package moves, only this file follows."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

import fldrep
from fldrep.analysis.published import PHOTO_MSE
from fldrep.atomic import atomic_write
from fldrep.attack.attacker import carry_out
from fldrep.attack.engine import Work
from fldrep.attack.observation import Observation, public_zeros
from fldrep.attack.reconstruction import Reconstruction
from fldrep.config.attacks import AttackSettings, attack_settings, evaluations_of, members_of
from fldrep.config.defenses import defense_settings
from fldrep.config.parts import words
from fldrep.config.presets import ATTACK_PRESETS
from fldrep.config.train import TrainSettings
from fldrep.data.partition import iid
from fldrep.defenses.rates import rates_of_update
from fldrep.defenses.soteria.rules import RULES
from fldrep.errors import DataError, FLDRepError
from fldrep.machine.devices import device_for, device_words
from fldrep.machine.origin import commit, machine, memory, versions
from fldrep.models.model import Model
from fldrep.models.normalisation import normalisation_for
from fldrep.report.evidence_folder import FIGURE, PICTURES, RECORD, csv_text, publish_evidence
from fldrep.report.evidence_tables import AGREEMENT, CIFAR10, MEASURED, PHOTO, SPEED, TABLES
from fldrep.seeds import generator, job_seed
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.storage.tensors import read_tensors, write_tensors
from fldrep.tables.table import Table
from fldrep.train.fedavg import TrainedRun, train


def _in_float64(settings: AttackSettings) -> bool:
    """Whether an attack, or a member of it, computes in float64 whatever the network does."""
    return any(words("optimiser", one.optimiser).get("float64") for one in (settings, *members_of(settings).values()))


def _asks_for_more(settings: AttackSettings) -> bool:
    """Whether an attack needs public images, statistics of a batch, or a linear layer in front of the last.

    The clients here send no statistics, and the networks have no such layer.
    """
    return bool({"public-images", "statistics", "inner-linear"} & set(settings.needs))


# The attacks that compute in the precision of the network: the others solve for the image, which takes minutes.
GRADIENT_ATTACKS = sorted(
    preset
    for preset in ATTACK_PRESETS
    if not _in_float64(attack_settings(preset)) and not _asks_for_more(attack_settings(preset))
)

__all__ = [
    "AGREEMENT",
    "CIFAR10",
    "FIGURE",
    "GRADIENT_ATTACKS",
    "MEASURED",
    "PHOTO",
    "PHOTO_MSE",
    "PICTURES",
    "RECORD",
    "RULES",
    "SPEED",
    "TABLES",
    "DataError",
    "FLDRepError",
    "ImageSet",
    "Model",
    "Table",
    "as_pixels",
    "atomic_write",
    "attack",
    "attack_settings",
    "commit",
    "csv_text",
    "device_for",
    "device_words",
    "evaluations_of",
    "generator",
    "job_seed",
    "machine",
    "memory",
    "normalisation_for",
    "publish_evidence",
    "rates_of_update",
    "read_tensors",
    "reconstruct",
    "trained",
    "versions",
    "write_tensors",
]


def attack(
    model: Model,
    update: Mapping[str, Tensor],
    labels: Tensor,
    preset: str,
    iterations: int,
    *,
    start: Callable[[int], torch.Generator],
    progress: Callable | None = None,
    compile: str = "never",
) -> Reconstruction:
    """`fldrep.reconstruct` of all updates at once, where updates may share a start: start(number of the update)."""
    observation = Observation(
        model=model,
        update=update,
        labels=labels,
        shape=model.shape,
        normalisation=normalisation_for(model.shape[0]),
        draw=lambda number, restart: start(number),
        zeros=public_zeros(update, None),
        batch=None,
        local=None,
    )
    return carry_out(observation, attack_settings(preset, iterations=iterations), Work(len(labels), compile, progress))


def reconstruct(
    model: Model,
    update: Mapping[str, Tensor],
    labels: Tensor,
    preset: str,
    iterations: int,
    *,
    seed: int = 0,
    progress: Callable | None = None,
    compile: str = "never",
) -> Reconstruction:
    """`fldrep.reconstruct` of all updates at once."""
    work = {"problems_at_once": len(labels), "progress": progress, "compile": compile}
    return fldrep.reconstruct(model, update, labels, preset, iterations, seed, **work)


def trained(model: Model, images: ImageSet, clients: int, rounds: int, lr: float) -> TrainedRun:
    """FedAvg without a defense, all clients in every round, one epoch in batches of 32; kept: round 0 and the last."""
    settings = TrainSettings(rounds=rounds, checkpoints=[0, rounds], fraction=1.0, lr=lr)
    shards: Sequence[Tensor] = iid(images.train_labels, clients, generator("evidence", "deal"))
    return train(
        model,
        images,
        shards,
        settings,
        defense_settings(),
        normalisation=normalisation_for(images.shape[0]),
        identity=("cifar10", "evidence", "iid", 0),
        defense_name="none",
    )
