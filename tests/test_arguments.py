"""Every function of the Python face checks its arguments: one line with the argument, its value, and what is right."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

import fldrep
from fldrep import arguments
from fldrep.errors import AttackRefused, ConfigError, FLDRepError
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import LocalSteps

SHAPE, CLASSES = (3, 16, 16), 5


@pytest.fixture(scope="module")
def given():
    model = fldrep.build_model("lenet", SHAPE, CLASSES, init="uniform").eval()
    images = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([1, 4])
    return model, images, labels, fldrep.client_update(model, images, labels)


def refused(call, told, kind=ConfigError):
    with pytest.raises(kind, match=told) as error:
        call()
    assert "\n" not in str(error.value)


def with_one(images, value):
    spoilt = images.clone()
    spoilt[1, 0, 3, 3] = value
    return spoilt


# ---- images, for all that take them

IMAGES = [
    (lambda x: with_one(x, torch.nan), "images: 1 of 1536 entries are not finite"),
    (lambda x: with_one(x, -torch.inf), "images: 1 of 1536 entries are not finite"),
    (lambda x: x.mul(9).byte(), "images: .*uint8: expected floating-point images .*as_pixels"),
    (lambda x: x.long(), "images: .*int64: expected floating-point images"),
    (lambda x: x[:0], r"images: shape \(0, 3, 16, 16\), float32: expected at least one image"),
    (lambda x: x[0], r"images: shape \(3, 16, 16\), float32: expected floating-point images \(N, C, H, W\)"),
    (lambda x: x[:, :1], r"does not take images of shape \(1, 16, 16\), it was built for \(3, 16, 16\)"),
    (lambda x: x.numpy(), r"images: shape \(2, 3, 16, 16\), float32: expected a tensor"),
    (lambda x: None, "images: None: expected a tensor"),
    (lambda x: "car.png", "images: 'car.png': expected a tensor"),
]


@pytest.mark.parametrize(("spoilt", "told"), IMAGES)
def test_images_that_are_none(spoilt, told, given):
    model, images, labels, _ = given
    wrong = spoilt(images)
    refused(lambda: fldrep.client_update(model, wrong, labels), told)
    refused(lambda: fldrep.feature_scores(model, wrong), told)
    refused(lambda: fldrep.column_mask(model, wrong, 0.5), told)


def test_scores_and_masks_take_single_images(given):
    model, images, *_ = given
    refused(lambda: fldrep.column_mask(model, images[None], 0.5), r"expected floating-point images \(N, C, H, W\) in")


def test_images_in_another_precision_are_taken(given):
    model, images, labels, update = given
    same = fldrep.client_update(model, images.double(), labels)
    assert all(torch.equal(same[name], update[name]) for name in update)


# ---- labels

LABELS = [
    (lambda y: one_hot(y, CLASSES), r"labels: shape \(2, 5\), int64: .*one-hot rows: give labels\.argmax\(-1\)"),
    (lambda y: one_hot(y, CLASSES).float(), r"labels: shape \(2, 5\), float32: .*one-hot rows"),
    (lambda y: torch.full((2, CLASSES), 0.2), r"labels: shape \(2, 5\), float32: expected class numbers of shape"),
    (lambda y: y.float(), r"labels: shape \(2,\), float32: expected class numbers of shape \(2,\)"),
    (lambda y: y > 2, r"labels: shape \(2,\), bool: expected class numbers"),
    (lambda y: y[:1], r"labels: shape \(1,\), int64: expected class numbers of shape \(2,\)"),
    (lambda y: y[0], r"labels: shape \(\), int64: expected class numbers"),
    (lambda y: y - 101, "labels: -100: expected classes 0 to 4"),
    (lambda y: y + 1, "labels: 5: expected classes 0 to 4"),
    (lambda y: y.tolist(), r"labels: \[1, 4\]: expected a tensor, class numbers"),
]


@pytest.mark.parametrize(("spoilt", "told"), LABELS)
def test_labels_that_are_none(spoilt, told, given):
    model, images, labels, update = given
    wrong = spoilt(labels)
    refused(lambda: fldrep.client_update(model, images, wrong), told)
    refused(lambda: fldrep.reconstruct(model, update, wrong, "gs", 1), told.replace(r"of shape \(2,\)", ".*"))


def test_labels_of_batches(given):
    model, images, _, _ = given
    batches, labels = torch.stack([images] * 2), torch.tensor([[0, 1], [1, 0]], dtype=torch.int32)
    update = fldrep.client_update(model, batches, labels)
    refused(lambda: fldrep.client_update(model, batches, labels[0]), r"expected class numbers of shape \(2, 2\)")
    refused(lambda: fldrep.reconstruct(model, update, labels, "gs", 1, batch=3), r"expected .* of shape \(2, 3\)")
    refused(lambda: fldrep.reconstruct(model, update, labels[0], "gs", 1, batch=2), r"expected .* of shape \(2, 2\)")
    assert fldrep.reconstruct(model, update, labels, "gs", 1, batch=2).images.shape == batches.shape


def test_rows_that_look_one_hot_are_labels_where_the_batch_says_so():
    model = fldrep.build_model("softmax", (1, 4, 4), 2).eval()
    images, labels = torch.randn(2, 2, 1, 4, 4), torch.tensor([[0, 1], [1, 0]])
    update = fldrep.client_update(model, images, labels)
    refused(lambda: fldrep.reconstruct(model, update, labels, "gs", 1), "one-hot")
    assert fldrep.reconstruct(model, update, labels, "gs", 1, batch=2).images.shape == images.shape


# ---- updates


def changed(update, name, value):
    return {**update, name: value}


UPDATES = [
    (lambda u: list(u.values()), r"update: a list of 10 tensors: expected \{parameter name: tensor \(N, \*shape"),
    (lambda u: tuple(u.values()), "update: a tuple of 10 tensors: .*model.named_parameters"),
    (lambda u: {}, r"update: \{\}: expected \{parameter name"),
    (lambda u: None, "update: None: expected"),
    (
        lambda u: {k: v for k, v in u.items() if k != "head.bias"},
        "update: tensor 'head.bias' is missing; it holds body",
    ),
    (lambda u: changed(u, "fc.bias", u["head.bias"]), "update: 'fc.bias' is no parameter of the model"),
    (lambda u: changed(u, "head.bias", u["head.bias"][0]), r"update\['head.bias'\]: shape \(5,\), float32: .*\(2, 5\)"),
    (lambda u: {k: v[0] for k, v in u.items()}, r"shape \(12, 3, 5, 5\), float32: .*shape \(N, 12, 3, 5, 5\)"),
    (lambda u: changed(u, "head.bias", u["head.bias"][:1]), r"shape \(1, 5\), float32: .*\(2, 5\)"),
    (lambda u: {k: v[:0] for k, v in u.items()}, "expected at least one client's update"),
    (lambda u: changed(u, "head.bias", u["head.bias"].long()), "int64: expected floating-point numbers"),
    (lambda u: changed(u, "head.bias", u["head.bias"] / 0), r"update\['head.bias'\]: 10 of 10 entries are not finite"),
    (lambda u: changed(u, "head.bias", [1.0]), r"update\['head.bias'\]: \[1.0\]: expected a tensor"),
]


@pytest.mark.parametrize(("spoilt", "told"), UPDATES)
def test_updates_that_are_none(spoilt, told, given):
    model, _, labels, update = given
    refused(lambda: fldrep.reconstruct(model, spoilt(update), labels, "gs", 1), told)


def test_an_update_without_a_model_is_checked_for_what_it_must_be(given):
    *_, update = given
    assert arguments.check_update(update) is update
    for spoilt, told in UPDATES:
        if "head.bias' is missing" not in told and "no parameter" not in told and "12, 3, 5, 5" not in told:
            refused(lambda spoilt=spoilt: arguments.check_update(spoilt(update)), told.split(": ")[0])


def test_nothing_to_attack_is_said(given):
    model, _, labels, update = given
    zero = {name: value * torch.tensor([1, 0]).view(-1, *[1] * (value.ndim - 1)) for name, value in update.items()}
    for attack, known in [("gs", labels), ("idlg", None), ("dlg", None)]:
        told = r"update: nothing to attack, it is zero everywhere for target\(s\) 1"
        refused(lambda a=attack, k=known: fldrep.reconstruct(model, zero, k, a, 1), told, AttackRefused)
    blind = changed(update, "head.bias", 0 * update["head.bias"])
    told = r"labels: nothing to infer them from, 'head.bias' is zero for target\(s\) 0, 1"
    refused(lambda: fldrep.reconstruct(model, blind, None, "idlg", 1), told, AttackRefused)
    assert fldrep.reconstruct(model, blind, labels, "gs", 1).images.shape == (2, *SHAPE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_updates_in_another_precision_are_taken(dtype, given):
    model, _, labels, update = given
    found = fldrep.reconstruct(model, {k: v.to(dtype) for k, v in update.items()}, labels, "gs", 1)
    assert found.images.dtype == torch.float32


# ---- settings

SETTINGS = [
    ({"defended": "haed"}, "defended: 'haed': expected 'none', 'head' or 'all'"),
    ({"problems_at_once": 0}, "problems_at_once: 0: expected a whole number of at least 1"),
    ({"problems_at_once": "all"}, "problems_at_once: 'all'"),
    ({"chunk": 2}, "chunk: is called problems_at_once now"),
    ({"seed": 1.5}, r"seed: 1.5: expected a whole number in \[0, 2\*\*63\)"),
    ({"seed": -1}, "seed: -1"),
    ({"seed": None}, "seed: None"),
    ({"seed": True}, "seed: True"),
    ({"iterations": -1}, "iterations"),
    ({"iterations": 2.5}, "iterations"),
    ({"restarts": 0}, "restarts"),
    ({"lr": float("nan")}, "lr"),
    ({"attack": ["gs"]}, r"attack: \['gs'\]: expected a name"),
    ({"label_strategy": "guess"}, "labels"),
    ({"compile": "yes"}, "compile: 'yes': expected 'auto', 'always', 'never' or 'graphs'"),
    ({"batch": 0}, "batch: 0: expected a whole number of at least 1"),
    ({"shape": (3, 16)}, r"shape: \(3, 16\): expected \(C, H, W\)"),
    ({"shape": (3, 17, 16, 1)}, "shape"),
    ({"normalisation": "cifar"}, "unknown normalisation 'cifar'"),
    ({"normalisation": ["cifar10"]}, "unknown normalisation"),
    ({"normalisation": "mnist"}, r"normalisation: .*expected a mean and a deviation for each of 3 channels"),
    ({"normalisation": Normalisation((0, 0, 0), (1, 1, 0))}, "normalisation: .*deviations above 0"),
    ({"local": 3}, r"local: 3: expected fldrep\.models\.updates\.LocalSteps"),
    ({"local": LocalSteps(0, 1, 0.1)}, "local.epochs: 0"),
    ({"local": LocalSteps(1, 1, -0.1)}, "local.lr: -0.1: expected a number above 0"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("settings", "told"), SETTINGS)
def test_settings_of_an_attack_that_make_no_sense(settings, told, given):
    model, _, labels, update = given
    refused(lambda: fldrep.reconstruct(model, update, labels, **{"iterations": 1, **settings}), told, FLDRepError)


def test_a_seed_of_numpys_draws_as_pythons_own(given):
    model, _, labels, update = given
    one, other = (fldrep.reconstruct(model, update, labels, "gs", 0, seed=seed).images for seed in (7, np.int64(7)))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"rate": 1.5}, r"rate: 1.5: expected a number in \[0, 1\]"),
        ({"rate": float("nan")}, "rate: nan"),
        ({"rate": "0.5"}, "rate: '0.5'"),
        ({"rate": True}, "rate: True"),
        ({"rule": "l2"}, "unknown rule 'l2'; known: inverse"),
        ({"rule": ["ratio"]}, "unknown rule"),
        ({"per": "image"}, "per: 'image': expected 'sample' or 'batch'"),
        ({"how": "guess"}, "unknown estimator 'guess'; known: exact"),
        ({"directions": 3}, "directions: no option of how='exact', which takes chunk"),
        ({"how": "jvp", "directions": 0}, "directions: 0: expected a whole number of at least 1"),
        ({"how": "jvp", "generator": 3}, "generator: 3: expected a torch.Generator"),
        ({"chunk": 0}, "chunk: 0: expected a whole number of at least 1"),
    ],
)
def test_settings_of_a_mask_that_make_no_sense(settings, told, given):
    model, images, *_ = given
    refused(lambda: fldrep.column_mask(model, images, **{"rate": 0.5, **settings}), told)
    if "rate" not in settings and "per" not in settings:
        refused(lambda: fldrep.feature_scores(model, images, **settings), told)


# ---- the rest of the face


@pytest.mark.parametrize("model", ["lenet", None, lambda images: images, torch.zeros(3)])
def test_what_is_no_network_is_said(model, given):
    _, images, labels, update = given
    for call in (
        lambda: fldrep.client_update(model, images, labels),
        lambda: fldrep.feature_scores(model, images),
        lambda: fldrep.column_mask(model, images, 0.5),
        lambda: fldrep.reconstruct(model, update, labels),
    ):
        refused(call, "model: .*: expected a torch.nn.Module")


@pytest.mark.parametrize("local", [3, LocalSteps(0, 1, 0.1), LocalSteps(1, 0, 0.1), LocalSteps(1, 1, float("inf"))])
def test_local_steps_that_cannot_be_taken(local, given):
    model, images, labels, _ = given
    refused(lambda: fldrep.client_update(model, images[None], labels[None], local), "local")


def test_reconstructions_that_are_no_images(given):
    _, images, *_ = given
    refused(lambda: fldrep.compare(images.numpy(), images), "found: .*: expected a tensor", FLDRepError)
    refused(lambda: fldrep.compare(images, None), "images: None: expected a tensor", FLDRepError)
    refused(lambda: fldrep.compare(images, images[:1]), r"shape \(2, 3, 16, 16\) and images \(1, 3", FLDRepError)
    refused(lambda: fldrep.compare(images, with_one(images, torch.nan)), "not finite", FLDRepError)
    refused(lambda: fldrep.compare(images, images, ["cifar10"]), "unknown normalisation", FLDRepError)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((None,), "path: None: expected the path of a photo"),
        (("nowhere.png",), "nowhere.png"),
        (("nowhere.png", (2, 8, 8)), r"shape: \(2, 8, 8\): expected 1 or 3 channels"),
        (("nowhere.png", (3, 8)), r"shape: \(3, 8\): expected \(C, H, W\)"),
    ],
)
def test_a_photo_that_cannot_be_read(arguments, told):
    refused(lambda: fldrep.read_photo(*arguments), told, FLDRepError)


def test_nothing_given_is_changed(given):
    model, images, labels, update = given
    before = [value.clone() for value in (images, labels, *update.values(), *model.state_dict().values())]
    modes = [module.training for module in model.modules()]
    fldrep.client_update(model, images, labels)
    fldrep.column_mask(model, images, 0.5)
    fldrep.reconstruct(model, update, labels, "gs", 2)
    after = [images, labels, *update.values(), *model.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert [module.training for module in model.modules()] == modes
