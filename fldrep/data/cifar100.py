"""CIFAR-100: photos of a hundred kinds of things (Krizhevsky 2009)."""

from fldrep.config.data import DataSettings
from fldrep.data.dataset import RawArrays
from fldrep.data.publication import Archive, Publication
from fldrep.data.published import cifar_layout, published_arrays
from fldrep.registry import dataset

PUBLICATION = Publication(
    archives=(
        Archive(
            "cifar-100-python.tar.gz",
            "md5-eb9058c3a382ffc7106e4002c42a8d85",
            {"train": "md5-16019d7e3df5f24257cddd939b257f8d", "test": "md5-f0ef6b0ae62326f3e7ffdfab6717acfc"},
        ),
    ),
    torchvision="CIFAR100",
    subfolders=("cifar-100-python",),
    digests_bind=True,
)


# mean and std as commonly published
@dataset(
    "cifar100",
    shape=(3, 32, 32),
    classes=100,
    train_images=50_000,
    test_images=10_000,
    mean=(0.50707, 0.48655, 0.44092),
    std=(0.26733, 0.25644, 0.27615),
)
def cifar100(data: DataSettings) -> RawArrays:
    """Photos of a hundred kinds of things. Errors: as `published_arrays`."""
    official = cifar_layout({"train": 50_000, "test": 10_000}, "fine_labels")
    return published_arrays("cifar100", data, PUBLICATION, official=official)
