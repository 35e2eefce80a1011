"""What Snakemake noted of the jobs in a working folder: which have begun, and when and from what the others made files.

Its own folder holds a file a note, whose name is the noted path in base64; long ones are cut into folders of `@...`.
"""

import binascii
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NOTES = Path(".snakemake")


class Note(NamedTuple):
    """When a job that made a file began and ended, in seconds since the epoch, and what it was told, each as `repr`."""

    began: float
    ended: float
    params: frozenset[str]

    @property
    def seconds(self) -> float:
        """How long the job took."""
        return self.ended - self.began

    def tells(self, *values: str) -> bool:
        """Whether the job was told these values."""
        return self.params.issuperset(map(repr, values))


def made(folder: Path) -> dict[str, Note]:
    """What is noted of each file that a job made, by its path as seen from the folder; damaged notes are left out."""
    found = {}
    for path, file in _notes(folder / NOTES / "metadata"):
        try:
            said = json.loads(file.read_text(encoding="utf-8"))
            note = Note(float(said["starttime"]), float(said["endtime"]), frozenset(map(str, said["params"])))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found[path] = note
    return found


def begun(folder: Path) -> dict[str, float]:
    """The files that jobs are making, or were making when they were killed, and since when."""
    found = {}
    for path, file in _notes(folder / NOTES / "incomplete"):
        try:
            found[path] = file.stat().st_mtime
        except OSError:  # the job has just ended
            continue
    return found


def _notes(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each note: the path it is of, and its own. A folder that vanishes meanwhile is passed over."""
    for where, _, names in os.walk(folder):
        for name in names:
            file = Path(where, name)
            encoded = "".join(part.removeprefix("@") for part in file.relative_to(folder).parts)
            try:
                yield urlsafe_b64decode(encoded).decode(), file
            except (binascii.Error, UnicodeDecodeError):
                continue
