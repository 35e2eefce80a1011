"""A published data set: its files found, read, and known by their content to be the real ones.

MNIST and CIFAR-10 are checked by the sha256 of their arrays, so every source gives the same bytes. For Fashion-MNIST
and CIFAR-100 no such digest is known to us: there the published digest of the files is the check, and
`RawArrays.checked` says so. Digests of files are those of torchvision.datasets.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from fldrep.config.data import DataSettings
from fldrep.config.datasets import Facts, facts_of
from fldrep.data.dataset import PIECES, RawArrays, array_sha256
from fldrep.data.formats import (
    Parser,
    Pieces,
    members,
    parse_cifar_batch,
    parse_idx,
    parse_json_labels,
    parse_png_batch,
)
from fldrep.data.publication import IDX_FILES, Publication
from fldrep.data.sources import find
from fldrep.errors import DataError

Layout = Mapping[str, Parser]  # which file is read how, in the order in which the pieces are joined


def published_arrays(
    dataset: str,
    data: DataSettings,
    publication: Publication,
    *,
    official: Layout,
    npm: Layout | None = None,
    sha256: Mapping[str, str] | None = None,
) -> RawArrays:
    """A data set from the first source that has it, checked.

    Args: official: how the files of every source but npm are read; sha256: of each of the four arrays, if known.
    Errors: `NoSource` with each source's reason; `DataError` naming the file, what was expected and what was found.
    """
    found = find(dataset, publication, data)
    arrays, origins = _read(found.paths, npm if found.source == "npm" else official)
    _check(arrays, origins, facts_of(dataset).classes, sha256)
    return RawArrays(**arrays, source=found.source, checked="array sha256" if sha256 else "file digest")


def _read(paths: Sequence[Path], layout: Layout) -> tuple[Pieces, dict[str, str]]:
    """The joined arrays of all files, and for each array the archives it came from, as an error names them."""
    parsed: dict[str, Pieces] = {}
    origins: dict[str, list[str]] = {piece: [] for piece in PIECES}
    for path in paths:
        for name, data, where in members(path, layout):
            parsed[name] = layout[name](data, where)
            for piece in parsed[name]:
                origins[piece] = [*dict.fromkeys([*origins[piece], str(path)])]
    missing = [name for name in layout if name not in parsed]
    if missing:
        raise DataError(f"{', '.join(map(str, paths))}: expected {', '.join(missing)} inside, found no such file")
    joined = {p: np.concatenate([parsed[name][p] for name in layout if p in parsed[name]]) for p in PIECES}
    return joined, {piece: ", ".join(origin) for piece, origin in origins.items()}


def _check(arrays: Pieces, origins: Mapping[str, str], classes: int, sha256: Mapping[str, str] | None) -> None:
    """Errors: `DataError` for labels that are no class, or content that is not the data set's."""
    for piece in PIECES:
        array, what = arrays[piece], piece.replace("_", " ")
        if piece.endswith("labels") and (array.min() < 0 or array.max() >= classes):
            found = f"{array.min()}..{array.max()}"
            raise DataError(f"{origins[piece]}: {what}: expected classes 0..{classes - 1}, found {found}")
        if sha256:
            found = array_sha256(array)
            if found != sha256[piece]:
                raise DataError(f"{origins[piece]}: {what}: expected sha256 {sha256[piece]}, found {found}")


# ---- layouts


def idx_layout(facts: Facts) -> Layout:
    """How the four files of MNIST and its kin are read."""
    parsers = []
    for split, images in (("train", facts.train_images), ("test", facts.test_images)):
        parsers.append(partial(parse_idx, f"{split}_images", (images, *facts.shape[1:])))
        parsers.append(partial(parse_idx, f"{split}_labels", (images,)))
    return dict(zip(IDX_FILES, parsers, strict=True))


def cifar_layout(batches: Mapping[str, int], labels_key: str) -> Layout:
    """How pickled batches are read, each of so many images; those named test... hold the test images."""
    return {name: partial(parse_cifar_batch, _split(name), n, labels_key) for name, n in batches.items()}


def png_layout(batches: Mapping[str, int], labels: Mapping[str, int]) -> Layout:
    """How batches stored as PNG are read, each of so many images, and JSON lists of so many labels."""
    images = {name: partial(parse_png_batch, _split(name), n) for name, n in batches.items()}
    return images | {name: partial(parse_json_labels, _split(name), n) for name, n in labels.items()}


def _split(name: str) -> str:
    return "test" if name.startswith("test") else "train"
