"""Files of the user's that a data set is made of: a digest that tells when one of them changed.

Importing this module does not import torch: the Snakefile asks for the digest.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from fldrep import registry
from fldrep.config.data import PHOTO, DataSettings
from fldrep.config.datasets import facts_of
from fldrep.errors import ConfigError, DataError, told
from fldrep.storage.folders import PARTS, class_folders


def files_digest(data: DataSettings, dataset: str) -> str:
    """Digest of the user's files behind a data set: names, sizes and times of change; empty where there are none.

    Where the files lie does not count. Returns 16 hex digits.
    Errors: `DataError` naming a file or folder that is not there or not what it should be.
    """
    digest = hashlib.sha256()
    found = False
    for name, path in files_of(data, dataset):
        try:
            known = path.stat()
        except (OSError, ValueError) as error:
            raise DataError(f"{told(path)}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        digest.update(f"{name}\n{known.st_size} {known.st_mtime_ns}\n".encode())
        found = True
    return digest.hexdigest()[:16] if found else ""


def files_of(data: DataSettings, dataset: str) -> Iterator[tuple[str, Path]]:
    """The user's files behind a data set, each with the name that counts: of a folder, as seen from there."""
    if dataset in data.sets:
        held = class_folders(dataset, data.sets[dataset])
        for part, pictures in zip(PARTS, (held.train, held.test), strict=True):
            for picture in pictures:
                yield ascii((part, picture.path.parent.name, picture.path.name)), picture.path
    elif dataset == PHOTO:
        if data.photo is None:
            raise ConfigError(f"data.photo: data set {PHOTO!r} needs its path and label, none given")
        yield ascii(os.path.basename(data.photo.path)), Path(data.photo.path)
    else:
        beside = registry.entry("dataset", dataset).file.parent
        for name in facts_of(dataset).files:
            yield ascii(name), beside / name
