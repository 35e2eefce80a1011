from typing import get_args

import pytest
import torch
from torch import nn

import fldrep
from fldrep.config.defenses import DEFENSE_MODULES, DefenseSettings
from fldrep.defenses import defend, defense_named
from fldrep.defenses.client import Client
from fldrep.defenses.soteria.masks import column_mask
from fldrep.defenses.soteria.prune import masked_gradients
from fldrep.errors import ConfigError, UnknownName
from fldrep.models.updates import client_update

LAYERS = [nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Flatten()]


@pytest.fixture
def case(make_network, draw_images):
    model, images, labels = make_network(*LAYERS), draw_images(3), torch.tensor([0, 1, 2])
    return model, images, labels, client_update(model, images, labels)


def test_every_method_of_the_settings_is_there():
    methods = get_args(DefenseSettings.model_fields["method"].annotation)
    assert set(DEFENSE_MODULES) == set(methods)
    assert all(callable(defense_named(method)) for method in methods)


def test_the_packages_face_is_this_module():
    assert fldrep.defend is defend
    assert fldrep.column_mask is column_mask


def test_none_sends_the_update_as_it_is(case):
    *_, update = case
    sent = defend(update, "none")
    assert sent.defended == "none"
    assert all(torch.equal(sent[name], value) for name, value in update.items())


@pytest.mark.parametrize("rule", ["ratio", "inverse", "reference-notebook", "reference-script"])
def test_soteria_masks_the_last_layers_weight_and_nothing_else(rule, case):
    model, images, labels, update = case
    before = {name: value.clone() for name, value in update.items()}
    sent = defend(update, "soteria", rate=0.6, rule=rule, model=model, images=images, labels=labels)
    masks = column_mask(model, images, 0.6, rule)
    assert sent.defended == "head"
    for name, value in before.items():
        expected = value * masks[:, None, :] if name == "head.weight" else value
        assert torch.equal(sent[name], expected), name
        assert torch.equal(update[name], value), f"{name} was changed in place"


def test_ratio_is_the_default_rule(case):
    model, images, labels, update = case
    given = {"rate": 0.5, "model": model, "images": images, "labels": labels}
    sent, named = defend(update, "soteria", **given), defend(update, "soteria", rule="ratio", **given)
    assert torch.equal(sent["head.weight"], named["head.weight"])


def test_pruning_the_representation_recomputes_every_layer(case):
    model, images, labels, update = case
    sent = defend(update, "soteria", rate=0.5, prune="representation", model=model, images=images, labels=labels)
    masks = column_mask(model, images, 0.5)
    expected = masked_gradients(model, images[:, None], labels[:, None], masks)
    for name in update:
        torch.testing.assert_close(sent[name], expected[name])
        assert not torch.allclose(sent[name], update[name])
    assert not sent["head.weight"].transpose(1, 2)[~masks].any()
    assert sent.defended == "head"


def test_pruning_nothing_of_the_representation_is_no_defense(case):
    model, images, labels, update = case
    sent = defend(update, "soteria", rate=0.0, prune="representation", model=model, images=images, labels=labels)
    for name in update:
        torch.testing.assert_close(sent[name], update[name])


def test_updates_of_several_images(make_network, draw_images):
    model, images, labels = make_network(*LAYERS), draw_images(6).unflatten(0, (2, 3)), torch.arange(6).view(2, 3) % 4
    update = client_update(model, images, labels)
    sent = defend(update, "soteria", rate=0.6, model=model, images=images, labels=labels)
    for number in range(2):
        mask = column_mask(model, images[number], 0.6, per="batch")
        assert torch.equal(sent["head.weight"][number], update["head.weight"][number] * mask)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"method": "dropout"}, "unknown defense 'dropout'; known: compression, gaussian"),
        ({"method": "soteria"}, "'soteria' needs rate"),
        ({"method": "soteria", "rate": 1.2}, "rate: .*less than or equal to 1"),
        ({"method": "soteria", "rate": -0.1}, "rate: .*greater than or equal to 0"),
        ({"method": "soteria", "rate": "high"}, "rate: .*number"),
        ({"method": "soteria", "rate": 0.5, "rule": "best"}, "rule: .*'ratio'"),
        ({"method": "soteria", "rate": 0.5, "prune": "image"}, "prune: .*'gradient'"),
        ({"method": "soteria", "rate": 0.5, "std": 0.1}, "std is not used by method 'soteria'"),
        ({"method": "soteria", "rate": 0.5}, "soteria needs model, images, labels, which was not given"),
        ({"method": "compression"}, "'compression' needs rate"),
        ({"method": "compression", "rate": 0.5, "rule": "ratio"}, "rule is not used by method 'compression'"),
        ({"method": "gaussian"}, "'gaussian' needs std"),
        ({"method": "gaussian", "std": -1.0}, "std: .*greater than or equal to 0"),
        ({"method": "laplace", "std": 1.0, "clip": 0.0}, "clip: .*greater than 0"),
        ({"method": "none", "rate": 0.5}, "rate is not used by method 'none'"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(arguments, complaint, case):
    *_, update = case
    with pytest.raises(ConfigError, match=complaint) as caught:
        defend(update, **arguments)
    assert "\n" not in str(caught.value)


def test_whole_numbers_do_as_rates(case):
    *_, update = case
    assert defend(update, "compression", rate=0).keys() == update.keys()


def test_images_of_another_shape_are_refused(case):
    model, images, labels, update = case
    with pytest.raises(ConfigError, match=r"images have shape \(3, 9, 9\)"):
        defend(update, "soteria", rate=0.5, model=model, images=images[0], labels=labels)


def test_noise_needs_a_generator(case):
    *_, update = case
    with pytest.raises(ConfigError, match="gaussian needs generator"):
        defense_named("gaussian")(update, DefenseSettings(method="gaussian", std=0.1), Client())


def test_an_unknown_method_is_an_unknown_name(case):
    *_, update = case
    with pytest.raises(UnknownName):
        defend(update, "soteria-60")
