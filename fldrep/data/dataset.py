"""A data set as arrays: what its function gives, checked against what is known of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fldrep.config.datasets import Facts, fault_of_shape
from fldrep.errors import DataError

SPLITS = ("train", "test")
PIECES = ("train_images", "train_labels", "test_images", "test_labels")
OWN = "nothing: no publication is known to check it by"


@dataclass(frozen=True)
class RawArrays:
    """A data set as arrays, where it is from and what it was checked by.

    Images are uint8 (N, H, W) or (N, H, W, C), labels int64 (N,). The mean image of each class is that of the training
    images of `class_means_of`, if not of these; `about` holds what else the file shall say.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    checked: str = OWN
    class_means_of: RawArrays | None = None
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, height, width, *channels = self.train_images.shape
        return (channels[0] if channels else 1, height, width)

    def classes(self, facts: Facts) -> int:
        """The number of classes: as known, else one more than the largest label."""
        return facts.classes or 1 + int(max(self.train_labels.max(), self.test_labels.max()))


def from_arrays(dataset: str, given: object, source: str) -> RawArrays:
    """The arrays that the function of a data set returns as a dictionary.

    Images are uint8 (N, H, W) or (N, H, W, C), labels whole numbers (N,); anything that numpy takes for such arrays.
    Errors: `DataError` naming the key, what was expected and what was found.
    """
    where = f"data set {dataset!r}"
    if not isinstance(given, Mapping) or {*given} != {*PIECES}:
        found = ", ".join(map(str, given)) if isinstance(given, Mapping) else type(given).__name__
        raise DataError(f"{where}: expected a dictionary of {', '.join(PIECES)}, found {found}")
    arrays = {piece: _as_array(given[piece], f"{where}: {piece}") for piece in PIECES}
    for split in SPLITS:
        _check_images(arrays[f"{split}_images"], f"{where}: {split}_images")
        _check_labels(arrays[f"{split}_labels"], len(arrays[f"{split}_images"]), f"{where}: {split}_labels")
        arrays[f"{split}_labels"] = arrays[f"{split}_labels"].astype(np.int64)
    return RawArrays(**arrays, source=source)


def _as_array(given: object, where: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{where}: expected an array, found {type(given).__name__}: {error}") from None


def _check_images(images: np.ndarray, where: str) -> None:
    if images.dtype.kind == "f":
        raise DataError(f"{where}: expected uint8, 0 to 255, found {images.dtype}; multiply by 255 and round")
    if images.dtype != np.uint8:
        raise DataError(f"{where}: expected uint8, 0 to 255, found {images.dtype}")
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        raise DataError(f"{where}: expected (N, H, W) or (N, H, W, 3), channels last, found {images.shape}")
    if not len(images):
        raise DataError(f"{where}: expected images, found none")


def _check_labels(labels: np.ndarray, images: int, where: str) -> None:
    if labels.dtype.kind not in "iu" or labels.shape != (images,):
        raise DataError(f"{where}: expected whole numbers ({images},), found {labels.dtype} {labels.shape}")


def check(dataset: str, arrays: RawArrays, facts: Facts) -> None:
    """Refuse arrays that do not fit each other, or what is known of the data set. Errors: `DataError` naming both."""
    where = f"data set {dataset!r}"
    for split in SPLITS:
        images, labels = getattr(arrays, f"{split}_images"), getattr(arrays, f"{split}_labels")
        expected = getattr(facts, f"{split}_images")
        if expected is not None and len(images) != expected:
            raise DataError(f"{where}: {split}_images: expected {expected}, found {len(images)}")
        if images.shape[1:] != arrays.train_images.shape[1:]:
            raise DataError(f"{where}: train_images {arrays.train_images.shape} and test_images {images.shape} differ")
        classes = arrays.classes(facts)
        if labels.min() < 0 or labels.max() >= classes:
            found = f"{labels.min()}..{labels.max()}"
            raise DataError(f"{where}: {split}_labels: expected classes 0..{classes - 1}, found {found}")
    if classes < 2:
        raise DataError(f"{where}: expected two classes or more, found {classes}")
    if facts.shape not in (None, arrays.shape):
        raise DataError(f"{where}: expected images of shape {facts.shape}, found {arrays.shape}")
    if fault_of_shape(arrays.shape):
        raise DataError(f"{where}: {fault_of_shape(arrays.shape)}")


def array_sha256(array: np.ndarray) -> str:
    """The sha256 of an array's values in C order, as unsigned bytes where they are below 256."""
    bytes_needed = np.min_scalar_type(int(array.max())).newbyteorder("<")
    return hashlib.sha256(np.ascontiguousarray(array, dtype=bytes_needed)).hexdigest()
