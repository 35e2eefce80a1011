"""Downloads the archives of a class of torchvision.datasets by pooch; a script that `clients` runs:

python -P download.py CLASS FOLDER NAME=ALGORITHM:DIGEST...

It tries all addresses of an archive. Its last line says why it ended, and its exit code whether an answer came.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

NOT_REACHED, NOT_THE_ARCHIVE = 1, 3


class Failed(Exception):
    """An archive is at none of its addresses; `code` says whether something else is."""

    def __init__(self, reason: str, code: int):
        super().__init__(reason)
        self.code = code


def addresses(published: type, name: str) -> list[str]:
    """Where a class of torchvision.datasets has an archive: MNIST and its kin at mirrors, CIFAR at one address."""
    return [mirror + name for mirror in published.mirrors] if hasattr(published, "mirrors") else [published.url]


def download(urls: Sequence[str], name: str, digest: str, folder: Path) -> None:
    """Fetch an archive into a folder from the first of its addresses that has it; nothing else is left there.

    Errors: `Failed` with the reasons of all.
    """
    import pooch

    whole = pooch.HTTPDownloader(headers={"Accept-Encoding": "identity"}, hooks={"response": as_sent})
    reasons, code = [], NOT_REACHED
    for url in urls:
        try:
            pooch.retrieve(url, digest, name, folder, downloader=whole)
            return
        except OSError as error:  # also every error of the requests package
            reasons.append(f"{url}: {_root(error)}")
        except ValueError as error:  # how pooch says that the digest is another
            reasons.append(f"{url}: {str(error).partition('. Deleted')[0]}")
            code = NOT_THE_ARCHIVE
    raise Failed("; ".join(reasons), code)


def as_sent(response, *_, **__) -> None:
    """Keep requests from unpacking a .gz file that the server calls an encoding: its digest is that of the file."""
    response.raw.headers.pop("Content-Encoding", None)


def _root(error: BaseException) -> str:
    """The innermost error, which says what happened on the line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return " ".join(f"{type(error).__name__}: {error}".split())


def main(published: str, folder: str, *archives: str) -> None:
    """Download all archives of a class."""
    import pooch
    import torchvision.datasets

    pooch.get_logger().setLevel("WARNING")
    known = getattr(torchvision.datasets, published)
    for name, _, digest in (archive.partition("=") for archive in archives):
        download(addresses(known, name), name, digest, Path(folder))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Failed as failed:
        print(failed)
        sys.exit(failed.code)
