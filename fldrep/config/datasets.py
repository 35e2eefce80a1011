"""What is known of a data set before it is loaded: the words of its decorator."""

from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from fldrep import registry
from fldrep.config.data import SMALLEST_SIDE, DataSettings
from fldrep.config.section import Positive, Section, option
from fldrep.errors import ConfigError


class Facts(Section):
    """What the decorator of a data set says of it; what it does not say is found in the arrays."""

    shape: tuple[int, int, int] | None = option(None, "(C, H, W) of an image", strict=False)
    classes: int | None = option(None, "number of classes", ge=2)
    train_images: Positive | None = option(None, "number of training images")
    test_images: Positive | None = option(None, "number of test images")
    mean: tuple[float, ...] | None = option(None, "mean of each channel, pixels in [0, 1]", strict=False)
    std: tuple[float, ...] | None = option(None, "standard deviation of each channel", strict=False)
    like: str | None = option(None, "a data set whose facts hold where this one says nothing")
    files: tuple[str, ...] = Field((), description="files it is read from, as seen from its own", strict=False)

    @field_validator("shape")
    @classmethod
    def _check_shape(cls, shape: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if shape is not None and fault_of_shape(shape):
            raise ValueError(fault_of_shape(shape))
        return shape

    @model_validator(mode="after")
    def _check(self):
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together")
        if self.std is not None and (len(self.std) != len(self.mean) or min(self.std, default=0) <= 0):
            raise ValueError(f"std is {self.std} and mean {self.mean}: expected one for each channel, std above 0")
        if self.shape is not None and self.mean is not None and len(self.mean) != self.shape[0]:
            raise ValueError(f"mean has {len(self.mean)} channels, and shape {self.shape[0]}")
        return self

    @property
    def countable(self) -> bool:
        """Whether shape, classes and numbers of images are all known."""
        return None not in (self.shape, self.classes, self.train_images, self.test_images)


def fault_of_shape(shape: tuple[int, int, int]) -> str:
    """Why networks and metrics do not take images of a shape (C, H, W); empty where they do."""
    channels, height, width = shape
    if channels in (1, 3) and height == width >= SMALLEST_SIDE:
        return ""
    return f"images are {shape}; expected 1 or 3 channels and squares of {SMALLEST_SIDE} pixels a side or more"


def facts_of(dataset: str, data: DataSettings | None = None) -> Facts:
    """What is known of a data set that is registered, or a folder of `data`.

    Errors: `UnknownName`; `ConfigError` naming the word of the decorator that is wrong.
    """
    if data is not None and dataset in data.sets:
        pictures = data.sets[dataset]
        return Facts(shape=(pictures.channels, pictures.size, pictures.size))
    own = _words_of(dataset)
    if "like" not in own:
        return _checked(dataset, own)
    other = {word: said for word, said in _words_of(_checked(dataset, own).like).items() if word != "files"}
    return _checked(dataset, {**other, **own})


def _words_of(dataset: str) -> dict[str, Any]:
    return dict(registry.entry("dataset", dataset).words)


def _checked(dataset: str, words: dict[str, Any]) -> Facts:
    try:
        return Facts(**words)
    except ValidationError as error:
        faults = [
            ": ".join(map(str, (*one["loc"], one["msg"].removeprefix("Value error, ")))) for one in error.errors()
        ]
        where = registry.entry("dataset", dataset).file
        raise ConfigError(f"data set {dataset!r} ({where}): {'; '.join(faults)}") from None
