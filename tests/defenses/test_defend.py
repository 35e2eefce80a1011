import pytest
import torch
from torch import nn

import fldrep
from fldrep import registry
from fldrep.config.defenses import defense_settings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defense_of
from fldrep.defenses.defense import Defense
from fldrep.defenses.face import defend
from fldrep.defenses.soteria.face import column_mask
from fldrep.errors import ConfigError, UnknownName
from fldrep.models.updates import client_update

LAYERS = [nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Flatten()]


@pytest.fixture
def case(make_network, draw_images):
    model, images, labels = make_network(*LAYERS), draw_images(3), torch.tensor([0, 1, 2])
    return model, images, labels, client_update(model, images, labels)


def test_every_built_in_defense_is_an_entry_with_settings_of_its_own():
    known = registry.entries("defense")
    assert set(known) >= {"none", "soteria", "compression", "gaussian", "laplace", "signsgd", "gaussian-dp"}
    assert all(issubclass(entry.value, Defense) for entry in known.values())
    assert {name: entry.value.zeros for name, entry in known.items() if entry.value.zeros != "none"} == {
        "soteria": "head",
        **dict.fromkeys(("compression", "top-k", "percentile", "svt", "outpost"), "all"),
    }
    assert {name for name, entry in known.items() if entry.value.distorts} == set(known) - {
        *("none", "soteria", "compression", "ats", "precode"),
        *("gaussian", "laplace", "gaussian-dp", "laplace-dp"),
    }


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
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sent = defend(update, "soteria", rate=0.5, prune="representation", model=model, images=images, labels=labels)
    masks = column_mask(model, images, 0.5)
    for number, (image, label, kept) in enumerate(zip(images, labels, masks, strict=True)):
        logits = model.head(model.features(image[None]) * kept)
        loss = torch.nn.functional.cross_entropy(logits, label[None])
        expected = torch.autograd.grad(loss, list(model.parameters()))
        for (name, _), value in zip(model.named_parameters(), expected, strict=True):
            torch.testing.assert_close(sent[name][number], value)
            assert not torch.allclose(sent[name][number], update[name][number])
    assert not sent["head.weight"].transpose(1, 2)[~masks].any()
    assert sent.defended == "head"
    assert not model.head._forward_pre_hooks, "the caller's model was changed"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


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
        ({"method": "dropout"}, "unknown defense 'dropout'; known: .*compression, gaussian"),
        ({"method": "soteria"}, "rate: missing"),
        ({"method": "soteria", "rate": 1.2}, "rate: .*less than or equal to 1"),
        ({"method": "soteria", "rate": -0.1}, "rate: .*greater than or equal to 0"),
        ({"method": "soteria", "rate": "high"}, "rate: .*number"),
        ({"method": "soteria", "rate": 0.5, "rule": "best"}, "rule: .*'ratio'"),
        ({"method": "soteria", "rate": 0.5, "prune": "image"}, "prune: .*'gradient'"),
        ({"method": "soteria", "rate": 0.5, "std": 0.1}, "std: 0.1: unknown key; method 'soteria' takes rule, rate"),
        ({"method": "soteria", "rate": 0.5}, "'soteria' needs model, images, labels, which was not given"),
        ({"method": "compression"}, "rate: missing"),
        (
            {"method": "compression", "rate": 0.5, "rule": "ratio"},
            "rule: 'ratio': unknown key; method 'compression' takes rate",
        ),
        ({"method": "gaussian"}, "std: missing"),
        ({"method": "gaussian", "std": -1.0}, "std: .*greater than or equal to 0"),
        ({"method": "laplace", "std": 1.0, "clip": 0.0}, "clip: .*greater than 0"),
        ({"method": "none", "rate": 0.5}, "rate: 0.5: unknown key; method 'none' takes no other key"),
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
    with pytest.raises(ConfigError, match=r"images: shape \(3, 9, 9\)"):
        defend(update, "soteria", rate=0.5, model=model, images=images[0], labels=labels)


def test_noise_needs_a_generator(case):
    *_, update = case
    with pytest.raises(ConfigError, match="gaussian needs generator"):
        defense_of(defense_settings("gaussian", std=0.1)).on_update(update, Client())


def test_an_unknown_method_is_an_unknown_name(case):
    *_, update = case
    with pytest.raises(UnknownName):
        defend(update, "soteria-60")
