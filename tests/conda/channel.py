"""A conda channel on disk with what the environments ask of conda-forge: a Python of this machine, and pip.

Run as a program: the folder to make, and the interpreter that becomes the package `python`.
"""

import asyncio
import hashlib
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from rattler.index import index_fs

SUBDIR = "linux-64"
# Of Python's library: what no program needs, and is most of its size.
LEFT_OUT = {"test", "tests", "idlelib", "turtledemo", "lib2to3", "__pycache__", "site-packages", "ensurepip"}
ASKED = "import sys, sysconfig as s; print(sys.version.split()[0], s.get_path('stdlib'), sys.executable, sep='\\n')"

Files = dict[str, Path | bytes]  # by the place in an environment


def make_channel(folder: Path, python: str) -> None:
    """Make the channel `conda-forge` in a folder, which stands for a mirror's address."""
    version, library, executable = subprocess.check_output([python, "-c", ASKED], text=True).splitlines()
    library = Path(library)
    minor = library.name
    packages = folder / "conda-forge" / SUBDIR
    packages.mkdir(parents=True)
    binaries: Files = {"bin/python": Path(executable).resolve(), "bin/python3": Path(executable).resolve()}
    write_package(packages, "python", version, [], binaries | dict(_library(library, f"lib/{minor}")))
    pip = dict(_library(library / "site-packages/pip", f"lib/{minor}/site-packages/pip"))
    said = subprocess.check_output([python, "-m", "pip", "--version"], text=True).split()[1]
    write_package(packages, "pip", said, [f"python {version.rpartition('.')[0]}.*"], pip)
    asyncio.run(index_fs(folder / "conda-forge"))


def _library(folder: Path, to: str) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and path.suffix != ".a" and not LEFT_OUT & set(parts[:-1]):
            yield f"{to}/{'/'.join(parts)}", path


def write_package(folder: Path, name: str, version: str, depends: list[str], files: Files) -> None:
    """Write a package as conda has them: a tar of files, with their digests and what it depends on under `info`."""
    index = {
        **{"name": name, "version": version, "build": "0", "build_number": 0, "depends": depends},
        **{"subdir": SUBDIR, "platform": "linux", "arch": "x86_64"},
    }
    contents = {place: one if isinstance(one, bytes) else one.read_bytes() for place, one in files.items()}
    paths = [
        {
            **{"_path": place, "path_type": "hardlink"},
            **{"sha256": hashlib.sha256(content).hexdigest(), "size_in_bytes": len(content)},
        }
        for place, content in contents.items()
    ]
    told = {"info/index.json": index, "info/paths.json": {"paths": paths, "paths_version": 1}}
    said = {place: json.dumps(one).encode() for place, one in told.items()}
    said["info/files"] = "".join(f"{place}\n" for place in contents).encode()
    with tarfile.open(folder / f"{name}-{version}-0.tar.bz2", "w:bz2", compresslevel=1) as archive:
        for place, content in (said | contents).items():
            entry = tarfile.TarInfo(place)
            entry.size, entry.mode = len(content), 0o755 if place.startswith("bin/") else 0o644
            archive.addfile(entry, io.BytesIO(content))


if __name__ == "__main__":
    make_channel(Path(sys.argv[1]), sys.argv[2])
