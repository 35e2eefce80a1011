"""Whom an attack assumes follows from its entry, whatever it is called."""

import pytest

from fldrep.config.attacks import attack_settings
from fldrep.config.presets import ATTACK_PRESETS
from fldrep.config.reading import parse_config
from fldrep.config.threat import KNOWLEDGE, PASSIVE, threat_of
from fldrep.errors import ConfigError, UnknownName


@pytest.mark.parametrize(
    ("preset", "knows"),
    [
        ("dlg", ()),
        ("idlg", ()),
        ("gs", ("labels",)),
        ("gs-masked", ("labels", "mask")),
        ("gs-spectral-drop", ("labels", "mask")),
        ("gs-l2", ("labels", "noise")),
        ("dlg-scaled", ("mechanism",)),
        ("gs-averaged", ("labels", "several-updates")),
        ("closed-form", ("labels", "mask")),
    ],
)
def test_of_presets(preset, knows):
    assert threat_of(attack_settings(preset)) == (PASSIVE, knows)


@pytest.mark.parametrize("preset", sorted({*ATTACK_PRESETS} - {"ensemble"}))
def test_to_take_labels_as_known_is_to_know_them(preset):
    assert "labels" in threat_of(attack_settings(preset, labels="known")).knows
    assert "labels" not in threat_of(attack_settings(preset, labels="inferred")).knows


def test_an_ensemble_knows_what_its_members_know_together():
    found = threat_of(attack_settings(objective="cosine", optimiser="signed-adam", iterations=1, members=["gs-l2"]))
    assert found.knows == ("labels", "noise")
    assert threat_of(attack_settings("ensemble")).knows == ("labels", "mask", "noise", "mechanism")


def test_of_an_attack_of_ones_own():
    own = attack_settings(objective="signs", compares="surviving", optimiser="signed-adam", iterations=1)
    assert threat_of(own).knows == ("labels", "mask", "mechanism")


OWN = """
import fldrep

@fldrep.objective("{name}", knows=["{word}"])
def own(trial, observed):
    \"\"\"Nothing.\"\"\"
"""


def config_of(plug_in, name, word):
    plug_in(OWN.format(name=name, word=word))
    return {
        "name": "small",
        "partitions": {"iid": {}},
        "models": {"lenet": {}},
        "train": {"lenet": {}},
        "defenses": {"none": {}},
        "attacks": {"mine": {"objective": name, "optimiser": "signed-adam", "iterations": 1}},
        "grid": [{"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["none"]}],
    }


def test_of_a_plug_in(plug_in):
    config = parse_config(config_of(plug_in, "told-of-noise", "noise"))
    assert threat_of(config.attacks["mine"]).knows == ("labels", "noise")


def test_a_word_that_means_nothing_is_refused(plug_in):
    with pytest.raises((ConfigError, UnknownName), match=r"'weather'.*known: labels"):
        parse_config(config_of(plug_in, "told-of-weather", "weather"))


def test_every_word_is_said_of_some_attack_or_explained():
    assert all(meaning for meaning in KNOWLEDGE.values())
