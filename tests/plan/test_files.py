"""When the user's files behind a data set count as changed."""

import os
from pathlib import Path

import pytest

from fldrep import registry
from fldrep.config.data import DataSettings, PhotoSettings
from fldrep.errors import ConfigError, DataError
from fldrep.plan.files import files_digest


@pytest.fixture
def folder(tmp_path):
    """Two classes of three files each."""
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for place in range(3):
            (tmp_path / "set" / name / f"{place} {{x}}.png").write_bytes(b"content")
    return tmp_path / "set"


def of_folder(folder: Path, **given) -> str:
    return files_digest(DataSettings(sets={"mine": {"folder": str(folder), **given}}), "mine")


def test_published_data_sets_have_no_files_of_the_users():
    assert {files_digest(DataSettings(), name) for name in ("mnist", "cifar10", "cifar100")} == {""}


def test_a_folder_that_moves_is_the_same(folder, tmp_path):
    before = of_folder(folder)
    assert len(before) == 16
    assert of_folder(folder.rename(tmp_path / "other name")) == before


CHANGES = {
    "another size": lambda f: (f / "a/0 {x}.png").write_bytes(b"more content"),
    "another time": lambda f: os.utime(f / "a/0 {x}.png", (1, 1)),
    "another file": lambda f: (f / "a/9.png").write_bytes(b"content"),
    "one file less": lambda f: (f / "b/1 {x}.png").unlink(),
    "another file name": lambda f: (f / "b/1 {x}.png").rename(f / "b/1 {y}.png"),
    "another class name": lambda f: (f / "b").rename(f / "c"),
    "another class for a file": lambda f: (f / "b/1 {x}.png").rename(f / "a/1b.png"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_changes_in_a_folder_counts(folder, case):
    before = of_folder(folder)
    CHANGES[case](folder)
    assert of_folder(folder) != before


def test_hidden_files_do_not_count(folder):
    before = of_folder(folder)
    (folder / ".DS_Store").write_bytes(b"x")
    assert of_folder(folder) == before


def test_a_photo_is_a_file_of_the_users(tmp_path):
    path = tmp_path / "a {x} b.jpg"
    data = DataSettings(photo=PhotoSettings(path=str(path), label=1))
    with pytest.raises(DataError, match=r"a \{x\} b\.jpg: cannot be read: No such file"):
        files_digest(data, "photo")
    path.write_bytes(b"one")
    before = files_digest(data, "photo")
    path.write_bytes(b"other")
    assert files_digest(data, "photo") != before
    with pytest.raises(ConfigError, match=r"data\.photo"):
        files_digest(DataSettings(), "photo")


def test_files_that_a_decorator_names_lie_beside_its_own(tmp_path, monkeypatch):
    entry = registry.Entry("dataset", "mine", "mine", tmp_path / "mine.py", {"files": ["mine.npz"]})
    monkeypatch.setitem(registry._ADDED, ("dataset", "mine"), entry)
    with pytest.raises(DataError, match=r"mine\.npz: cannot be read: No such file"):
        files_digest(DataSettings(), "mine")
    (tmp_path / "mine.npz").write_bytes(b"one")
    before = files_digest(DataSettings(), "mine")
    (tmp_path / "mine.npz").write_bytes(b"other")
    assert files_digest(DataSettings(), "mine") != before != ""


def test_a_folder_that_is_not_there_is_named_by_its_key(tmp_path):
    with pytest.raises(DataError, match=r"data\.sets\.mine\.folder: '.*nowhere': not a folder"):
        of_folder(tmp_path / "nowhere")
