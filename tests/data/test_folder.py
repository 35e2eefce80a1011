"""A folder of class folders of pictures as a data set: cropped, resized, split, numbered, or refused by name."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fldrep.config.data import DataSettings
from fldrep.data.datasets import load_arrays, prepare
from fldrep.errors import DataError
from fldrep.storage.folders import class_folders
from fldrep.storage.imageset import ImageSet
from fldrep.storage.tensors import read_metadata

CLASSES = ("lily", "rose", "tulip")


def picture(seed: int, width: int = 24, height: int = 20) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def fill(folder: Path, classes=CLASSES, count: int = 10, seed: int = 0) -> Path:
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for place in range(count):
            picture(100 * number + place + seed).save(folder / name / f"{place:02}.png")
    return folder


def settings(folder: Path | str, **given) -> DataSettings:
    return DataSettings(sets={"flowers": {"folder": str(folder), "size": 16, **given}})


def listed(folder: Path | str, **given):
    return class_folders("flowers", settings(folder, **given).sets["flowers"])


@pytest.fixture
def flowers(tmp_path):
    return fill(tmp_path / "flowers")


# ---- pictures


@pytest.mark.parametrize(("width", "height"), [(24, 20), (20, 25), (16, 16), (5, 40), (33, 32)])
def test_a_picture_is_cropped_to_the_square_in_its_middle_and_resized(flowers, width, height):
    one = picture(7, width, height)
    one.save(flowers / "lily" / "00.png")
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = one.crop((left, top, left + side, top + side)).resize((16, 16), Image.BICUBIC)
    raw, held = load_arrays("flowers", settings(flowers)), listed(flowers)
    where = {found.path: (part, place) for part in ("train", "test") for place, found in enumerate(getattr(held, part))}
    part, place = where[flowers / "lily" / "00.png"]
    assert np.array_equal(getattr(raw, f"{part}_images")[place], np.asarray(square))


def test_one_channel_is_grey(flowers):
    raw = load_arrays("flowers", settings(flowers, channels=1))
    assert raw.shape == (1, 16, 16)
    first = Image.open(listed(flowers).train[0].path).convert("L")
    square = first.crop((2, 0, 22, 20)).resize((16, 16), Image.BICUBIC)
    assert np.array_equal(raw.train_images[0, ..., 0], np.asarray(square))


def test_pictures_of_all_kinds_become_one_kind(flowers, tmp_path):
    kinds = {
        "a.jpg": "RGB",
        "b.bmp": "RGB",
        "c.webp": "RGBA",
        "d.gif": "P",
        "e.tiff": "CMYK",
        "f.png": "1",
        "g.png": "LA",
    }
    for name, mode in kinds.items():
        picture(1).convert(mode).save(flowers / "rose" / name)
    raw = load_arrays("flowers", settings(flowers))
    assert raw.train_images.shape[1:] == (16, 16, 3)
    assert len(raw.train_images) + len(raw.test_images) == 37


# ---- classes and parts


def test_classes_are_numbered_by_name_and_a_fifth_of_each_is_for_testing(flowers):
    held = listed(flowers)
    assert held.classes == CLASSES
    assert [one.label for one in held.train] == [0] * 8 + [1] * 8 + [2] * 8
    assert [one.label for one in held.test] == [0] * 2 + [1] * 2 + [2] * 2
    paths = [one.path for one in (*held.train, *held.test)]
    assert sorted(paths) == sorted(flowers.glob("*/*"))
    assert all(one.path.parent.name == CLASSES[one.label] for one in (*held.train, *held.test))


@pytest.mark.parametrize(("count", "tests"), [(2, 1), (3, 1), (5, 1), (7, 1), (8, 2), (10, 2), (40, 8)])
def test_the_share_for_testing(tmp_path, count, tests):
    held = listed(fill(tmp_path / "set", ("a", "b"), count))
    assert (len(held.test), len(held.train)) == (2 * tests, 2 * (count - tests))


def test_the_parts_depend_on_names_and_seed_and_not_on_the_place_or_the_content(flowers, tmp_path):
    def names(folder, **given):
        return [(one.path.parent.name, one.path.name) for one in listed(folder, **given).test]

    shutil.copytree(flowers, tmp_path / "other place")
    picture(5).save(tmp_path / "other place" / "lily" / "03.png")
    assert names(flowers) == names(tmp_path / "other place")
    assert len({tuple(names(flowers, seed=seed)) for seed in range(8)}) > 4
    picture(9).save(flowers / "lily" / "10.png")
    assert len(set(names(flowers)) & set(names(tmp_path / "other place"))) >= 5


def test_parts_that_are_given_are_kept(tmp_path):
    fill(tmp_path / "set" / "train", count=4)
    fill(tmp_path / "set" / "test", count=1, seed=50)
    held = listed(tmp_path / "set")
    assert (len(held.train), len(held.test), held.classes) == (12, 3, CLASSES)
    assert {one.path.parents[1].name for one in held.train} == {"train"}
    assert {one.path.parents[1].name for one in held.test} == {"test"}


def test_train_may_be_the_name_of_a_class(tmp_path):
    held = listed(fill(tmp_path / "vehicles", ("bus", "train"), 3))
    assert held.classes == ("bus", "train")


def test_the_image_set_says_what_it_is_of(flowers, tmp_path):
    prepare("flowers", settings(flowers), tmp_path / "one")
    found, told = ImageSet.read(tmp_path / "one"), read_metadata(tmp_path / "one")
    assert (found.shape, found.classes) == ((3, 16, 16), 3)
    pixels = found.train_images.double() / 255
    torch.testing.assert_close(found.mean, pixels.mean((0, 2, 3)), rtol=1e-12, atol=0)
    torch.testing.assert_close(found.std, pixels.transpose(0, 1).flatten(1).std(1, correction=0), rtol=1e-9, atol=0)
    assert json.loads(told["classes"]) == list(CLASSES)
    assert (told["dataset"], told["source"]) == ("flowers", "folder")

    moved = flowers.rename(tmp_path / "elsewhere")
    prepare("flowers", settings(moved), tmp_path / "two")
    again = ImageSet.read(tmp_path / "two")
    assert all(torch.equal(value, getattr(again, name)) for name, value in vars(found).items())
    assert read_metadata(tmp_path / "two") == told

    picture(77).save(moved / "rose" / "04.png")
    prepare("flowers", settings(moved), tmp_path / "three")
    assert read_metadata(tmp_path / "three")["sha256"] != told["sha256"]


# ---- names, links, hidden files


HOSTILE = ["a b", "it's", 'say "x"', "{wildcard}", "$HOME", "ä ö 花", "semi;colon", "-rf", "%s", "new\nline", "x" * 200]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_names(tmp_path, name):
    folder = fill(tmp_path / name, (name, "z"), 0)
    for place in range(2):
        for kind in (name, "z"):
            picture(place).save(folder / kind / f"{place}{name}.png")
    prepare("flowers", settings(folder), tmp_path / "out")
    assert json.loads(read_metadata(tmp_path / "out")["classes"]) == sorted([name, "z"])


def test_names_that_are_no_text_are_names_too(tmp_path):
    folder = fill(tmp_path / "set", ("a", "b"), 2)
    raw = os.fsencode(folder / "a") + b"/\xff\xfe.png"
    shutil.copyfile(folder / "a" / "00.png", raw)
    prepare("flowers", settings(folder), tmp_path / "out")
    Path(os.fsdecode(raw)).write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"\\udcff\\udcfe.png': not a readable image") as refused:
        load_arrays("flowers", settings(folder))
    str(refused.value).encode()


def test_hidden_files_are_passed_over(flowers):
    for path in (flowers / ".DS_Store", flowers / "lily" / ".00.png", flowers / "lily" / "._01.png"):
        path.write_bytes(b"x")
    (flowers / ".git").mkdir()
    held = listed(flowers)
    assert len(held.train) + len(held.test) == 30
    assert held.classes == CLASSES


def test_links_are_followed(flowers, tmp_path):
    (tmp_path / "set").mkdir()
    for name in CLASSES:
        (tmp_path / "set" / name).symlink_to(flowers / name, target_is_directory=True)
    (flowers / "rose" / "link.png").symlink_to(flowers / "lily" / "01.png")
    held = listed(tmp_path / "set")
    assert len(held.train) + len(held.test) == 31


def test_the_home_folder_may_be_named(flowers, monkeypatch):
    monkeypatch.setenv("HOME", str(flowers.parent))
    assert len(listed("~/flowers").train) == 24


# ---- what is refused


def write(path: Path, content: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def only_one_class(folder):
    shutil.rmtree(folder / "lily")
    shutil.rmtree(folder / "rose")


def few_pictures(folder):
    for path in sorted((folder / "rose").iterdir())[1:]:
        path.unlink()


def parts(folder, **counts):
    for name in CLASSES:
        shutil.rmtree(folder / name)
    for part, classes in {"train": CLASSES, "test": CLASSES, **counts}.items():
        fill(folder / part, classes, 2)


WRONG = {
    "no folder": (shutil.rmtree, ["data.sets.flowers.folder: ", "not a folder"]),
    "a file": (lambda f: (shutil.rmtree(f), write(f)), ["data.sets.flowers.folder: ", "not a folder"]),
    "an empty folder": (lambda f: (shutil.rmtree(f), f.mkdir()), ["flowers: holds 0 class folders", "two or more"]),
    "one class": (only_one_class, ["flowers: holds 1 class folders; expected two or more"]),
    "an empty class": (lambda f: (f / "orchid").mkdir(), ["flowers/orchid: holds no picture"]),
    "only hidden files in a class": (lambda f: write(f / "orchid/.x.png"), ["flowers/orchid: holds no picture"]),
    "one picture in a class": (few_pictures, ["flowers/rose: holds one picture; expected two or more"]),
    "a file beside the classes": (lambda f: write(f / "labels.csv"), ["labels.csv: lies beside class folders"]),
    "a folder in a class": (lambda f: fill(f / "rose/old", ("x",), 1), ["rose/old: a folder in a class folder"]),
    "train without test": (lambda f: fill(f / "train", ("a", "b"), 2), ["train/a: a folder in a class", "in test"]),
    "something beside train and test": (lambda f: parts(f, val=CLASSES), ["val: lies beside train and test"]),
    "a class that test lacks": (lambda f: parts(f, test=CLASSES[1:]), ["flowers/test: lacks the class folder 'lily'"]),
    "a class that train lacks": (lambda f: parts(f, train=CLASSES[:2]), ["flowers/train: lacks the class folder"]),
    "an empty class in test": (lambda f: (parts(f), shutil.rmtree(f / "test/rose"), (f / "test/rose").mkdir()),
                               ["test/rose: holds no picture"]),
    "no picture": (lambda f: write(f / "rose/notes.txt", b"hello"), ["rose/notes.txt: not a readable image"]),
    "an empty file": (lambda f: write(f / "rose/03.png", b""), ["rose/03.png: not a readable image"]),
    "a web page": (lambda f: write(f / "rose/03.png", b"<html>"), ["rose/03.png: not a readable image"]),
    "a cut picture": (lambda f: write(f / "rose/03.png", (f / "rose/03.png").read_bytes()[:200]), ["rose/03.png: not"]),
    "an animation": (
        lambda f: picture(1).save(f / "rose/move.gif", save_all=True, append_images=[picture(2)]),
        ["rose/move.gif: animated, 2 frames"],
    ),
    "16 bits": (
        lambda f: Image.fromarray(np.full((40, 40), 4660, np.uint16)).save(f / "rose/deep.png"),
        ["rose/deep.png", "more than 8 bits a channel"],
    ),
    "a dead link": (lambda f: (f / "rose/x.png").symlink_to(f / "gone.png"), ["rose/x.png: cannot be read: No"]),
    "a link in a circle": (lambda f: (f / "rose/x.png").symlink_to(f / "rose/x.png"), ["rose/x.png: cannot be read"]),
    "a folder that holds itself": (lambda f: (f / "self").symlink_to(f), ["self/", ": a folder in a class folder"]),
    "a pipe": (lambda f: os.mkfifo(f / "rose/pipe.png"), ["rose/pipe.png: not an ordinary file"]),
    "a device": (lambda f: (f / "rose/zero.png").symlink_to("/dev/zero"), ["rose/zero.png: not an ordinary file"]),
    "a bad name": (lambda f: write(f / "rose/a\nb.png"), [r"rose/a\nb.png': not a readable image"]),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_folder_that_is_not_as_it_should_be_is_refused_by_name_and_nothing_is_written(flowers, tmp_path, case):
    arrange, told = WRONG[case]
    arrange(flowers)
    with pytest.raises(DataError) as refused:
        prepare("flowers", settings(flowers), tmp_path / "out")
    for words in told:
        assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_name_that_no_system_takes_is_refused():
    for name in ("x" * 5000, "a\0b", "~nobody-of-this-name/x"):
        with pytest.raises(DataError, match=r"data.sets.flowers.folder: .*not a folder"):
            listed(name)


def test_a_picture_of_a_kind_that_would_fill_the_memory_is_refused(flowers, monkeypatch):
    from fldrep.data import pictures

    monkeypatch.setattr(pictures, "MAX_PIXELS", 400)
    with pytest.raises(DataError, match=r"\.png: 24 x 20 pixels; expected at most 400"):
        load_arrays("flowers", settings(flowers))
