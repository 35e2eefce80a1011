"""The training job: files in, history and checkpoints out."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fldrep.config.checking import stable_json
from fldrep.config.jobs import TrainJob
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defense_of
from fldrep.defenses.defense import overrides
from fldrep.defenses.networks import untrained
from fldrep.machine.progress import Rounds
from fldrep.models.checkpoint import input_of, write_checkpoints
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.storage.places import Run
from fldrep.storage.shards import read_shards
from fldrep.tables.training import TRAINING
from fldrep.train.fedavg import train

AGREEMENT_IMAGES = 4  # exact scores of a wide network take seconds an image


def train_run(
    run: Run,
    job: TrainJob,
    images: Path,
    shards: Path,
    training: Path,
    checkpoints: Path,
    code: str = "",
    threads: int = 1,
) -> None:
    """Train one run of the grid, `threads` clients at a time; if killed, the next call goes on from what is kept."""
    data = ImageSet.read(images).with_tests(job.train.test_images)
    resume = checkpoints.with_name(f"{checkpoints.stem}.resume.safetensors")
    trained = train(
        untrained(run, job.model, job.defense, data),
        data,
        images_of_clients(read_shards(shards, data.train_labels)),
        job.train,
        job.defense,
        normalisation=input_of(job.model, data),
        identity=(run.dataset, run.model, run.partition, run.seed),
        defense_name=run.defense,
        workers=threads,
        progress=teller(job.train.rounds),
        resume=resume,
        code=code,
    )
    columns = {**run.columns(job.defense), "norm_estimator": getattr(job.defense, "norm_estimator", ""), "code": code}
    agreement = {round: checkpoint_agreement(run, job, data, state) for round, state in trained.checkpoints.items()}
    write_checkpoints(checkpoints, trained.checkpoints, {"settings": stable_json(job), "code": code})
    rows = [{**columns, **row, "agreement": agreement.get(row["round"])} for row in trained.history]
    TRAINING.write(rows, training)
    resume.unlink(missing_ok=True)


def checkpoint_agreement(run: Run, job: TrainJob, data: ImageSet, state: dict[str, Tensor]) -> float | None:
    """How well the defense's estimates in training agree with the exact, on a few images; None: it has none."""
    defense = defense_of(job.defense)
    if not overrides(defense, "agreement"):
        return None
    model = untrained(run, job.model, job.defense, data)
    model.load_state_dict(state)
    model.eval()
    inputs = input_of(job.model, data).to_input(as_pixels(data.train_images[:AGREEMENT_IMAGES]))
    drawn = generator("agreement", run.dataset, run.model, run.seed)
    return defense.agreement(model, inputs, Client(generator=drawn))


def images_of_clients(table: pd.DataFrame) -> list[Tensor]:
    """For each client the positions of its images. Args: table: `tables.shards`."""
    return [torch.tensor(rows["index"].to_numpy()) for _, rows in table.groupby("client", sort=True)]


def teller(rounds: int) -> Callable[[dict], None]:
    """What prints a line of the log for each row, with the time that a round takes and the time left."""
    course = Rounds(rounds)

    def tell(row: dict) -> None:
        print(
            f"round {row['round']} of {rounds}: test accuracy {row['test_accuracy']:.4f}, loss {row['test_loss']:.4f}, "
            f"local training {row['train_s']:.2f} s, evaluation {row['evaluate_s']:.2f} s; {course.left(row['round'])}",
            flush=True,
        )

    return tell
