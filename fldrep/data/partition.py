"""Which client holds which training image.

No image is held twice, all but those held out are held, and the deal depends on labels, settings and generator alone.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fldrep.config.partitions import PartitionSettings
from fldrep.errors import ConfigError, named

Shards = list[Tensor]


def split(labels: Tensor, settings: PartitionSettings, generator: torch.Generator) -> Shards:
    """The images of each client, as ascending positions in the training set.

    Shape: labels (N,) -> `settings.clients` tensors, int64. Errors: `ConfigError` where such a deal does not exist.
    """
    deal = named("partition method", settings.method, METHODS)
    if not settings.held_out:
        return deal(labels, settings, generator)
    if settings.held_out >= len(labels):
        raise ConfigError(f"partition: held_out={settings.held_out}: there are only {len(labels)} images")
    dealt = torch.randperm(len(labels), generator=generator)[settings.held_out :].sort().values
    return [dealt[shard] for shard in deal(labels[dealt], settings, generator)]


def iid(labels: Tensor, clients: int, generator: torch.Generator) -> Shards:
    """Equal shares at random; where they do not come out even, the first clients hold one image more.

    >>> [len(shard) for shard in iid(torch.zeros(8), 3, torch.Generator().manual_seed(0))]
    [3, 3, 2]
    """
    if clients > len(labels):
        raise ConfigError(f"partition: clients={clients}: there are only {len(labels)} images to deal")
    order = torch.randperm(len(labels), generator=generator)
    return [shard.sort().values for shard in order.tensor_split(clients)]


def label_skew(labels: Tensor, clients: int, classes_per_client: int, generator: torch.Generator) -> Shards:
    """Every client holds exactly so many classes; all images of a class are shared evenly among its holders.

    Which classes meet in a client is random; the numbers of holders of any two classes differ by at most one. After the
    non-IID partition of McMahan et al. 2017, arXiv:1602.05629, which cuts sorted labels into shards, and so only bounds
    the number of classes.
    """
    held_classes = _classes_of_clients(labels.unique(), clients, classes_per_client, generator)
    pieces: list[list[Tensor]] = [[] for _ in range(clients)]
    for label in labels.unique():
        holders = (held_classes == label).any(1).nonzero().flatten()
        images = (labels == label).nonzero().flatten()
        if len(holders) > len(images):
            raise ConfigError(
                f"partition: clients={clients} with classes_per_client={classes_per_client} gives class {int(label)} "
                f"{len(holders)} holders, and it has only {len(images)} images"
            )
        shuffled = images[torch.randperm(len(images), generator=generator)]
        # the larger shares go to random holders, not always to the first
        holders = holders[torch.randperm(len(holders), generator=generator)]
        for client, piece in zip(holders.tolist(), shuffled.tensor_split(len(holders)), strict=True):
            pieces[client].append(piece)
    return [torch.cat(piece).sort().values for piece in pieces]


def _classes_of_clients(present: Tensor, clients: int, each: int, generator: torch.Generator) -> Tensor:
    """Shape: (clients, each), distinct in a row.

    Each client takes classes that fewest hold so far, ties at random: so counts never differ by more than one.
    """
    if each > len(present):
        raise ConfigError(f"partition: classes_per_client={each}: the data set has only {len(present)} classes")
    if clients * each < len(present):
        raise ConfigError(
            f"partition: clients={clients} with classes_per_client={each} leaves {len(present) - clients * each} "
            f"of {len(present)} classes without a holder"
        )
    holders = torch.zeros(len(present))
    rows = []
    for _ in range(clients):
        ties = torch.rand(len(present), generator=generator, dtype=torch.float64)
        row = (holders + ties).argsort()[:each]
        holders[row] += 1
        rows.append(present[row])
    return torch.stack(rows)


def dirichlet(labels: Tensor, clients: int, alpha: float, generator: torch.Generator) -> Shards:
    """Equal shares, each with class proportions q ~ Dir(alpha * p), where p are the proportions of the whole set.

    Images are drawn without replacement; a class that is used up leaves its part to the others, in their proportions:
    so all images are dealt, and late clients get what is left. Large alpha: near iid; small: near one class a client.
    Source: Hsu et al. 2019, arXiv:1909.06335.
    """
    if not 0 < alpha < float("inf"):
        raise ConfigError(f"partition: alpha={alpha}: expected a number above 0")
    present, inverse = labels.unique(return_inverse=True)
    decks = [(inverse == label).nonzero().flatten() for label in range(len(present))]
    decks = [deck[torch.randperm(len(deck), generator=generator)] for deck in decks]
    sizes = np.array([len(shard) for shard in iid(labels, clients, generator)])
    random = np.random.default_rng(int(torch.randint(2**63 - 1, (), generator=generator)))
    left = np.array([len(deck) for deck in decks])
    concentration = alpha * left / left.sum()
    shards = []
    for size in sizes:
        counts = _draw_counts(concentration, size, left, random)
        taken = [deck[rest - count : rest] for deck, rest, count in zip(decks, left, counts, strict=True)]
        left = left - counts
        shards.append(torch.cat(taken).sort().values)
    return shards


def _draw_counts(concentration: np.ndarray, size: int, left: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """How many images of each class a client gets: `size` draws with proportions of its own, never more than are left.

    A draw from a used-up class is drawn anew among the others. Where their proportions are all zero in floating point,
    these are drawn anew too: the proportions of some of the classes, scaled to 1, are Dirichlet whatever the rest is.
    """
    counts = np.zeros_like(left)
    wanted = random.dirichlet(concentration)
    while counts.sum() < size:
        not_used_up = counts < left
        wanted = np.where(not_used_up, wanted, 0)
        if not wanted.any():
            wanted[not_used_up] = random.dirichlet(concentration[not_used_up])
        drawn = random.multinomial(size - counts.sum(), wanted / wanted.sum())
        counts = np.minimum(counts + drawn, left)
    return counts


METHODS: dict[str, Callable[[Tensor, PartitionSettings, torch.Generator], Shards]] = {
    "iid": lambda labels, settings, generator: iid(labels, settings.clients, generator),
    "label-skew": lambda labels, settings, generator: label_skew(
        labels, settings.clients, settings.classes_per_client, generator
    ),
    "dirichlet": lambda labels, settings, generator: dirichlet(labels, settings.clients, settings.alpha, generator),
}


def shards_table(shards: Sequence[Tensor], labels: Tensor) -> pd.DataFrame:
    """Who holds what, with the columns of `tables.shards`: client, index, label; a row an image."""
    index = torch.cat(list(shards))
    client = torch.arange(len(shards)).repeat_interleave(torch.tensor([len(shard) for shard in shards]))
    columns = {"client": client, "index": index, "label": labels[index]}
    return pd.DataFrame({name: values.to(torch.int64).numpy() for name, values in columns.items()})
