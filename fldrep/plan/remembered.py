"""Digests taken before, kept in the user's cache: while no line of the package changes, none is taken anew."""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from fldrep.atomic import atomic_write
from fldrep.errors import DataError
from fldrep.storage.cache import cache_folder

VERSIONS_KEPT = 32  # of the package: who edits it makes one a call


class Remembered:
    """The digests of a package as it is now: `{what is asked: digest}` in a file that its text names."""

    def __init__(self, package: Path):
        self._package = package
        self._stamps = _stamps(package)
        self._path = cache_folder() / "digests" / f"{_text_of(package)}.json"
        self._known = _read(self._path)

    def digest(self, asked: str, take: Callable[[], str]) -> str:
        """What `take` gives for what is asked. It is called once, as long as its answer can be kept."""
        if asked not in self._known:
            self._known[asked] = take()
            if self._stamps == _stamps(self._package):  # else an edit came between, and the file is of the old text
                self._keep()
        return self._known[asked]

    def _keep(self) -> None:
        with contextlib.suppress(DataError, OSError):  # a cache that cannot be written costs time, and nothing else
            with atomic_write(self._path) as beside:
                beside.write_text(json.dumps(self._known), encoding="utf-8")
            versions = sorted(self._path.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)
            for old in versions[:-VERSIONS_KEPT]:
                old.unlink(missing_ok=True)


def _stamps(package: Path) -> dict[str, tuple[int, int]]:
    """When each module of a package was written, in ns, and its bytes: a tenth of the time of reading them."""
    places = (os.path.join(folder, name) for folder, _, names in os.walk(package) for name in names)
    stats = {place: os.stat(place) for place in places if place.endswith(".py")}
    return {place: (one.st_mtime_ns, one.st_size) for place, one in stats.items()}


def _text_of(package: Path) -> str:
    """Digest of the names and bytes of all modules of a package, and of the Python that reads them."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(package.rglob("*.py")):
        digest.update(f"\n{path.relative_to(package)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _read(path: Path) -> dict[str, str]:
    """The digests in a file; none where it is not there, or is not what was written."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
