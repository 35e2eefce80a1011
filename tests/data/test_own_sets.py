"""A data set in one file of a stranger's: found, loaded, checked, and refused where it is not what it says."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import fldrep
from fldrep import registry
from fldrep.config.data import DataSettings
from fldrep.config.datasets import Facts, facts_of
from fldrep.data.datasets import load_arrays, prepare
from fldrep.errors import ConfigError, DataError
from fldrep.models.normalisation import Normalisation, normalisation_for
from fldrep.storage.imageset import ImageSet
from fldrep.storage.tensors import read_metadata

STRIPES = '''
import numpy as np
import fldrep

@fldrep.dataset("stripes", classes=3)
def stripes():
    """Three patterns of stripes."""
    labels = np.arange(30) % 3
    images = np.stack([np.indices((16, 16)).sum(0) * (label + 1) * 9 % 256 for label in labels]).astype(np.uint8)
    train, test = slice(24), slice(24, None)
    return {
        "train_images": images[train], "train_labels": labels[train],
        "test_images": images[test], "test_labels": labels[test],
    }
'''


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Load a text as a plug-in file; what it registers is forgotten when the test ends."""
    for name in ("_ADDED", "_VALUES"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    before = {*sys.modules}

    def load(text: str) -> Path:
        path = tmp_path / "mine.py"
        path.write_text(text)
        fldrep.load_plugins(path)
        return path

    yield load
    for name in {*sys.modules} - before:
        if name.startswith("fldrep_plugin_"):
            del sys.modules[name]


def arrays(count=12, side=16, channels=None, classes=3) -> dict[str, np.ndarray]:
    """Random images that a function might return."""
    random = np.random.default_rng(0)
    shape = (count, side, side) if channels is None else (count, side, side, channels)
    images, labels = random.integers(0, 256, shape, dtype=np.uint8), np.arange(count) % classes
    return {"train_images": images, "train_labels": labels, "test_images": images[:6], "test_labels": labels[:6]}


@pytest.fixture
def given(world):
    """Register a function that returns these arrays; returns what `load_arrays` makes of them."""

    def given(returned, **words):
        world.define("mine", lambda: returned, **words)
        return load_arrays("mine", DataSettings())

    return given


# ---- what works


def test_a_data_set_in_one_file_becomes_an_image_set(plugin, tmp_path):
    plugin(STRIPES)
    prepare("stripes", DataSettings(), tmp_path / "set")
    found, told = ImageSet.read(tmp_path / "set"), read_metadata(tmp_path / "set")
    assert (found.shape, found.classes, len(found.train_images), len(found.test_images)) == ((1, 16, 16), 3, 24, 6)
    pixels = found.train_images.double() / 255
    assert found.mean.item() == pytest.approx(pixels.mean().item())
    assert found.std.item() == pytest.approx(pixels.std(correction=0).item())
    assert (told["dataset"], told["source"]) == ("stripes", "mine.py")
    assert told["checked"].startswith("nothing")
    assert set(json.loads(told["sha256"])) == {"train_images", "train_labels", "test_images", "test_labels"}


def test_what_is_known_before_it_is_loaded_are_the_words_of_its_decorator(plugin):
    plugin(STRIPES.replace("classes=3", "classes=3, shape=[1, 16, 16], train_images=24, mean=[0.5], std=[0.25]"))
    facts = facts_of("stripes")
    assert facts == Facts(shape=(1, 16, 16), classes=3, train_images=24, mean=(0.5,), std=(0.25,))
    assert not facts.countable
    assert normalisation_for(1, "stripes") == Normalisation((0.5,), (0.25,))


def test_constants_that_are_said_are_taken_and_others_computed(plugin, tmp_path):
    plugin(STRIPES.replace("classes=3", "classes=3, mean=(0.1,), std=(0.7,)"))
    prepare("stripes", DataSettings(), tmp_path / "set")
    found = ImageSet.read(tmp_path / "set")
    assert Normalisation.of(found.mean, found.std) == Normalisation((0.1,), (0.7,))


def test_facts_may_be_those_of_another_data_set(plugin):
    plugin(STRIPES.replace("classes=3", 'like="mnist", train_images=24'))
    facts, mnist = facts_of("stripes"), facts_of("mnist")
    assert (facts.shape, facts.mean, facts.test_images) == (mnist.shape, mnist.mean, 10_000)
    assert facts.train_images == 24
    assert facts_of("photo").mean == facts_of("cifar10").mean


def test_a_function_may_take_the_configs_section_data(plugin, tmp_path):
    plugin(STRIPES.replace("stripes():", "stripes(data):").replace("arange(30)", "arange(len(data.cache))"))
    assert len(load_arrays("stripes", DataSettings(cache="x" * 28)).test_images) == 4


def test_what_a_function_takes_with_a_default_is_its_own(plugin):
    plugin(STRIPES.replace("stripes():", "stripes(count=30):").replace("arange(30)", "arange(count)"))
    assert len(load_arrays("stripes", DataSettings()).test_images) == 6


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_grey_and_colour_images(given, channels):
    assert given(arrays(channels=channels)).shape == (channels or 1, 16, 16)


def test_torch_tensors_and_other_whole_numbers_are_taken(given):
    found = given({name: torch.from_numpy(array).clone() for name, array in arrays().items()})
    assert found.train_labels.dtype == np.int64
    one = arrays()
    one["test_labels"] = one["test_labels"].astype(np.uint8)
    assert given(one).test_labels.dtype == np.int64


def test_classes_that_are_not_said_are_counted(given):
    found = given(arrays(classes=5))
    assert found.classes(Facts()) == 5


# ---- what is refused


def without(name):
    return {key: value for key, value in arrays().items() if key != name}


def changed(**given):
    return {**arrays(), **given}


WRONG = {
    "no dictionary": (arrays()["train_images"], "expected a dictionary of train_images.*found ndarray"),
    "a piece is missing": (without("test_labels"), "expected a dictionary.*test_labels, found train_images"),
    "a piece too many": (changed(names=[1]), "found train_images.*names"),
    "pixels as floats": (
        changed(train_images=np.zeros((12, 16, 16), np.float32)),
        "train_images: expected uint8, 0 to 255, found float32; multiply by 255",
    ),
    "pixels as int64": (changed(train_images=np.zeros((12, 16, 16), int)), "expected uint8, 0 to 255, found int64"),
    "ragged": (changed(test_images=[[1, 2], [3]]), "test_images: expected an array, found list"),
    "objects": (changed(test_images=np.array([None, "x"])), "test_images: expected uint8.*found object"),
    "channels first": (changed(train_images=np.zeros((12, 3, 16, 16), np.uint8)), "channels last, found .12, 3, 16"),
    "four channels": (changed(train_images=np.zeros((12, 16, 16, 4), np.uint8)), "or .N, H, W, 3."),
    "one image": (changed(train_images=np.zeros((16, 16), np.uint8)), r"found \(16, 16\)"),
    "no images": (changed(train_images=np.zeros((0, 16, 16), np.uint8)), "train_images: expected images, found none"),
    "oblong": (
        changed(train_images=np.zeros((12, 16, 20), np.uint8), test_images=np.zeros((6, 16, 20), np.uint8)),
        "squares of 11 pixels",
    ),
    "small": (
        changed(train_images=np.zeros((12, 10, 10), np.uint8), test_images=np.zeros((6, 10, 10), np.uint8)),
        "squares of 11 pixels a side or more",
    ),
    "two sizes": (
        changed(test_images=np.zeros((6, 20, 20), np.uint8)),
        r"\(12, 16, 16\) and test_images \(6, 20, 20\)",
    ),
    "too few labels": (changed(train_labels=np.zeros(11, int)), r"train_labels: expected whole numbers \(12,\)"),
    "labels as floats": (changed(train_labels=np.zeros(12)), r"whole numbers \(12,\), found float64"),
    "labels one-hot": (changed(train_labels=np.eye(12, dtype=int)), r"found int64 \(12, 12\)"),
    "negative labels": (changed(test_labels=np.full(6, -1)), r"test_labels: expected classes 0..2, found -1..-1"),
    "one class": (
        changed(train_labels=np.zeros(12, int), test_labels=np.zeros(6, int)),
        "two classes or more, found 1",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_arrays_that_do_not_fit_are_refused_in_one_line(given, case):
    returned, told = WRONG[case]
    with pytest.raises(DataError, match=told) as refused:
        given(returned)
    assert str(refused.value).startswith("data set 'mine': ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"classes": 2}, "train_labels: expected classes 0..1, found 0..2"),
        ({"shape": (3, 16, 16)}, r"expected images of shape \(3, 16, 16\), found \(1, 16, 16\)"),
        ({"train_images": 13}, "train_images: expected 13, found 12"),
        ({"test_images": 7}, "test_images: expected 7, found 6"),
    ],
)
def test_arrays_must_be_what_the_decorator_says(given, words, told):
    with pytest.raises(DataError, match=told):
        given(arrays(), **words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("clases=3", "clases: "),
        ("classes=1", "classes: .*greater than or equal to 2"),
        ("classes='3'", "classes: "),
        ("shape=(3, 32, 16)", "shape: .*squares"),
        ("shape=(2, 32, 32)", "shape: .*1 or 3 channels"),
        ("mean=(0.5,)", "mean and std go together"),
        ("mean=(0.5,), std=(0.0,)", "std above 0"),
        ("mean=(0.5,), std=(0.1, 0.2)", "one for each channel"),
        ("shape=(3, 16, 16), mean=(0.5,), std=(0.1,)", "mean has 1 channels, and shape 3"),
        ("like='mnits'", "unknown dataset 'mnits'"),
    ],
)
def test_words_of_a_decorator_that_are_wrong_are_named(plugin, words, told):
    plugin(STRIPES.replace("classes=3", words))
    with pytest.raises(ConfigError, match=told) as refused:
        facts_of("stripes")
    assert "\n" not in str(refused.value)


def test_constants_that_nobody_said_are_not_known_by_name(plugin):
    plugin(STRIPES)
    with pytest.raises(ConfigError, match=r"data set 'stripes' does not say its constants.*give Normalisation"):
        normalisation_for(1, "stripes")


def test_a_name_that_is_taken_is_refused(plugin):
    with pytest.raises(ConfigError, match=r"dataset 'mnist' is taken, by .*mnist\.py"):
        plugin(STRIPES.replace('"stripes"', '"mnist"'))
