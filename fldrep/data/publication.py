"""Where a data set is published: its files, their digests, and who hands them out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


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

    `torchvision` is the class in torchvision.datasets that knows the addresses; `subfolders` where that class lays
    files below its root; `digests_bind`: a file from the user's folder must have the published digest, because it is
    unpickled, or because nothing else is known by which to check its content.
    """

    archives: tuple[Archive, ...]
    torchvision: str
    subfolders: tuple[str, ...]
    digests_bind: bool
    npm: NpmPackage | None = None


IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def idx_publication(
    digests: Sequence[str], torchvision: str, *, digests_bind: bool, npm: NpmPackage | None = None
) -> Publication:
    """MNIST's four gzip files or those of its kin, each with its digest, in the order of `IDX_FILES`."""
    archives = [Archive(f"{name}.gz", digest, {name: None}) for name, digest in zip(IDX_FILES, digests, strict=True)]
    return Publication(tuple(archives), torchvision, (f"{torchvision}/raw", "raw"), digests_bind, npm)
