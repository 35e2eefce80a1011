"""The images of a data set as every stage reads them."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from fldrep.tensors import read_tensors, write_tensors


@dataclass(frozen=True)
class ImageSet:
    """All images of a data set, uint8 (N, C, H, W), their labels, int64 (N,), and the mean image of each class.

    `class_means` is float32 (classes, C, H, W), pixels in [0, 1], over the training images.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_means: Tensor

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
        """Write the five tensors atomically."""
        write_tensors(path, vars(self), metadata)

    @classmethod
    def read(cls, path: Path | str) -> "ImageSet":
        """Read a file of `write`. Errors: `DataError` naming the file."""
        return cls(**read_tensors(path, cls.__dataclass_fields__))


def mean_of_each_class(images: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean image of each class in pixels of [0, 1]. Shapes: uint8 (N, C, H, W), (N,) -> float32 (classes, C, H, W)."""
    sums = torch.zeros(classes, *images.shape[1:], dtype=torch.float64)
    for start in range(0, len(images), 10_000):
        sums.index_add_(0, labels[start : start + 10_000], images[start : start + 10_000].double())
    counts = torch.bincount(labels, minlength=classes).clamp_min(1)
    return (sums / counts.view(-1, 1, 1, 1) / 255).float()


def as_pixels(images: Tensor) -> Tensor:
    """uint8 images as float32 pixels in [0, 1], same shape."""
    return images.float() / 255
