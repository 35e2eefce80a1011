"""Who holds what: the table of shards, checked against the images it deals."""

from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from fldrep.errors import DataError
from fldrep.tables.shards import SHARDS


def read_shards(path: Path | str, labels: Tensor) -> pd.DataFrame:
    """The table `tables.shards` of training images with these labels (N,).

    Errors: `DataError` naming the file: no image dealt, a position out of range, or a class that is not the image's.
    """
    table = SHARDS.read(path)
    if not len(table):
        raise DataError(f"{path}: deals no image to any client")
    outside = table["index"][~table["index"].between(0, len(labels) - 1)]
    if len(outside):
        raise DataError(f"{path}: index {outside.iloc[0]} is not a position among {len(labels)} training images")
    true = labels[torch.tensor(table["index"].to_numpy())].numpy()
    other = (table["label"].to_numpy() != true).nonzero()[0]
    if len(other):
        row = table.iloc[other[0]]
        told = f"deals image {row['index']} as class {row['label']}, but its class is {true[other[0]]}"
        raise DataError(f"{path}: {told}; it belongs to another data set")
    return table
