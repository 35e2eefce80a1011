"""The config of docs/defenses.md: each defense trains a round, and is attacked by what knows it."""

import re
from pathlib import Path

import pytest
import torch
import yaml

import fldrep
from fldrep import registry
from fldrep.config.needs import Public, Sent, lacks
from fldrep.config.reading import parse_config
from fldrep.config.train import TrainSettings
from fldrep.defenses.client import Client
from fldrep.defenses.defended import defended_update, defense_of
from fldrep.defenses.networks import network_under
from fldrep.models.normalisation import Normalisation

PAGE = (Path(__file__).parents[2] / "docs/defenses.md").read_text()
CONFIG = parse_config(yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]))
ONE_ROUND = TrainSettings(rounds=1, checkpoints=[1], fraction=0.6, local_epochs=1, batch_size=5, lr=0.05)
NAMES = sorted(CONFIG.defenses)
SHAPE = (1, 12, 12)


def attacks_of(defense: str) -> list[str]:
    """The attacks that the page's grid has for a defense; an ensemble comes last."""
    return [name for entry in CONFIG.grid if defense in entry.defenses for name in entry.attacks]


def under(defense, model):
    """The network that all have under a defense."""
    return network_under(defense_of(defense), model, torch.Generator().manual_seed(0))


def test_the_page_tells_of_every_built_in_defense():
    told = set(
        re.findall(r"`([a-z-]+)`", " ".join(line.split("|")[1] for line in PAGE.splitlines() if line[:2] == "| "))
    )
    assert told == registry.built_in("defense").keys() - {"none"}
    old = {"none", "soteria", "compression", "gaussian", "laplace"}
    assert {one.method for one in CONFIG.defenses.values()} == registry.built_in("defense").keys() - old


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("network", ["lenet", "normed"])
def test_each_trains_a_round(name, network, small, request):
    defense = CONFIG.defenses[name]
    model = under(defense, request.getfixturevalue(network))
    run = small.train(model, defense, settings=ONE_ROUND)
    again = small.train(model, defense, settings=ONE_ROUND)
    state = run.checkpoints[1]
    assert all(torch.equal(one, again.checkpoints[1][key]) for key, one in state.items())
    assert all(one.isfinite().all() for one in state.values())
    plain = small.train(model, settings=ONE_ROUND).checkpoints[1]
    assert any(not torch.equal(one, state[key]) for key, one in plain.items())
    assert any(key.startswith("memory/") for key in state) == (defense.method == "top-k")


@pytest.mark.parametrize("name", NAMES)
def test_each_is_attacked_by_what_knows_it_and_by_what_else_fits(name, lenet):
    defense = CONFIG.defenses[name]
    lenet = under(defense, lenet)
    images = torch.randn(2, 1, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([[1], [3]])
    for number in range(2):
        drawn = torch.Generator().manual_seed(number)
        client = Client(lenet, images[number], labels[number], drawn, normalisation=Normalisation((0.4,), (0.3,)))
        sent = defended_update(defense_of(defense), client)
        assert all(one.isfinite().all() for one in sent.values())
        knows, everything = attacks_of(name)
        settings = CONFIG.attacks[knows]
        found = fldrep.reconstruct(lenet, sent, labels[number], settings, normalisation="none")
        assert found.images.shape == (1, *SHAPE)
        assert found.final_distance.isfinite().all()
    if name != "ats":  # whose images the ensemble solves for, in ten seconds
        ensemble = CONFIG.attacks[everything].model_copy(update={"iterations": 1})
        found = fldrep.reconstruct(lenet, sent, labels[1], ensemble, normalisation="none")
        assert found.images.isfinite().all()
        assert found.members != [["closed-form"]]


@pytest.mark.parametrize("name", NAMES)
def test_attacks_that_need_exact_entries_are_refused_by_needs(name):
    public = Public.of(CONFIG.defenses[name])
    exact = lacks(["exact"], public, Sent())
    assert bool(exact) == (CONFIG.defenses[name].method not in ("ats", "precode"))
