"""Published file formats to arrays: IDX, CIFAR's pickled batches, and batches stored as one PNG.

Every parser takes the bytes of one file and `where`, the words by which an error names it, and returns the pieces of
the data set that the file holds, by name: `train_images`, `train_labels`, `test_images`, `test_labels`. Images are
uint8 (N, H, W) or (N, H, W, 3), labels int64 (N,). A file that is not what it should be ends in a `DataError` that says
what was expected and what was found.
"""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from fldrep.errors import DataError

Pieces = dict[str, np.ndarray]
Parser = Callable[[bytes, str], Pieces]

# The largest file inside a known archive is CIFAR-100's training batch, 155 MB; more is a decompression bomb.
LARGEST_MEMBER = 200_000_000


def parse_idx(name: str, shape: tuple[int, ...], data: bytes, where: str) -> Pieces:
    """An IDX file of unsigned bytes: four bytes of magic, a big-endian count a dimension, the values in C order.

    Source: yann.lecun.com/exdb/mnist, "the IDX file format".
    """
    header = 4 + 4 * len(shape)
    if len(data) < header:
        raise DataError(f"{where}: expected an IDX file of {header + np.prod(shape)} bytes, found {len(data)} bytes")
    magic = 0x0800 + len(shape)  # type 8 is unsigned byte; the last byte counts the dimensions
    found_magic, *found_shape = struct.unpack(f">{1 + len(shape)}I", data[:header])
    if found_magic != magic:
        raise DataError(f"{where}: expected IDX magic 0x{magic:08x}, found 0x{found_magic:08x} ({data[:12]!r})")
    if tuple(found_shape) != shape:
        raise DataError(f"{where}: expected {name.replace('_', ' ')} of shape {shape}, found {tuple(found_shape)}")
    if len(data) - header != np.prod(shape):
        raise DataError(f"{where}: expected {np.prod(shape)} bytes after the header, found {len(data) - header}")
    values = np.frombuffer(data, np.uint8, offset=header).reshape(shape)
    return {name: values.astype(np.int64) if name.endswith("labels") else values}


class _ArraysOnly(pickle.Unpickler):
    """Builds arrays, lists, dictionaries, text and numbers, and refuses to call anything else."""

    ALLOWED: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module, name):
        """Errors: `UnpicklingError` for anything a CIFAR batch does not need."""
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no CIFAR batch needs")
        return self.ALLOWED[module, name]


def parse_cifar_batch(split: str, count: int, labels_key: str, data: bytes, where: str) -> Pieces:
    """A batch of CIFAR's "python version": a pickled dictionary of labels and `data`, uint8 (N, 3072), planes R, G, B.

    To be called only on bytes whose digest was checked. Source: www.cs.toronto.edu/~kriz/cifar.html.
    """
    try:
        batch = _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
        rows, labels = np.asarray(batch["data"]), np.asarray(batch[labels_key])
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DataError(f"{where}: expected a CIFAR batch, found an unreadable one: {error!r}") from None
    if rows.shape != (count, 3072) or rows.dtype != np.uint8 or labels.shape != (count,):
        found = f"{rows.dtype} {rows.shape} and labels {labels.shape}"
        raise DataError(f"{where}: expected uint8 ({count}, 3072) and labels ({count},), found {found}")
    images = np.ascontiguousarray(rows.reshape(count, 3, 32, 32).transpose(0, 2, 3, 1))
    return {f"{split}_images": images, f"{split}_labels": labels.astype(np.int64)}


def parse_png_batch(split: str, count: int, data: bytes, where: str) -> Pieces:
    """A batch of 32x32 RGB images as one PNG 1024 pixels wide: a row an image, its pixels row by row."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.mode != "RGB" or picture.size != (1024, count):
                found = f"{picture.mode} {picture.width} x {picture.height}"
                raise DataError(f"{where}: expected a PNG, RGB 1024 x {count}, found {found}")
            pixels = np.asarray(picture)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: expected a PNG, RGB 1024 x {count}, found {data[:12]!r}: {error}") from None
    return {f"{split}_images": pixels.reshape(count, 32, 32, 3)}


def parse_json_labels(split: str, count: int, data: bytes, where: str) -> Pieces:
    """A JSON list of class numbers."""
    try:
        labels = json.loads(data)
    except ValueError:
        raise DataError(f"{where}: expected a JSON list of {count} labels, found {data[:24]!r}") from None
    if not isinstance(labels, list) or len(labels) != count or any(type(label) is not int for label in labels):
        found = f"a list of {len(labels)}" if isinstance(labels, list) else type(labels).__name__
        raise DataError(f"{where}: expected a JSON list of {count} whole numbers, found {found}")
    return {f"{split}_labels": np.array(labels, dtype=np.int64)}


def members(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes, str]]:
    """The wanted files inside a tar archive, or the one file that `path` is: (name, bytes, where), one at a time.

    A `.gz` file is decompressed; nothing is written to disk.
    Errors: `DataError` naming the file that is cut or no archive.
    """
    try:
        if path.name.endswith((".tar.gz", ".tgz")):
            yield from _tar_members(path, wanted)
        elif path.suffix == ".gz":
            with gzip.open(path) as file:
                yield path.stem, _read(file, str(path)), str(path)
        else:
            with path.open("rb") as file:
                yield path.name, _read(file, str(path)), str(path)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: expected a whole archive, found {_beginning(path)}: {error}") from None
    except EOFError:
        raise DataError(f"{path}: expected a whole archive, found one cut at {path.stat().st_size} bytes") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None


def _tar_members(path: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes, str]]:
    # read as a stream: seeking back in gzip would decompress it anew
    with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            name = PurePosixPath(member.name).name
            if member.isfile() and name in wanted:
                where = f"{path}: {name}"
                yield name, _read(tar.extractfile(member), where), where


def _read(file: IO[bytes], where: str) -> bytes:
    data = file.read(LARGEST_MEMBER + 1)
    if len(data) > LARGEST_MEMBER:
        raise DataError(f"{where}: expected at most {LARGEST_MEMBER} bytes, found more")
    return data


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.stat().st_size} bytes that begin with {file.read(12)!r}"
