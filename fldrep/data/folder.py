"""A folder of class folders of pictures, read as a data set."""

import json
from collections.abc import Sequence

import numpy as np

from fldrep.config.data import FolderSettings
from fldrep.data.dataset import RawArrays
from fldrep.data.pictures import square_picture
from fldrep.storage.folders import Picture, class_folders


def folder_arrays(dataset: str, settings: FolderSettings) -> RawArrays:
    """The pictures of a folder, each cropped to a square and resized. Errors: `DataError` naming the folder or file."""
    held = class_folders(dataset, settings)
    return RawArrays(
        _images(held.train, settings),
        np.array([picture.label for picture in held.train]),
        _images(held.test, settings),
        np.array([picture.label for picture in held.test]),
        source="folder",
        about={"classes": json.dumps(held.classes)},
    )


def _images(pictures: Sequence[Picture], settings: FolderSettings) -> np.ndarray:
    images = np.empty((len(pictures), settings.size, settings.size, settings.channels), np.uint8)
    for place, picture in enumerate(pictures):
        images[place] = square_picture(picture.path, settings.channels, settings.size)
    return images
