"""Jobs of the theory stage: files of earlier stages in, one table out."""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from fldrep.defenses.soteria import update_masks
from fldrep.errors import ConfigError, DataError
from fldrep.grid import Block, Run
from fldrep.imageset import ImageSet, as_pixels
from fldrep.models import Model, build_model, input_of, model_for
from fldrep.records import SHARDS
from fldrep.seeds import generator
from fldrep.settings import AttackJob, ModelSettings, TrainJob
from fldrep.tensors import read_checkpoint, read_tensors
from fldrep.theory.accounting import accounting_rows
from fldrep.theory.certificate import certificate_rows
from fldrep.theory.convergence import convergence_rows
from fldrep.theory.leakage import leakage_rows
from fldrep.theory.tables import ACCOUNTING, CERTIFICATE, CONVERGENCE, LEAKAGE


def leakage_job(
    run: Run,
    round: int,
    job: TrainJob,
    images: Path,
    shards: Path,
    checkpoints: Path,
    out: Path,
    *,
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32),
    batches: int = 10,
    public_images: int = 500,
    code: str = "",
) -> None:
    """Table `leakage` of one checkpoint. A batch is of one client's images, and smaller ones are its beginnings.

    Clients and images are drawn by data set, partition, batch and seed: every model, defense and round meets the same.
    Args: public_images: of the test set, known to the attacker. Errors: `DataError` where no client holds a batch.
    """
    data = ImageSet.read(images)
    model = _checkpoint(run, round, job.model, data, checkpoints)
    to_input = input_of(run, job.model, data).to_input
    most = max(batch_sizes)
    drawn = [_client_batch(SHARDS.read(shards), run, batch, most, shards) for batch in range(batches)]
    positions = torch.cat([held for _, held in drawn])
    rows = leakage_rows(
        model,
        to_input(as_pixels(data.train_images[positions])),
        data.train_labels[positions],
        job.defense,
        public=(to_input(as_pixels(data.test_images[:public_images])), data.test_labels[:public_images]),
        batch_sizes=list(batch_sizes),
        batches=batches,
        draw=lambda batch, size: torch.arange(batch * most, batch * most + size),
        noise=lambda batch, size: generator("leakage noise", *vars(run).values(), round, batch, size),
    )
    shared = {**run.columns(job.defense), "round": round, "code": code}
    LEAKAGE.write([{**shared, **row, "client": drawn[row["batch"]][0]} for row in rows], out)


def certificate_job(
    where: Block,
    job: AttackJob,
    images: Path,
    checkpoints: Path,
    reconstructions: Path,
    out: Path,
    *,
    points: int = 9,
    code: str = "",
) -> None:
    """Table `certificate` of one attack job's reconstructions.

    Errors: `ConfigError` for a defense that prunes no feature; `DataError` for reconstructions of other targets.
    """
    run = where.run
    if job.defense.method != "soteria":
        raise ConfigError(f"defense {run.defense!r} leaves r as it is: there is nothing to certify; Soteria prunes r")
    data = ImageSet.read(images)
    model = _checkpoint(run, where.round, job.model, data, checkpoints)
    to_input = input_of(run, job.model, data).to_input
    kept = read_tensors(reconstructions, ["originals", "images"])
    originals, found = to_input(kept["originals"]), to_input(kept["images"])
    if len(originals) != len(job.targets):
        raise DataError(f"{reconstructions}: holds {len(originals)} targets, expected {len(job.targets)}")
    masks = update_masks(model, originals.unsqueeze(1), job.defense.rate, job.defense.rule)
    box = to_input(torch.zeros_like(originals[:1])), to_input(torch.ones_like(originals[:1]))
    rows = certificate_rows(model, originals, found, masks, points=points, box=box)
    shared = {**run.columns(job.defense), "round": where.round, "attack": where.attack, "code": code}
    CERTIFICATE.write([{**shared, **row, "target": job.targets[row["target"]]} for row in rows], out)


def convergence_job(
    dataset: str,
    partition: str,
    seed: int,
    images: Path,
    shards: Path,
    out: Path,
    *,
    rates: tuple[float, ...] = (0.1, 0.4),
    clients: int = 10,
    images_per_client: int = 200,
    pooled: int = 2,
    code: str = "",
    **options,
) -> None:
    """Table `convergence`: softmax regression on pixels of the first clients' first images, averaged over squares.

    Masks are none, Soteria at each rate, and the unbiased random one at the largest. Args: pooled: side of the squares;
    options of `convergence_rows`. Errors: `DataError` for a client with fewer images.
    """
    data, positions = ImageSet.read(images), _first_images(SHARDS.read(shards), clients, images_per_client, shards)
    pixels = nn.functional.avg_pool2d(as_pixels(data.train_images[positions.flatten()]), pooled)
    masks = {"none": ("none", 0.0), **{f"soteria-{100 * rate:g}": ("soteria", rate) for rate in rates}}
    masks[f"random-{100 * max(rates):g}"] = ("random", max(rates))
    rows = convergence_rows(
        build_model("softmax", tuple(pixels.shape[1:]), data.classes),
        pixels.view(clients, images_per_client, *pixels.shape[1:]),
        data.train_labels[positions],
        masks=masks,
        generator_of=lambda what: generator("convergence", what, dataset, partition, seed),
        **options,
    )
    shared = {"dataset": dataset, "partition": partition, "seed": seed, "code": code}
    CONVERGENCE.write([{**shared, **row} for row in rows], out)


def accounting_job(
    run: Run,
    job: TrainJob,
    images: Path,
    shards: Path,
    out: Path,
    *,
    delta: float | None = None,
    code: str = "",
) -> None:
    """Table `accounting` of one training run, from its settings alone."""
    model = model_for(run, job.model, ImageSet.read(images))
    rows = accounting_rows(
        job.defense,
        job.train,
        clients=SHARDS.read(shards)["client"].nunique(),
        entries=sum(values.numel() for values in model.parameters()),
        buffers_sent=any(True for _ in model.buffers()),
        delta=delta,
    )
    shared = {**run.columns(job.defense), "clip": job.defense.clip, "code": code}
    ACCOUNTING.write([{**shared, **row} for row in rows], out)


def _checkpoint(run: Run, round: int, settings: ModelSettings, data: ImageSet, checkpoints: Path) -> Model:
    model = model_for(run, settings, data)
    model.load_state_dict(read_checkpoint(checkpoints, round, model.state_dict()))
    return model.eval()


def _client_batch(held: pd.DataFrame, run: Run, batch: int, most: int, path: Path) -> tuple[int, Tensor]:
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


def _first_images(held: pd.DataFrame, clients: int, each: int, path: Path) -> Tensor:
    """Positions of the first images of the first clients. Shape: (clients, each)."""
    groups = [rows["index"].to_numpy()[:each] for _, rows in held.groupby("client", sort=True)][:clients]
    least = min((len(group) for group in groups), default=0)
    if len(groups) < clients or least < each:
        raise DataError(f"{path}: wanted {clients} clients of {each} images, found {len(groups)} of at least {least}")
    return torch.stack([torch.tensor(group) for group in groups])
