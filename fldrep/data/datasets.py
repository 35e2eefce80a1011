"""Data sets by name: their arrays, and the file of them that every stage reads."""

import inspect
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fldrep import __version__, registry
from fldrep.config.data import DataSettings
from fldrep.config.datasets import Facts, facts_of
from fldrep.data.dataset import PIECES, RawArrays, array_sha256, check, from_arrays
from fldrep.storage.imageset import ImageSet, mean_of_each_class


def load_arrays(dataset: str, data: DataSettings) -> RawArrays:
    """The arrays of a data set that is registered, or of a folder of `data`, checked against what is known of it.

    Errors: `UnknownName`; `ConfigError` for facts that are wrong; `DataError` naming the file or the array.
    """
    facts = facts_of(dataset, data)
    if dataset in data.sets:  # imported on use, so that no other data set depends on it
        arrays = import_module("fldrep.data.folder").folder_arrays(dataset, data.sets[dataset])
    else:
        arrays = _arrays_of(registry.entry("dataset", dataset), data)
    check(dataset, arrays, facts)
    return arrays


def _arrays_of(entry: registry.Entry, data: DataSettings) -> RawArrays:
    """What the function of an entry gives; it takes nothing, or the config's section `data`."""
    wanted = [one for one in inspect.signature(entry.value).parameters.values() if one.default is one.empty]
    given = entry.value(data) if wanted else entry.value()
    return given if isinstance(given, RawArrays) else from_arrays(entry.name, given, entry.file.name)


def prepare(dataset: str, data: DataSettings, out: Path) -> None:
    """Write a data set as an `ImageSet` file, images uint8 (N, C, H, W).

    Errors: as `load_arrays`; no file is left then.
    """
    arrays = load_arrays(dataset, data)
    digests = {piece: array_sha256(getattr(arrays, piece)) for piece in PIECES}
    origin = {"source": arrays.source, "checked": arrays.checked, "sha256": json.dumps(digests), **arrays.about}
    images = image_set(arrays, facts_of(dataset, data))
    images.write(out, {"dataset": dataset, **origin, "version": __version__})


def image_set(arrays: RawArrays, facts: Facts) -> ImageSet:
    """Arrays as tensors, with the mean image of each class, and the constants that are known or else computed."""
    whole = arrays.class_means_of or arrays
    train = channels_first(arrays.train_images)
    images = train if whole is arrays else channels_first(whole.train_images)
    means = mean_of_each_class(images, torch.from_numpy(whole.train_labels), arrays.classes(facts))
    return ImageSet(
        train,
        torch.from_numpy(arrays.train_labels),
        channels_first(arrays.test_images),
        torch.from_numpy(arrays.test_labels),
        means,
        *(None if known is None else torch.tensor(known, dtype=torch.float64) for known in (facts.mean, facts.std)),
    )


def channels_first(images: np.ndarray) -> Tensor:
    """Shape: (N, H, W) or (N, H, W, C) -> (N, C, H, W), contiguous."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    return tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2).contiguous()
