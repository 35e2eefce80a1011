"""The user's photo as a data set of one training image, beside the test images and class means of CIFAR-10."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fldrep.config.data import PHOTO, DataSettings
from fldrep.data.cifar10 import cifar10
from fldrep.data.dataset import RawArrays
from fldrep.errors import ConfigError
from fldrep.registry import dataset


@dataset("photo", like="cifar10", train_images=1)
def photo(data: DataSettings) -> RawArrays:
    """A photo goes where an image of CIFAR-10 would.

    With the photo's own, the mean image of its class would be the photo, and no line of no information.
    Errors: `ConfigError` where the settings name no photo; `DataError` naming its file; as `published_arrays`.
    """
    from fldrep.data.pictures import resized_photo

    if data.photo is None:
        raise ConfigError(f"data.photo: data set {PHOTO!r} needs its path and label, none given")
    pixels = resized_photo(data.photo.path)  # before the download: a wrong path is told at once
    around = cifar10(data)
    return replace(
        around,
        train_images=pixels.permute(1, 2, 0).unsqueeze(0).numpy(),
        train_labels=np.array([data.photo.label]),
        class_means_of=around,
        about={"photo": Path(data.photo.path).name},
    )
