"""The leaderboard's config: every defense at its strengths, the strongest that hardly costs accuracy attacked."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from fldrep import registry
from fldrep.applications.leaderboard import (
    added_by,
    beside_published,
    chosen,
    lines,
    named_for,
    with_attacks,
    with_candidates,
)
from fldrep.config.reading import parse_config, read_config
from fldrep.errors import ConfigError, DataError
from fldrep.report.results import Results, read_results
from fldrep.tables.final import FINAL
from tests.figures.synthetic import attack_table, training_table

TERMS = Path(__file__).parents[2] / "config/leaderboard-terms.yaml"
MINE = """
import fldrep

@fldrep.defense("halved")
class Halved(fldrep.Defense):
    class Settings(fldrep.Section):
        factor: float = fldrep.option(0.5, "factor on the update", gt=0)

    strengths = ({"factor": 0.9}, {"factor": 0.5})

    @property
    def adaptive(self):
        return {"preset": "gs-spectral", "iterations": 2}

    def on_update(self, update, client):
        return {name: value * self.settings.factor for name, value in update.items()}
"""


@pytest.fixture
def terms():
    return yaml.safe_load(TERMS.read_text())


@pytest.fixture
def mine(plug_in, tmp_path):
    """A file that registers the defense `halved`, which is forgotten after the test."""
    plug_in(MINE)
    return (tmp_path / "plugin.py").rename(tmp_path / "mine.py")


def training(costs, rounds=2):
    """Runs whose accuracy on the images held out is so much less than that of the undefended, by defense and seed."""
    rows = [
        {
            "dataset": "mnist", "model": "lenet", "partition": "iid", "defense": defense, "seed": seed, "round": round,
            "method": defense.rpartition("-")[0] or defense, "train_s": 1.0, "sent_bytes": 8.0,
            "held_out_accuracy": 0.9 - cost * round / rounds, "test_accuracy": 0.5,
        }
        for defense, per_seed in costs.items()
        for seed, cost in enumerate(per_seed)
        for round in range(rounds + 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_every_built_in_defense_has_strengths_that_its_settings_take(terms):
    config = with_candidates(terms, registry.built_in("defense"))
    methods = {section.get("method", "none") for section in config["defenses"].values()}
    assert methods == set(registry.built_in("defense"))
    parsed = parse_config(config)
    assert [entry.attacks for entry in parsed.grid] == [[]]
    assert parsed.partitions["iid"].held_out == 5000
    assert min(len(parsed.seeds), 3) == 3


def test_the_strongest_that_costs_at_most_a_point_is_chosen(terms):
    config = with_candidates(terms, ["soteria", "qsgd", "compression"])
    found = chosen(
        training(
            {
                "none": [0, 0, 0],
                "soteria-1": [0.002, 0.001, 0.0],
                "soteria-2": [0.02, 0.0, 0.009],  # 0.97 points on average
                "soteria-3": [0.02, 0.0, 0.012],
                "qsgd-1": [0.02, 0.02, 0.02],
                "qsgd-2": [0.03, 0.03, 0.03],
                "qsgd-3": [0.04, 0.04, 0.04],
                "compression-1": [0.02, 0.02, 0.02],
                "compression-2": [0.0, 0.0, 0.0],
                "compression-3": [-0.01, 0.0, 0.0],
            }
        ),
        config,
    )
    assert found == {"soteria": "soteria-2", "qsgd": "qsgd-1", "compression": "compression-3"}


def test_without_images_held_out_nothing_is_chosen(terms):
    config = with_candidates(terms, ["signsgd"])
    frame = training({"none": [0.0], "signsgd-1": [0.0]}).assign(held_out_accuracy=np.nan)
    with pytest.raises(DataError, match=r"defense signsgd-1: no accuracy on images held out"):
        chosen(frame, config)


def test_the_chosen_go_through_the_terms_and_what_knows_them(terms):
    trained = with_candidates(terms, ["soteria", "qsgd"])
    board = with_attacks(trained, terms, {"soteria": "soteria-2", "qsgd": "qsgd-3"})
    parsed = parse_config(board)
    assert parsed.attacks["knows-qsgd"].objective == "intervals"
    assert "knows-soteria" not in parsed.attacks  # the ensemble has what knows it
    attacked = [entry for entry in parsed.grid if entry.attacks]
    assert [entry.defenses for entry in attacked] == [["none", "soteria-2", "qsgd-3"], ["qsgd-3"]]
    assert attacked[0].attacks == [*terms["attacks"]]
    assert attacked[1].attacks == ["knows-qsgd"]
    assert {entry.targets for entry in attacked} == {terms["grid"][0]["targets"]}
    assert terms == yaml.safe_load(TERMS.read_text())  # nothing was changed in place


def test_a_file_adds_a_defense_and_its_run_a_name(terms, mine, tmp_path):
    assert added_by([mine]) == ["halved"]
    named = named_for(terms, [mine])
    assert named["name"] == "leaderboard-mine"
    board = with_attacks(with_candidates(named, ["halved"]), named, {"halved": "halved-2"})
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(board, sort_keys=False))
    parsed = read_config(path)
    assert [*parsed.defenses] == ["none", "halved-1", "halved-2"]
    assert parsed.attacks["knows-halved"].iterations == 2


def test_a_file_without_a_defense_is_refused(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("import fldrep\n")
    with pytest.raises(ConfigError, match=r"empty\.py: registers no defense"):
        added_by([path])


def test_a_strength_that_its_settings_do_not_take_is_refused_by_key(terms, plug_in):
    with pytest.raises(ConfigError, match="facto"):
        with_candidates(terms, plug_in(MINE.replace('"factor": 0.9', '"facto": 0.9')))


@pytest.fixture
def published(tmp_path, terms):
    """A published leaderboard with the defenses none and soteria, and the tables of a run with none and gaussian."""
    folder = tmp_path / "published"
    folder.mkdir()

    def tables(defense):
        place = ("mnist", "lenet", "iid")
        return {
            "attacks": attack_table(2, ("gs",), ("none", defense), [(*place, 10)]),
            "training": training_table([(*place, 10)], ("none", defense)).assign(held_out_accuracy=0.5),
        }

    def config(method, keys):
        board = with_candidates(terms, [method])
        board["defenses"] = {"none": {}, keys: board["defenses"][f"{method}-2"]}
        return {**board, "grid": [{**board["grid"][0], "defenses": ["none", keys]}]}

    for name, frame in tables("soteria-80").items():
        FINAL[name].write(frame, folder / f"{name}.parquet")
    (folder / "config.yaml").write_text(yaml.safe_dump(config("soteria", "soteria-80"), sort_keys=False))
    (folder / "provenance.json").write_text("{}")
    empty = {name: pd.DataFrame(columns=table.names) for name, table in FINAL.items()}
    made = {**empty, **tables("gaussian-2")}
    return folder, Results("own", parse_config(config("gaussian", "gaussian-2")), made, pd.DataFrame(), {}, {}, {})


def test_a_run_stands_beside_what_is_published(published):
    folder, own = published
    tables, config = beside_published(own, folder)
    board = "\n".join(lines(tables, config))
    assert board.splitlines()[0] == "mnist · lenet · iid"
    assert all(board.count(method) == 1 for method in ("none", "soteria (", "gaussian ("))
    assert len(tables["training"]) == len(own.tables["training"]) + 11  # the undefended runs are the same


def test_a_run_stands_alone_where_nothing_is_published_on_its_terms(published, tmp_path):
    folder, own = published
    other = replace(own, config=own.config.model_copy(update={"seeds": [7]}))
    assert beside_published(other, folder) == (other.tables, other.config)
    assert beside_published(own, tmp_path / "nothing") == (own.tables, own.config)


def test_on_the_published_leaderboard_the_strongest_cheap_settings_are_attacked(terms):
    found = read_results(str(TERMS.parents[1] / "docs/results/leaderboard"))
    config = yaml.safe_load((TERMS.parent / "leaderboard.yaml").read_text())
    names = chosen(found.tables["training"], config)
    assert len(names) >= 12
    assert set(found.tables["attacks"]["defense"]) == {"none", *names.values()}
    assert config["grid"][1:] == with_attacks(config, terms, names)["grid"][len(config["grid"]) :]
