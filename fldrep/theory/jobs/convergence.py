"""The convergence job: theorem 2 on softmax regression over the images of a few clients."""

from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from fldrep.config.theory import ConvergenceSettings
from fldrep.errors import DataError
from fldrep.machine.progress import log_each
from fldrep.models.building import build_model
from fldrep.seeds import generator
from fldrep.storage.imageset import ImageSet, as_pixels
from fldrep.storage.places import Split
from fldrep.tables.convergence import CONVERGENCE
from fldrep.tables.shards import SHARDS
from fldrep.theory.convergence import convergence_rows


def convergence_job(
    split: Split, settings: ConvergenceSettings, images: Path, shards: Path, convergence: Path, code: str = ""
) -> None:
    """Table `convergence`: softmax regression on pixels of the first clients' first images, averaged over squares.

    Masks are none, Soteria at each rate, and the unbiased random one at the largest.
    Errors: `DataError` for a client with fewer images.
    """
    clients, each = settings.clients, settings.images_per_client
    data, positions = ImageSet.read(images), first_images(SHARDS.read(shards), clients, each, shards)
    pixels = nn.functional.avg_pool2d(as_pixels(data.train_images[positions.flatten()]), settings.pooled)
    rows = convergence_rows(
        build_model("softmax", tuple(pixels.shape[1:]), data.classes),
        pixels.view(clients, each, *pixels.shape[1:]),
        data.train_labels[positions],
        masks=masks_of(settings.rates),
        generator_of=lambda what: generator("convergence", what, *vars(split).values()),
        mu=settings.mu,
        local_steps=settings.local_steps,
        sampled=settings.sampled,
        rounds=settings.rounds,
        moments=settings.moments,
        repetitions=settings.repetitions,
        batch_size=settings.batch_size,
        progress=partial(log_each, desc="convergence", unit="mask"),
    )
    CONVERGENCE.write([{**vars(split), **row, "code": code} for row in rows], convergence)


def masks_of(rates: list[float]) -> dict[str, tuple[str, float]]:
    """Named masks: {name: (kind, rate)}.

    >>> masks_of([0.4])
    {'none': ('none', 0.0), 'soteria-40': ('soteria', 0.4), 'random-40': ('random', 0.4)}
    """
    masks = {"none": ("none", 0.0), **{f"soteria-{100 * rate:g}": ("soteria", rate) for rate in rates}}
    return {**masks, f"random-{100 * max(rates):g}": ("random", max(rates))}


def first_images(held: pd.DataFrame, clients: int, each: int, path: Path) -> Tensor:
    """Positions of the first images of the first clients. Shape: (clients, each)."""
    groups = [rows["index"].to_numpy()[:each] for _, rows in held.groupby("client", sort=True)][:clients]
    least = min((len(group) for group in groups), default=0)
    if len(groups) < clients or least < each:
        raise DataError(f"{path}: wanted {clients} clients of {each} images, found {len(groups)} of at least {least}")
    return torch.stack([torch.tensor(group) for group in groups])
