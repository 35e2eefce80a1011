"""The images of a data set as every stage reads them."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fldrep.errors import DataError
from fldrep.storage.tensors import read_tensors, write_tensors

PIXELS_AT_ONCE = 2**23  # 64 MB in float64


@dataclass(frozen=True)
class ImageSet:
    """All images of a data set, uint8 (N, C, H, W), their labels, int64 (N,), and the mean image of each class.

    `class_means` is float32 (classes, C, H, W), pixels in [0, 1], over the training images. `mean` and `std`, float64
    (C,), pixels in [0, 1], are what a network's input is normalised with: those of the training images, if not given.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_means: Tensor
    mean: Tensor | None = None
    std: Tensor | None = None

    def __post_init__(self):  # noqa: D105
        if self.mean is None:
            for name, value in zip(("mean", "std"), pixel_statistics(self.train_images), strict=True):
                object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return tuple(self.train_images.shape[1:])

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_means)

    def with_tests(self, count: int | None) -> "ImageSet":
        """The same set with the first `count` test images, or with all where it is None."""
        return replace(self, test_images=self.test_images[:count], test_labels=self.test_labels[:count])

    def write(self, path: Path | str, metadata: dict[str, str]) -> None:
        """Write the tensors atomically."""
        write_tensors(path, vars(self), metadata)

    @classmethod
    def read(cls, path: Path | str) -> "ImageSet":
        """Read a file of `write`. Errors: `DataError` naming the file, and the tensor that does not fit the others."""
        found = cls(**read_tensors(path, cls.__dataclass_fields__))
        for split in ("train", "test"):
            images, labels = getattr(found, f"{split}_images"), getattr(found, f"{split}_labels")
            if images.dtype != torch.uint8 or images.ndim != 4 or not len(images):
                raise DataError(f"{path}: {split}_images is {_shape(images)}, expected uint8 (N, C, H, W)")
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
                raise DataError(f"{path}: {split}_labels is {_shape(labels)}, expected int64 ({len(images)},)")
            if not 0 <= int(labels.min()) <= int(labels.max()) < found.classes:
                told = f"holds {int(labels.min())} to {int(labels.max())}, expected 0 to {found.classes - 1}"
                raise DataError(f"{path}: {split}_labels {told}")
        for name in ("test_images", "class_means"):
            if getattr(found, name).shape[1:] != found.shape:
                raise DataError(f"{path}: {name} is {_shape(getattr(found, name))}, expected (N, *{found.shape})")
        for name in ("mean", "std"):
            value = getattr(found, name)
            if value.shape != found.shape[:1] or not value.isfinite().all() or (name == "std" and (value <= 0).any()):
                raise DataError(f"{path}: {name} is {value.tolist()}, expected {found.shape[0]} finite, std above 0")
        return found


def _shape(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def mean_of_each_class(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean image of each class in pixels of [0, 1]. Shapes: uint8 (N, C, H, W), (N,) -> float32 (classes, C, H, W)."""
    sums = torch.zeros(classes, *images.shape[1:], dtype=torch.float64)
    at_once = _images_at_once(images)
    for some, their_labels in zip(images.split(at_once), labels.split(at_once), strict=True):
        sums.index_add_(0, their_labels, some.double())
    counts = torch.bincount(labels, minlength=classes).clamp_min(1)
    return (sums / counts.view(-1, 1, 1, 1) / 255).float()


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel in pixels of [0, 1]. Shape: uint8 (N, C, H, W) -> float64 (C,) twice.

    A channel that is the same everywhere gets the deviation 1, so that it can be divided by.
    """
    sums, squares = (torch.zeros(images.shape[1], dtype=torch.int64) for _ in range(2))
    for some in images.split(_images_at_once(images)):
        sums += some.sum((0, 2, 3))
        squares += some.int().square().sum((0, 2, 3))
    count = images[:, 0].numel()
    mean = sums.double() / count
    std = (squares.double() / count - mean.square()).clamp_min(0).sqrt()
    return mean / 255, torch.where(std > 0, std / 255, 1)


def _images_at_once(images: Tensor) -> int:
    return max(1, PIXELS_AT_ONCE // images[0].numel())


def as_pixels(images: Tensor) -> Tensor:
    """uint8 images as float32 pixels in [0, 1], same shape."""
    return images.float() / 255
