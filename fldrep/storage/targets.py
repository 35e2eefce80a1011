"""Which images are attacked and analysed: they come from the clients' own data."""

from dataclasses import dataclass

import pandas as pd
import torch

from fldrep.errors import ConfigError
from fldrep.seeds import generator


@dataclass(frozen=True)
class Target:
    """An image that is looked at: its number, the client that holds it, its place in the training set, its class."""

    target: int
    client: int
    index: int
    label: int


def choose_targets(shards: pd.DataFrame, wanted: list[int], *identity: object, images: int = 1) -> list[Target]:
    """The targets of the given numbers: clients in a shuffled order, one update of each, round and round.

    An update holds `images` targets of one client, of consecutive numbers. The choice depends on the identity (data
    set, partition, seed), the number and `images` alone, so all models, defenses and attacks of one grid meet the same
    images. Args: shards: table `tables.shards`.
    """
    held = {int(client): rows for client, rows in shards.groupby("client", sort=True)}
    clients = [list(held)[place] for place in _shuffled(len(held), "clients", *identity)]
    return [_draw(held, clients, number, images, *identity) for number in wanted]


def _draw(held: dict[int, pd.DataFrame], clients: list[int], number: int, images: int, *identity: object) -> Target:
    """The image of one number: the client's next one in a shuffled order of its own, so no image comes twice."""
    update, image = divmod(number, images)
    turn, place = divmod(update, len(clients))
    turn, rows = turn * images + image, held[clients[place]]
    if turn >= len(rows):
        raise ConfigError(f"targets: number {number} asks client {clients[place]} for more than its {len(rows)} images")
    row = rows.iloc[_shuffled(len(rows), "images", clients[place], *identity)[turn]]
    return Target(number, clients[place], int(row["index"]), int(row["label"]))


def _shuffled(count: int, *identity: object) -> list[int]:
    return torch.randperm(count, generator=generator(*identity)).tolist()
