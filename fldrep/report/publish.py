"""Published folders: several kinds of results that a repository can hold, each with its own files and checks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fldrep.errors import DataError
from fldrep.report import evidence_folder, results_folder


@dataclass(frozen=True)
class Kind:
    """A kind of published folder.

    `mark`: the file that tells a folder of this kind; `takes(source)`: whether it publishes a path; `publish(source,
    root, out, commit)` -> the folder written; `faults(folder, root)` -> what is wrong with a folder, root being the
    repository; `rewrite(folder)` -> what it says differently now, for a folder of an older version.
    """

    mark: str
    takes: Callable[[Path], bool]
    publish: Callable[[Path, Path, Path, str | None], Path]
    faults: Callable[[Path, Path], list[str]]
    rewrite: Callable[[Path], list[str]]


RESULTS = Kind(
    "provenance.json",
    lambda source: not source.is_dir(),  # a config file
    results_folder.publish_results,
    results_folder.faults,
    results_folder.rewrite,
)
EVIDENCE = Kind(
    evidence_folder.RECORD,
    lambda source: (source / evidence_folder.RECORD).is_file(),
    lambda source, root, out, commit: evidence_folder.publish_evidence(source, out, commit),
    lambda folder, root: evidence_folder.faults(folder),
    lambda folder: [],  # there is one version
)
KINDS = (EVIDENCE, RESULTS)


def kind_of(folder: Path) -> Kind:
    """The kind of a published folder. Errors: `DataError` naming the files that would tell."""
    for kind in KINDS:
        if (folder / kind.mark).is_file():
            return kind
    raise DataError(f"{folder}: no published results: it has no {' and no '.join(kind.mark for kind in KINDS)}")


def publish(source: Path, root: Path, out: Path, commit: str | None = None) -> Path:
    """Publish what a path names, in the place of what is there; returns the folder written.

    Args: source: a config file whose results lie under `root`, or a folder of evidence; commit: what made the results,
    where they do not tell.
    Errors: `DataError` where the path is nothing that can be published, and those of its kind.
    """
    for kind in KINDS:
        if kind.takes(source):
            return kind.publish(source, root, out, commit)
    raise DataError(f"{source}: nothing that can be published; a config file or a folder of evidence is expected")


def publish_again(names: Sequence[str], out: Path) -> Iterator[str]:
    """Rewrite published folders in the words of this version, from their own tables; yields a line for each thing told.

    Args: names: folders of `out`; none: all of them. Errors: `DataError` for a folder that is not there or is damaged.
    """
    for name in names or folders(out):
        folder = out / name
        differences = kind_of(folder).rewrite(folder)
        told = f"{len(differences)} claims say something else" if differences else "every claim says what it said"
        yield f"{folder}: written again; {told}"
        yield from (f"{folder}: {line}" for line in differences)


def folders(out: Path) -> list[str]:
    """The names of all published folders."""
    return sorted(path.name for path in out.iterdir() if any((path / kind.mark).is_file() for kind in KINDS))
