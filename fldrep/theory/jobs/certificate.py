"""The certificate job: theorem 1 on the reconstructions of one attack job."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fldrep.config.jobs import CertificateJob
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of
from fldrep.defenses.defense import Defense
from fldrep.defenses.networks import trained
from fldrep.errors import ConfigError, DataError
from fldrep.machine.progress import log_each
from fldrep.models.checkpoint import input_of
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_WEIGHT
from fldrep.storage.imageset import ImageSet
from fldrep.storage.places import Block
from fldrep.storage.tensors import read_tensors
from fldrep.tables.certificate import CERTIFICATE
from fldrep.theory.certificate import certificate_rows


def certificate_job(
    where: Block,
    job: CertificateJob,
    images: Path,
    checkpoints: Path,
    reconstructions: Path,
    certificate: Path,
    code: str = "",
) -> None:
    """Table `certificate` of one attack job's reconstructions.

    Errors: `ConfigError` for a defense that prunes no feature; `DataError` for reconstructions of other targets.
    """
    run = where.run
    defense = defense_of(job.defense)
    if defense.zeros != "head":
        raise ConfigError(f"defense {run.defense!r} leaves r as it is: there is nothing to certify; Soteria prunes r")
    data = ImageSet.read(images)
    model = trained(run, where.round, job.model, job.defense, data, checkpoints)
    to_input = input_of(job.model, data).to_input
    kept = read_tensors(reconstructions, ["originals", "images", "labels"])
    originals, found = to_input(kept["originals"]), to_input(kept["images"])
    if len(originals) != len(job.targets):
        raise DataError(f"{reconstructions}: holds {len(originals)} targets, expected {len(job.targets)}")
    masks = kept_features(model, originals, kept["labels"], defense)
    box = to_input(torch.zeros_like(originals[:1])), to_input(torch.ones_like(originals[:1]))
    progress = partial(log_each, desc="certificate", unit="restart")
    rows = certificate_rows(model, originals, found, masks, points=job.certificate.points, box=box, progress=progress)
    names = {"round": where.round, "update_kind": where.update_kind, "attack": where.attack}
    shared = {**run.columns(job.defense), **names, "code": code}
    CERTIFICATE.write([{**shared, **row, "target": job.targets[row["target"]]} for row in rows], certificate)


def kept_features(model: Model, images: Tensor, labels: Tensor, defense: Defense) -> Tensor:
    """The features whose column of the last gradient is sent. Shapes: (N, C, H, W), (N,) -> (N, F) bool."""
    sent = [
        defended_update(defense, Client(model, image[None], label[None]))[HEAD_WEIGHT][0]
        for image, label in zip(images, labels, strict=True)
    ]
    return torch.stack([(gradient != 0).any(0) for gradient in sent])
