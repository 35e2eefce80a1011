"""What the leaderboard says of each defense, from tables whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from fldrep.analysis.leaderboard import leaderboard, paired_costs
from fldrep.report.leaderboard import leaderboards
from fldrep.tables.identifiability import IDENTIFIABILITY
from tests.figures.synthetic import attack_table, training_table

PLACE = ("mnist", "lenet", "iid")
SETTINGS = [(*PLACE, 0), (*PLACE, 10)]
NONE_KNOWN = pd.DataFrame(columns=IDENTIFIABILITY.names)


@pytest.fixture
def attacks():
    """Four clients each; of the undefended DLG finds all, under Soteria the masked attack two and in one round each."""
    rows = attack_table(4, ("gs", "gs-masked"), ("none", "soteria-80", "gaussian-2"), SETTINGS)
    masked = (rows["defense"] == "soteria-80") & (rows["attack"] == "gs-masked")
    found = (rows["defense"] == "none") | (masked & (rows["target"] == 1) & (rows["round"] == 0))
    found |= masked & (rows["target"] == 2) & (rows["round"] == 10)
    return rows.assign(recovered=found, ssim=np.where(found, 0.9, 0.0), certified=found & masked)


@pytest.fixture
def training():
    rows = training_table([(*PLACE, 10)], ("none", "soteria-80", "gaussian-2"), seeds=(0, 1, 2))
    lost = {"none": 0.0, "soteria-80": 0.01, "gaussian-2": 0.03}
    base = rows["seed"].map({0: 0.9, 1: 0.8, 2: 0.7})
    return rows.assign(test_accuracy=base - rows["defense"].map(lost), held_out_accuracy=0.5)


def test_found_in_any_round_by_any_attack_counts_once_a_client(attacks, training):
    board = leaderboard(attacks, training, NONE_KNOWN).set_index("defense")
    assert board["clients"].to_dict() == {"none": 4, "soteria-80": 4, "gaussian-2": 4}
    assert {name: one.median for name, one in board["found"].items()} == {"none": 1, "soteria-80": 0.5, "gaussian-2": 0}
    assert board.loc["soteria-80", "published"].median == 0
    assert board.loc["soteria-80", "certified"] == 2
    assert board["attack"].to_dict() == {"none": "gs", "soteria-80": "gs-masked", "gaussian-2": ""}
    assert [*board.index] == ["gaussian-2", "soteria-80", "none"]  # least found first


def test_the_cost_is_paired_by_seed(attacks, training):
    board = leaderboard(attacks, training, NONE_KNOWN).set_index("defense")
    cost = board.loc["soteria-80", "cost"]
    assert (cost.n, cost.median, cost.low, cost.high) == pytest.approx(
        (3, 0.01, 0.01, 0.01)
    )  # though seeds differ by 0.1
    assert board.loc["none", "cost"].median == 0
    assert board.loc["gaussian-2", "accuracy"] == pytest.approx(0.77)


def test_a_run_that_was_not_trained_or_not_attacked_is_not_listed(attacks, training):
    board = leaderboard(attacks, training[training["defense"] != "gaussian-2"], NONE_KNOWN)
    assert set(board["defense"]) == {"none", "soteria-80"}
    board = leaderboard(attacks[attacks["defense"] != "none"], training, NONE_KNOWN)
    assert set(board["defense"]) == {"soteria-80", "gaussian-2"}


def test_a_cost_without_the_undefended_run_of_its_seed_is_unknown(training):
    costs = paired_costs(training[~((training["seed"] == 1) & (training["defense"] == "none"))], "test_accuracy")
    assert costs.groupby("seed")["cost"].apply(lambda own: own.isna().all()).to_dict() == {0: False, 1: True, 2: False}


def test_in_words_best_first(attacks, training):
    sections = {
        "none": {"method": "none"},
        "soteria-80": {"method": "soteria", "rate": 0.8, "rule": "ratio"},
        "gaussian-2": {"method": "gaussian", "std": 0.01, "clip": None},
    }
    tables = {"attacks": attacks, "training": training, "identifiability": NONE_KNOWN}
    [table] = leaderboards(tables, {"defenses": sections})
    assert [row[0] for row in table.rows] == ["gaussian (std 0.01)", "soteria (rate 0.8, rule ratio)", "none"]
    assert table.rows[1][1:4] == ["50 %", "0 %", "2"]
    assert table.rows[1][6] == "1.0 [1.0, 1.0]"
    assert all(len(row) == len(table.heads) for row in table.rows)
    assert leaderboards({**tables, "training": training.assign(held_out_accuracy=None)}, {}) == []
