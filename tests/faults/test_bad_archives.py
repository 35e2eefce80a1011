"""A wrong, cut or unreadable file ends in one line: its name, what was expected, what was found; nothing is left."""

import contextlib
import gzip
import json
import os
import pickle

import numpy as np
import pytest

from fldrep.data import formats
from fldrep.data.datasets import prepare
from fldrep.errors import DataError

HTML = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
IMAGES, LABELS, TEST = "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"


def _grey(world, dataset="grey", gz=False, raw=None, **changed):
    """A folder of IDX files, some of them changed; `raw` are bytes put in place of a compressed file."""
    files = world.grey_files() | {name.replace("_", "-"): data for name, data in changed.items()}
    world.put(files, gz=gz)
    world.put(raw or {})
    return dataset, world.settings("folder")


def _batches(world, build, published=True, **changed):
    """A folder of extracted batches, some of them changed, with the registry's digests to match, or not."""
    batches = world.colour_batches() | changed
    if published:
        world.define_colour(batches)
    world.put(batches)
    return "colour", world.settings("folder")


def _tar(world, build, data, published=True):
    """An official archive in the user's folder, with the registry's digest to match, or not."""
    if published:
        world.define_colour(world.colour_batches(), tar=data)
    world.put({"tiny-python.tar.gz": data})
    return "colour", world.settings("folder")


def _package(world, build, data=None, published=True, **changed):
    """An npm archive in the cache, some of its files changed, with the registry's digest to match, or not."""
    data = data or build.tar_gz(world.colour_pngs() | {n.replace("__", "."): d for n, d in changed.items()})
    if published:
        world.define_colour(world.colour_batches(), npm=data)
    world.put_in_cache("colour", "tiny-colour-2.0.0.tgz", data)
    return "colour", world.settings("npm")


def _rows(world):
    return world.colour["train_images"][:10].transpose(0, 3, 1, 2).reshape(10, 3072)


def _whole_tar(world, build):
    return build.tar_gz(world.colour_batches(), "tiny-batches-py/")


def _other_pixel(world):
    images = world.grey["train_images"].copy()
    images[19, 27, 27] ^= 1
    return images


def _broken_check_sum(world):
    data = bytearray(gzip.compress(world.grey_files()[IMAGES]))
    data[-8] ^= 0xFF
    return bytes(data)


class _Command:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"touch {self.folder}/was-unpickled",)


