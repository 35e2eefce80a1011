"""The same arrays whatever the source, and the real data sets whole."""

import hashlib
from importlib import import_module

import numpy as np
import pytest
import torch

from fldrep import registry
from fldrep.config.data import DataSettings
from fldrep.data.dataset import array_sha256
from fldrep.data.datasets import load_arrays, prepare
from fldrep.data.sources import NoSource
from fldrep.errors import UnknownName
from fldrep.storage.imageset import ImageSet
from fldrep.storage.tensors import read_metadata

PIECES = ("train_images", "train_labels", "test_images", "test_labels")


def assert_equal(raw, arrays):
    for piece in PIECES:
        np.testing.assert_array_equal(getattr(raw, piece), arrays[piece], err_msg=piece)
        assert getattr(raw, piece).dtype == (np.int64 if piece.endswith("labels") else np.uint8)


@pytest.mark.parametrize("below", ["", "MNIST/raw", "raw"])
@pytest.mark.parametrize("gz", [True, False])
def test_idx_files_are_found_plain_or_compressed_where_torchvision_lays_them(world, below, gz):
    world.put(world.grey_files(), below, gz)
    raw = load_arrays("grey", world.settings("folder"))
    assert_equal(raw, world.grey)
    assert (raw.source, raw.checked) == ("folder", "array sha256")


def test_idx_files_may_be_partly_compressed(world):
    files = world.grey_files()
    world.put(dict(list(files.items())[:2]), gz=True)
    world.put(dict(list(files.items())[2:]))
    assert_equal(load_arrays("grey", world.settings("folder")), world.grey)


def test_files_known_by_their_digest_alone_say_so(world):
    world.put(world.grey_files(), "FashionMNIST/raw", gz=True)
    raw = load_arrays("fashion", world.settings("folder"))
    assert_equal(raw, world.grey)
    assert raw.checked == "file digest"


def test_cifar_batches_as_python2_wrote_them(world, build):
    world.put({"tiny-python.tar.gz": build.tar_gz(world.colour_batches(), "tiny-batches-py/")})
    assert_equal(load_arrays("colour", world.settings("folder")), world.colour)


@pytest.mark.parametrize("below", ["", "tiny-batches-py"])
def test_extracted_cifar_batches(world, below):
    world.put(world.colour_batches(), below)
    assert_equal(load_arrays("colour", world.settings("folder")), world.colour)


def test_cifar100_takes_the_fine_labels(world, build):
    batches = world.colour_batches("fine_labels")
    world.define_colour(batches, labels_key="fine_labels")
    world.put(batches)
    assert_equal(load_arrays("colour", world.settings("folder")), world.colour)


def test_png_batches_in_any_order_of_the_archive(world, build):
    archive = build.tar_gz(dict(reversed(world.colour_pngs().items())))
    world.define_colour(world.colour_batches(), npm=archive)
    world.put_in_cache("colour", "tiny-colour-2.0.0.tgz", archive)
    raw = load_arrays("colour", world.settings("npm"))
    assert_equal(raw, world.colour)
    assert raw.source == "npm"


def test_prepare_writes_the_image_set(world):
    world.put(world.colour_batches())
    prepare("colour", world.settings("folder"), world.out)
    found = ImageSet.read(world.out)
    assert found.shape == (3, 32, 32)
    assert found.classes == 10
    assert found.train_images.dtype == torch.uint8
    assert found.train_labels.dtype == torch.int64
    assert int(found.train_images[7, 2, 30, 1]) == world.colour["train_images"][7, 30, 1, 2]
    assert torch.equal(found.test_labels, torch.from_numpy(world.colour["test_labels"]))
    mean = world.colour["train_images"][world.colour["train_labels"] == 4].mean(0).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(found.class_means[4], mean, rtol=1e-6)
    metadata = read_metadata(world.out)
    assert (metadata["dataset"], metadata["source"], metadata["checked"]) == ("colour", "folder", "array sha256")
    assert metadata["version"]


def test_prepare_gives_grey_images_one_channel(world):
    world.put(world.grey_files())
    prepare("grey", world.settings("folder"), world.out)
    assert ImageSet.read(world.out).train_images.shape == (20, 1, 28, 28)


def test_array_sha256_is_of_unsigned_bytes_in_c_order():
    array = np.arange(6).reshape(2, 3)
    assert array_sha256(array.T.copy().T) == hashlib.sha256(bytes([0, 1, 2, 3, 4, 5])).hexdigest()


def test_an_unknown_data_set_is_refused_by_name():
    with pytest.raises(UnknownName, match=r"'svhn'.*cifar10.*mnist"):
        load_arrays("svhn", DataSettings())


def record(dataset):
    """The module of a built-in data set."""
    return import_module(registry.entry("dataset", dataset).module)


def test_the_records_hold_the_digests_torchvision_publishes():
    from torchvision import datasets as published

    for name in ("mnist", "fashion-mnist"):
        publication = record(name).PUBLICATION
        ours = [(archive.name, archive.digest) for archive in publication.archives]
        assert ours == [(n, f"md5-{d}") for n, d in getattr(published, publication.torchvision).resources]
    for name in ("cifar10", "cifar100"):
        publication = record(name).PUBLICATION
        theirs = getattr(published, publication.torchvision)
        (archive,) = publication.archives
        assert (archive.name, archive.digest) == (theirs.filename, f"md5-{theirs.tgz_md5}")
        assert list(archive.members.items()) == [(n, f"md5-{d}") for n, d in theirs.train_list + theirs.test_list]
        assert publication.subfolders == (theirs.base_folder,)


def test_files_that_are_unpickled_or_known_by_nothing_else_must_have_their_digest():
    records = {name: record(name) for name in ("mnist", "cifar10", "fashion-mnist", "cifar100")}
    bound = {name: known.PUBLICATION.digests_bind for name, known in records.items()}
    assert bound == {"mnist": False, "cifar10": True, "fashion-mnist": True, "cifar100": True}
    assert all(hasattr(known, "SHA256") or known.PUBLICATION.digests_bind for known in records.values())


# ---- the real data sets, whole: from the cache, and downloaded into it the first time


REAL = {  # first ten training labels; mean and deviation of the training pixels, as widely published
    "mnist": ((60_000, 28, 28), [5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [0.1307], [0.3081]),
    "cifar10": (
        (50_000, 32, 32, 3),
        [6, 9, 9, 4, 1, 1, 2, 7, 8, 3],
        [0.4914, 0.4822, 0.4465],
        [0.2470, 0.2435, 0.2616],
    ),
}


@pytest.mark.parametrize("dataset", REAL)
def test_the_real_data_set_is_whole(dataset):
    shape, labels, means, deviations = REAL[dataset]
    try:
        raw = load_arrays(dataset, DataSettings())
    except NoSource as error:
        pytest.skip(f"real {dataset}: neither in the cache nor to be downloaded: {error}")
    assert raw.checked == "array sha256"
    assert raw.train_images.shape == shape
    assert raw.test_images.shape == (10_000, *shape[1:])
    assert raw.train_labels[:10].tolist() == labels
    for channel, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        shares = np.bincount(raw.train_images.reshape(-1, len(means))[:, channel], minlength=256)
        shares, pixels = shares / shares.sum(), np.arange(256) / 255
        assert shares @ pixels == pytest.approx(mean, abs=1e-4)
        assert (shares @ (pixels - mean) ** 2) ** 0.5 == pytest.approx(deviation, abs=1e-4)
