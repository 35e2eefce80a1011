"""Which images are attacked: they come from the clients' own data."""

from dataclasses import dataclass

import pandas as pd
import torch

from fldrep.errors import ConfigError
from fldrep.seeds import generator


@dataclass(frozen=True)
class Target:
    """An image of the attack set: its number, the client that holds it, its place in the training set, its class."""

    target: int
    client: int
    index: int
    label: int


def choose_targets(shards: pd.DataFrame, wanted: list[int], *identity: object) -> list[Target]:
    """The targets of the given numbers: clients in a shuffled order, one image of each, round and round.

    The choice depends on the identity (data set, partition, seed) and the number alone, so all models, defenses and
    attacks of one grid meet the same images. Args: shards: table `records.SHARDS`.
    """
    held = {int(client): rows for client, rows in shards.groupby("client", sort=True)}
    clients = [list(held)[place] for place in _shuffled(len(held), "clients", *identity)]
    return [_draw(held, clients, number, *identity) for number in wanted]


def _draw(held: dict[int, pd.DataFrame], clients: list[int], number: int, *identity: object) -> Target:
    """The image of one number: the client's next one in a shuffled order of its own, so no image comes twice."""
    turn, place = divmod(number, len(clients))
    rows = held[clients[place]]
    if turn >= len(rows):
        raise ConfigError(f"targets: number {number} asks client {clients[place]} for more than its {len(rows)} images")
    row = rows.iloc[_shuffled(len(rows), "images", clients[place], *identity)[turn]]
    return Target(number, clients[place], int(row["index"]), int(row["label"]))


def _shuffled(count: int, *identity: object) -> list[int]:
    return torch.randperm(count, generator=generator(*identity)).tolist()