CASES = {
    "images cut": (
        lambda w, b: _grey(w, train_images_idx3_ubyte=w.grey_files()[IMAGES][:-100]),
        [IMAGES, "expected 15680 bytes", "found 15580"],
    ),
    "images too long": (
        lambda w, b: _grey(w, train_images_idx3_ubyte=w.grey_files()[IMAGES] + b"x"),
        [IMAGES, "expected 15680 bytes", "found 15681"],
    ),
    "images cut in the header": (
        lambda w, b: _grey(w, train_images_idx3_ubyte=w.grey_files()[IMAGES][:9]),
        [IMAGES, "expected an IDX file of 15696 bytes", "found 9 bytes"],
    ),
    "images empty": (
        lambda w, b: _grey(w, train_images_idx3_ubyte=b""),
        [IMAGES, "expected an IDX file", "found 0 bytes"],
    ),
    "images are labels": (
        lambda w, b: _grey(w, train_images_idx3_ubyte=w.grey_files()[LABELS] * 2),
        [IMAGES, "expected IDX magic 0x00000803", "found 0x00000801"],
    ),
    "images are floats": (
        lambda w, b: _grey(w, train_images_idx3_ubyte=b.idx(w.grey["train_images"], kind=0x0D)),
        [IMAGES, "expected IDX magic 0x00000803", "found 0x00000d03"],
    ),
    "test for train": (
        lambda w, b: _grey(w, train_images_idx3_ubyte=w.grey_files()[TEST]),
        [IMAGES, "expected train images of shape (20, 28, 28)", "found (10, 28, 28)"],
    ),
    "images of another size": (
        lambda w, b: _grey(w, train_images_idx3_ubyte=b.idx(np.zeros((20, 32, 32), np.uint8))),
        [IMAGES, "(20, 28, 28)", "found (20, 32, 32)"],
    ),
    "labels and test labels swapped": (
        lambda w, b: _grey(w, train_labels_idx1_ubyte=w.grey_files()["t10k-labels-idx1-ubyte"]),
        [LABELS, "expected train labels of shape (20,)", "found (10,)"],
    ),
    "one pixel changed": (
        lambda w, b: _grey(w, train_images_idx3_ubyte=b.idx(_other_pixel(w))),
        [IMAGES, "train images: expected sha256", "found"],
    ),
    "labels in another order": (
        lambda w, b: _grey(w, train_labels_idx1_ubyte=b.idx(w.grey["train_labels"][::-1].astype(np.uint8))),
        [LABELS, "train labels: expected sha256", "found"],
    ),
    "label that is no class": (
        lambda w, b: _grey(w, train_labels_idx1_ubyte=b.idx(np.full(20, 10, np.uint8))),
        [LABELS, "expected classes 0..9", "found 10..10"],
    ),
    "compressed file is HTML": (
        lambda w, b: _grey(w, raw={IMAGES + ".gz": HTML}),
        [IMAGES + ".gz", "expected a whole archive", "found 55 bytes that begin with b'<!DOCTYPE ht"],
    ),
    "compressed file is empty": (
        lambda w, b: _grey(w, raw={IMAGES + ".gz": b""}),
        [IMAGES + ".gz", "expected an IDX file", "found 0 bytes"],
    ),
    "compressed file is cut": (
        lambda w, b: _grey(w, raw={IMAGES + ".gz": gzip.compress(w.grey_files()[IMAGES])[:5000]}),
        [IMAGES + ".gz", "expected a whole archive", "found one cut at 5000 bytes"],
    ),
    "compressed file with a broken check sum": (
        lambda w, b: _grey(w, raw={IMAGES + ".gz": _broken_check_sum(w)}),
        [IMAGES + ".gz", "expected a whole archive", "CRC"],
    ),
    "one of four files missing": (
        lambda w, b: (w.put({n: d for n, d in w.grey_files().items() if n != TEST}), ("grey", w.settings("folder")))[1],
        ["user", f"holds {IMAGES}", f"lacks {TEST}"],
    ),
    "folder is not there": (
        lambda w, b: ("grey", w.settings("folder").model_copy(update={"folder": str(w.root / "nowhere")})),
        ["data.folder", "nowhere", "not a folder"],
    ),
    "compressed anew where only digests are known": (
        lambda w, b: _grey(w, "fashion", raw={IMAGES + ".gz": gzip.compress(w.grey_files()[IMAGES], 1)}),
        [IMAGES + ".gz", "expected digest md5-", "found md5-"],
    ),
    "plain files where only digests are known": (
        lambda w, b: _grey(w, "fashion"),
        [IMAGES, "no digest of it is published", f"give {IMAGES}.gz"],
    ),
    "official archive cut": (
        lambda w, b: _tar(w, b, _whole_tar(w, b)[:-200], published=False),
        ["tiny-python.tar.gz", "expected digest md5-", "found md5-"],
    ),
    "official archive is HTML": (
        lambda w, b: _tar(w, b, HTML, published=False),
        ["tiny-python.tar.gz", "expected digest md5-", f"found {'md5-'}", "(55 bytes)"],
    ),
    "published archive cut": (
        lambda w, b: _tar(w, b, _whole_tar(w, b)[:-2000]),
        ["tiny-python.tar.gz", "expected a whole archive", "found"],
    ),
    "published archive is HTML": (
        lambda w, b: _tar(w, b, HTML),
        ["tiny-python.tar.gz", "expected a whole archive", "b'<!DOCTYPE ht"],
    ),
    "published archive is empty": (lambda w, b: _tar(w, b, b""), ["tiny-python.tar.gz", "expected", "found"]),
    "archive without its members": (
        lambda w, b: _tar(w, b, b.tar_gz({"readme.txt": b"nothing here"})),
        ["tiny-python.tar.gz", "expected data_batch_1, data_batch_2, test_batch inside", "found no such file"],
    ),
    "test batch for a training batch": (
        lambda w, b: _batches(w, b, published=False, data_batch_1=w.colour_batches()["test_batch"]),
        ["data_batch_1", "expected digest md5-", "found md5-"],
    ),
    "pickle that runs a command, wrong digest": (
        lambda w, b: _batches(w, b, published=False, data_batch_1=pickle.dumps(_Command(w.root))),
        ["data_batch_1", "expected digest md5-", "found md5-"],
    ),
    "pickle that runs a command, right digest": (
        lambda w, b: _batches(w, b, data_batch_1=pickle.dumps(_Command(w.root))),
        ["data_batch_1", "expected a CIFAR batch", "asks for posix.system"],
    ),
    "batch with fewer images": (
        lambda w, b: _batches(w, b, data_batch_1=b.python2_batch(_rows(w)[:9], list(range(9)))),
        ["data_batch_1", "expected uint8 (10, 3072) and labels (10,)", "found uint8 (9, 3072) and labels (9,)"],
    ),
    "batch with fewer labels": (
        lambda w, b: _batches(w, b, data_batch_1=b.python2_batch(_rows(w), list(range(9)))),
        ["data_batch_1", "labels (10,)", "found uint8 (10, 3072) and labels (9,)"],
    ),
    "batch without its labels": (
        lambda w, b: _batches(w, b, data_batch_1=b.python2_batch(_rows(w), list(range(10)), "names")),
        ["data_batch_1", "expected a CIFAR batch", "KeyError('labels')"],
    ),
    "batch cut": (
        lambda w, b: _batches(w, b, data_batch_1=w.colour_batches()["data_batch_1"][:1000]),
        ["data_batch_1", "expected a CIFAR batch", "unreadable"],
    ),
    "batch is HTML": (lambda w, b: _batches(w, b, data_batch_1=HTML), ["data_batch_1", "expected a CIFAR batch"]),
    "batch is a list": (
        lambda w, b: _batches(w, b, data_batch_1=pickle.dumps([1, 2], protocol=2)),
        ["data_batch_1", "expected a CIFAR batch", "TypeError"],
    ),
    "cached archive damaged": (
        lambda w, b: _package(w, b, b.tar_gz(w.colour_pngs()) + b"x", published=False),
        ["tiny-colour-2.0.0.tgz", "expected digest sha512-", "found sha512-", "delete it to have it fetched again"],
    ),
    "PNG of another size": (
        lambda w, b: _package(w, b, data_batch_1__png=b.png(np.zeros((10, 1000, 3), np.uint8))),
        ["tgz: data_batch_1.png", "expected a PNG, RGB 1024 x 10", "found RGB 1000 x 10"],
    ),
    "PNG of fewer images": (
        lambda w, b: _package(w, b, data_batch_1__png=b.png(np.zeros((9, 1024, 3), np.uint8))),
        ["tgz: data_batch_1.png", "RGB 1024 x 10", "found RGB 1024 x 9"],
    ),
    "PNG without colour": (
        lambda w, b: _package(w, b, data_batch_1__png=b.png(np.zeros((10, 1024), np.uint8))),
        ["tgz: data_batch_1.png", "RGB 1024 x 10", "found L 1024 x 10"],
    ),
    "PNG cut": (
        lambda w, b: _package(w, b, data_batch_1__png=w.colour_pngs()["data_batch_1.png"][:4000]),
        ["tgz: data_batch_1.png", "expected a PNG", "found"],
    ),
    "PNG is HTML": (
        lambda w, b: _package(w, b, data_batch_1__png=HTML),
        ["tgz: data_batch_1.png", "expected a PNG", "found b'<!DOCTYPE ht'"],
    ),
    "PNGs swapped": (
        lambda w, b: _package(
            w,
            b,
            data_batch_1__png=w.colour_pngs()["data_batch_2.png"],
            data_batch_2__png=w.colour_pngs()["data_batch_1.png"],
        ),
        ["tiny-colour-2.0.0.tgz", "train images: expected sha256", "found"],
    ),
    "labels are no list": (
        lambda w, b: _package(w, b, train_lables__json=b'{"0": 1}'),
        ["tgz: train_lables.json", "expected a JSON list of 20 whole numbers", "found dict"],
    ),
    "labels too few": (
        lambda w, b: _package(w, b, train_lables__json=json.dumps([1] * 19).encode()),
        ["tgz: train_lables.json", "JSON list of 20", "found a list of 19"],
    ),
    "labels are text": (
        lambda w, b: _package(w, b, train_lables__json=json.dumps(["cat"] * 20).encode()),
        ["tgz: train_lables.json", "whole numbers"],
    ),
    "labels are HTML": (
        lambda w, b: _package(w, b, train_lables__json=HTML),
        ["tgz: train_lables.json", "expected a JSON list of 20 labels", "found b'<!DOCTYPE"],
    ),
    "package without a batch": (
        lambda w, b: _package(w, b, b.tar_gz({n: d for n, d in w.colour_pngs().items() if n != "test_batch.png"})),
        ["tiny-colour-2.0.0.tgz", "expected test_batch.png inside", "found no such file"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_named_and_nothing_is_left(refused, data_words, world, build, case):
    arrange, fragments = CASES[case]
    dataset, settings = arrange(world, build)
    refused(data_words(dataset, settings), world.root, *fragments)


def test_a_member_that_would_fill_the_memory_is_refused(world, build, monkeypatch):
    monkeypatch.setattr(formats, "LARGEST_MEMBER", 10_000)
    world.put(world.grey_files(), gz=True)
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: expected at most 10000 bytes, found more"):
        prepare("grey", world.settings("folder"), world.out)


def test_damage_anywhere_in_a_png_or_an_archive_ends_in_no_other_error(world, build, tmp_path):
    random = np.random.default_rng(0)
    picture, archive = world.colour_pngs()["data_batch_1.png"], build.tar_gz({"data_batch_1": bytes(5000)})
    path = tmp_path / "archive.tgz"
    for trial in range(200):
        for data in (picture, archive):
            damaged = bytearray(data)
            for position in random.integers(0, min(len(data), (60, 400)[trial % 2]), size=3):
                damaged[position] = random.integers(256)
            if trial % 5 == 0:
                del damaged[random.integers(len(damaged)) :]
            path.write_bytes(damaged)
            with contextlib.suppress(DataError):
                if data is picture:
                    formats.parse_png_batch("train", 10, bytes(damaged), "file")
                else:
                    list(formats.members(path, {"data_batch_1"}))
