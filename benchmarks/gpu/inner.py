"""All that the evidence uses of the package beyond its Python face: where the package moves, only this file follows."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

import fldrep
from fldrep.attack import Reconstruction, attack_named, attack_settings
from fldrep.data.partition import iid
from fldrep.defenses.soteria import rates_of_update
from fldrep.devices import device_for, device_words
from fldrep.errors import DataError, FLDRepError
from fldrep.files import written_beside
from fldrep.imageset import ImageSet, as_pixels
from fldrep.models import Model
from fldrep.normalisation import normalisation_for
from fldrep.presets import ATTACK_PRESETS
from fldrep.provenance import commit, machine, memory, versions
from fldrep.records import Table
from fldrep.reference import PHOTO_MSE
from fldrep.report.evidence_folder import FIGURE, PICTURES, RECORD, csv_text, publish_evidence
from fldrep.report.evidence_tables import AGREEMENT, CIFAR10, MEASURED, PHOTO, SPEED, TABLES
from fldrep.seeds import generator, job_seed
from fldrep.settings import RULES, DefenseSettings, TrainSettings
from fldrep.tensors import read_tensors, write_tensors
from fldrep.train.fedavg import TrainedRun, train

__all__ = [
    "AGREEMENT",
    "ATTACK_PRESETS",
    "CIFAR10",
    "FIGURE",
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
    "attack",
    "commit",
    "csv_text",
    "device_for",
    "device_words",
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
    "written_beside",
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
    return attack_named(preset)(
        model,
        update,
        labels,
        attack_settings(preset, iterations=iterations),
        shape=model.shape,
        normalisation=normalisation_for(model.shape[0]),
        draw=lambda number, restart: start(number),
        chunk=len(labels),
        progress=progress,
        compile=compile,
    )


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
    count = len(labels)
    return fldrep.reconstruct(
        model, update, labels, preset, iterations, seed, chunk=count, progress=progress, compile=compile
    )


def trained(model: Model, images: ImageSet, clients: int, rounds: int, lr: float) -> TrainedRun:
    """FedAvg without a defense, all clients in every round, one epoch in batches of 32; kept: round 0 and the last."""
    settings = TrainSettings(rounds=rounds, checkpoints=[0, rounds], fraction=1.0, lr=lr)
    shards: Sequence[Tensor] = iid(images.train_labels, clients, generator("evidence", "deal"))
    return train(
        model,
        images,
        shards,
        settings,
        DefenseSettings(),
        normalisation=normalisation_for(images.shape[0]),
        identity=("cifar10", "evidence", "iid", 0),
        defense_name="none",
    )
