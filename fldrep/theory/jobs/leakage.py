"""The leakage job: how well representations and labels are read from updates at one checkpoint."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fldrep.config.jobs import LeakageJob
from fldrep.defenses.networks import trained
from fldrep.errors import DataError
from fldrep.machine.progress import log_each
from fldrep.models.checkpoint import input_of
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.storage.places import Checkpoint, Run
from fldrep.tables.leakage import LEAKAGE
from fldrep.tables.shards import SHARDS
from fldrep.theory.leakage import leakage_rows


def leakage_job(
    where: Checkpoint, job: LeakageJob, images: Path, shards: Path, checkpoints: Path, leakage: Path, code: str = ""
) -> None:
    """Table `leakage` of one checkpoint. A batch is of one client's images, and smaller ones are its beginnings.

    Clients and images are drawn by data set, partition, batch and seed: every model, defense and round meets the same.
    Errors: `DataError` where no client holds a batch.
    """
    run, round = where.run, where.round
    data, settings = ImageSet.read(images), job.leakage
    model = trained(run, round, job.model, job.defense, data, checkpoints)
    normalisation = input_of(job.model, data)
    to_input = normalisation.to_input
    most, held = max(settings.batch_sizes), SHARDS.read(shards)
    drawn = [client_batch(held, run, batch, most, shards) for batch in range(settings.batches)]
    positions = torch.cat([images_held for _, images_held in drawn])
    public = slice(settings.public_images)
    rows = leakage_rows(
        model,
        to_input(as_pixels(data.train_images[positions])),
        data.train_labels[positions],
        job.defense,
        public=(to_input(as_pixels(data.test_images[public])), data.test_labels[public]),
        batch_sizes=settings.batch_sizes,
        batches=settings.batches,
        draw=lambda batch, size: torch.arange(batch * most, batch * most + size),
        noise=lambda batch, size: generator("leakage noise", *vars(run).values(), round, batch, size),
        progress=partial(log_each, desc="leakage", unit="batch"),
        normalisation=normalisation,
    )
    shared = {**run.columns(job.defense), "round": round, "code": code}
    LEAKAGE.write([{**shared, **row, "client": drawn[row["batch"]][0]} for row in rows], leakage)


def client_batch(held: pd.DataFrame, run: Run, batch: int, most: int, path: Path) -> tuple[int, Tensor]:
    """A client with enough images for the largest batch, and that many of them, in a shuffled order."""
    sizes = held.groupby("client").size()
    able = sorted(sizes[sizes >= most].index)
    if not able:
        raise DataError(f"{path}: no client holds {most} images, the largest batch; the fullest has {sizes.max()}")
    identity = (run.dataset, run.partition, batch, run.seed)
    client = able[int(torch.randint(len(able), (), generator=generator("leakage client", *identity)))]
    positions = torch.tensor(held.loc[held["client"] == client, "index"].to_numpy())
    order = torch.randperm(len(positions), generator=generator("leakage images", *identity))
    return int(client), positions[order[:most]]
