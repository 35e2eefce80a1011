"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fldrep.errors import DataError

BESIDE = ".part-"  # begins the name of a file that is being written


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path in the target's folder; renamed to `path` if the block succeeds, deleted if it fails.

    The rename is atomic, so a reader sees the old file, or the whole new one.
    Errors: `DataError` naming the file where the disk is full, read-only or not what the path says.
    """
    beside = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f"{BESIDE}{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        beside = Path(name)
        yield beside
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
