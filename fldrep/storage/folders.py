"""A folder of class folders of pictures: which files it holds, of which class, for training or for testing.

Importing this module does not import torch: the Snakefile looks for changed pictures.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fldrep.config.data import FolderSettings
from fldrep.errors import DataError, told
from fldrep.seeds import job_seed

PARTS = ("train", "test")
TESTED = 0.2  # share of a class that is drawn for testing


@dataclass(frozen=True)
class Picture:
    """A file and the number of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class ClassFolders:
    """The names of the classes and the pictures of both parts, all in the order of their names."""

    classes: tuple[str, ...]
    train: tuple[Picture, ...]
    test: tuple[Picture, ...]


def class_folders(dataset: str, settings: FolderSettings) -> ClassFolders:
    """What a folder holds. Hidden files are passed over, links are followed.

    Errors: `DataError` naming the folder or file that is not where it should be, and what was expected.
    """
    folder = Path(os.path.expanduser(settings.folder))  # which leaves an unknown ~user as it is
    if not _is_folder(folder):
        raise DataError(f"data.sets.{dataset}.folder: {settings.folder!r}: not a folder")
    if all(_holds_folders(folder / part) for part in PARTS):
        return _given_parts(folder)
    held = _classes_in(folder)
    for name, files in held.items():
        if len(files) < 2:
            raise DataError(f"{told(folder / name)}: holds one picture; expected two or more, one of them for testing")
    drawn = {path for name, files in held.items() for path in _drawn(name, files, settings.seed)}
    train, test = (
        {name: [path for path in files if (path in drawn) == testing] for name, files in held.items()}
        for testing in (False, True)
    )
    return ClassFolders(tuple(held), _labelled(train), _labelled(test))


def _given_parts(folder: Path) -> ClassFolders:
    others = [path for path in _inside(folder) if path.name not in PARTS]
    if others:
        raise DataError(f"{told(others[0])}: lies beside train and test; expected nothing else there")
    train, test = (_classes_in(folder / part) for part in PARTS)
    differ = sorted({*train} ^ {*test})
    if differ:
        lacking = folder / ("test" if differ[0] in train else "train")
        raise DataError(f"{told(lacking)}: lacks the class folder {differ[0]!r}; expected the same in train and test")
    return ClassFolders(tuple(train), _labelled(train), _labelled(test))


def _classes_in(folder: Path) -> dict[str, list[Path]]:
    """The pictures of each class folder, by its name."""
    inside = _inside(folder)
    for path in inside:
        if not _is_folder(path):
            raise DataError(f"{told(path)}: lies beside class folders; expected folders alone")
    if len(inside) < 2:
        raise DataError(f"{told(folder)}: holds {len(inside)} class folders; expected two or more")
    return {path.name: _pictures_in(path) for path in inside}


def _pictures_in(folder: Path) -> list[Path]:
    inside = _inside(folder)
    for path in inside:
        if _is_folder(path):
            raise DataError(
                f"{told(path)}: a folder in a class folder; expected pictures, or class folders in train and in test"
            )
        try:
            ordinary = stat.S_ISREG(path.stat().st_mode)
        except OSError as error:
            raise DataError(f"{told(path)}: cannot be read: {error.strerror}") from None
        if not ordinary:
            raise DataError(f"{told(path)}: not an ordinary file; expected pictures alone")
    if not inside:
        raise DataError(f"{told(folder)}: holds no picture; each class needs some")
    return inside


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in the order of names."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{told(folder)}: cannot be read: {error.strerror}") from None


def _holds_folders(folder: Path) -> bool:
    return _is_folder(folder) and any(map(_is_folder, _inside(folder)))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, or a folder that may not be entered
        return False


def _drawn(name: str, files: Sequence[Path], seed: int) -> list[Path]:
    """A fifth of the pictures of a class, at least one. One picture more leaves most of the others where they are."""
    order = sorted(files, key=lambda path: job_seed("test picture", ascii(name), ascii(path.name), seed))
    return order[: max(1, round(TESTED * len(files)))]


def _labelled(held: dict[str, list[Path]]) -> tuple[Picture, ...]:
    return tuple(Picture(path, label) for label, files in enumerate(held.values()) for path in files)
