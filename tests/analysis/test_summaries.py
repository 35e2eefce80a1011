import numpy as np
import pandas as pd
import pytest

from fldrep.analysis.cells import summarise
from fldrep.analysis.families import family, is_adaptive, naive_counterpart
from fldrep.analysis.intervals import median_interval, share_interval
from fldrep.analysis.rows import (
    chosen,
    converged,
    defenses_in_order,
    last_rounds,
    paired_differences,
    updates_of,
)


def rows(mse, diverged=None, chosen=None, seed=0, **columns):
    """Attack rows of one cell, a target each."""
    n = len(mse)
    return pd.DataFrame({
        "mse": mse, "mse_pixel": mse, "diverged": diverged or [False] * n, "is_best_restart": chosen or [True] * n,
        "seed": [seed] * n, "target": range(n), **columns,
    })  # fmt: skip


def test_the_median_is_the_mean_of_the_two_middle_values():
    assert median_interval([4, 1, 9, 2]).median == 3
    assert median_interval([5, 1, 9]).median == 5
    assert np.isnan(median_interval([]).median)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_fewer_than_eight_values_have_no_interval(n):
    estimate = median_interval(np.arange(n))
    assert (estimate.n, estimate.low, estimate.high) == (n, None, None)


def test_the_interval_is_the_percentile_bootstrap_of_the_median():
    """Against the exact distribution of a resampled median of 9 values, by counting; and against 80 and 99 %."""
    values = np.array([1.0, 2, 4, 7, 11, 16, 22, 29, 37])
    estimate = median_interval(values)
    below = [_share_of_resamples_at_most(k, 9) for k in range(9)]  # P(median <= k-th smallest)
    low, high = (values[next(k for k in range(9) if below[k] >= level)] for level in (0.025, 0.975))
    assert (estimate.low, estimate.high) == (low, high)
    assert estimate.low < estimate.median < estimate.high


def _share_of_resamples_at_most(k: int, n: int) -> float:
    """P(at least 5 of n draws are among the k + 1 smallest)."""
    from math import comb

    p = (k + 1) / n
    return sum(comb(n, m) * p**m * (1 - p) ** (n - m) for m in range(n // 2 + 1, n + 1))


def test_intervals_are_the_same_again_and_hold_the_truth_about_as_often_as_said():
    values = np.random.default_rng(3).normal(size=20)
    assert median_interval(values) == median_interval(values)
    rng = np.random.default_rng(0)
    estimates = [median_interval(rng.normal(size=15)) for _ in range(60)]
    assert 0.83 < np.mean([one.low <= 0 <= one.high for one in estimates]) <= 1


def test_images_of_one_update_count_as_one_draw():
    values = np.random.default_rng(5).normal(size=12)
    alone, shared = median_interval(values), np.repeat(values, 4)
    groups = np.repeat(range(12), 4)
    grouped = median_interval(shared, groups=groups)
    assert (grouped.n, grouped.median, grouped.low, grouped.high) == (48, alone.median, alone.low, alone.high)
    assert median_interval(shared).high - median_interval(shared).low < grouped.high - grouped.low
    mixed = np.random.default_rng(0).permutation(48)
    assert median_interval(shared[mixed], groups=groups[mixed]) == grouped
    assert median_interval(shared[:28], groups=groups[:28]).low is None, "7 updates have no interval"
    wilson = share_interval(shared > 0, groups=groups)
    one = share_interval(values > 0)
    assert (wilson.n, wilson.low, wilson.high) == (48, one.low, one.high)


def test_an_update_is_of_one_seed():
    table = rows(range(8), images_per_update=4)
    table["seed"] = [0] * 4 + [1] * 4
    assert updates_of(table).tolist() == [0] * 4 + [1] * 4
    assert updates_of(table.assign(seed=0)).tolist() == [0] * 4 + [1] * 4
    assert updates_of(table.assign(images_per_update=1)).nunique() == 8


def test_only_chosen_restarts_count_and_diverged_ones_are_left_out():
    table = rows(
        [1.0, 2.0, np.nan, 4.0, 1e9],
        diverged=[False, False, True, False, True],
        is_best_restart=[True, False, *[True] * 3],
    )
    assert list(chosen(table)["target"]) == [0, 2, 3, 4]
    assert list(converged(table)["mse"]) == [1.0, 4.0]
    assert list(converged(rows([1.0, np.nan, np.inf, 2.0]))["mse"]) == [1.0, 2.0]


def test_paired_differences_by_hand():
    """Target 1 diverged here, target 3 there, target 4 is only in one: the pairs left are 0 and 2."""
    adaptive = rows([0.5, 9.0, 0.25, 0.1], diverged=[False, True, False, False])
    naive = rows([2.0, 1.0, 1.0, 7.0, 5.0], diverged=[False, False, False, True, False]).sample(frac=1, random_state=1)
    found = paired_differences(adaptive, naive)
    assert found.to_dict() == {(0, 0): -1.5, (0, 2): -0.75}


def test_pairs_are_of_one_seed():
    first, second = rows([1.0, 2.0], seed=0), rows([10.0, 20.0], seed=1)
    both = pd.concat([second, first])
    assert paired_differences(both, first).to_dict() == {(0, 0): 0.0, (0, 1): 0.0}


def test_defenses_stand_in_one_order(synthetic):
    table = synthetic.attack_table(1)
    expected = list(synthetic.DEFENSES)
    assert list(defenses_in_order(table.sample(frac=1, random_state=0))["defense"]) == expected


def test_the_naive_counterpart_is_of_the_family_and_nearest_in_iterations(synthetic):
    table = pd.concat([
        synthetic.attack_table(1).assign(iterations=300),
        synthetic.attack_table(1, ("gs",)).assign(attack="gs-long", iterations=2000),
        synthetic.attack_table(1, ("dlg",)).assign(iterations=301),
    ])  # fmt: skip
    assert naive_counterpart(table, "gs-masked") == "gs"
    longer = table.assign(iterations=table["iterations"].where(table["attack"] != "gs-masked", 1500))
    assert naive_counterpart(longer, "gs-masked") == "gs-long"
    assert naive_counterpart(table[table["attack"] == "gs-drop"], "gs-drop") is None


def test_a_cell_by_hand(synthetic):
    table = synthetic.attack_table(9, ("gs", "gs-masked"), ("none", "soteria-80"), restarts=2)
    table["mse_pixel"] = [float(1 + i) for i in range(len(table))]
    lost = (table["defense"] == "soteria-80") & (table["attack"] == "gs") & (table["target"] == 0)
    table.loc[lost, ["diverged", "recovered"]] = [True, False]
    cells = summarise(table).set_index(["attack", "defense"])
    cell = cells.loc[("gs", "soteria-80")]
    kept = table[(table["attack"] == "gs") & (table["defense"] == "soteria-80") & (table["restart"] == 0) & ~lost]
    assert (cell["targets"], cell["diverged"], cell["n"], cell["gain_n"]) == (9, 1, 8, 8)
    assert cell["error"] == kept["mse_pixel"].median()
    assert cell["low"] < cell["error"] < cell["high"]
    assert (cell["mse"], cell["ssim"]) == (kept["mse"].median(), kept["ssim"].median())
    assert (cell["grey"], cell["class_mean"]) == (1.08 / 16, 0.88 / 16)
    assert cell["gain"] == 18  # rows are numbered: 2 restarts of 9 targets lie between the two cells
    assert (
        cell["recovered"]
        == table[table["is_best_restart"] & table.index.isin([*kept.index, *table[lost].index])]["recovered"].mean()
    )
    assert cells.loc[("gs-masked", "soteria-80"), "gain"] == 36  # against the undefended client under gs
    assert cells.loc[("gs", "none"), "gain_n"] == 0


def test_no_interval_below_eight_converged_targets(synthetic):
    table = synthetic.attack_table(8, ("gs",), ("none", "soteria-80"))
    assert summarise(table)["low"].notna().all()
    table.loc[(table["target"] == 3) & (table["defense"] == "none"), "diverged"] = True
    cells = summarise(table).set_index("defense")
    assert np.isnan(cells.loc["none", "low"])
    assert cells.loc["soteria-80", "low"] > 0
    assert np.isnan(cells.loc["soteria-80", "gain_low"])


def test_the_last_round_of_each_run(synthetic):
    table = synthetic.training_table((("mnist", "lenet", "iid", 4), ("mnist", "lenet", "two-classes", 2)), seeds=(0, 1))
    last = last_rounds(table.sample(frac=1, random_state=0))
    assert len(last) == 2 * 2 * len(synthetic.DEFENSES)
    assert set(zip(last["partition"], last["round"], strict=True)) == {("iid", 4), ("two-classes", 2)}


def test_families_are_what_rows_say_and_not_what_attacks_are_called():
    table = pd.DataFrame({
        "attack": ["gs", "dlg", "gs-like", "x", "y"], "preset": ["gs", "dlg", "gs-like", "gs-masked", "y"],
        "variant_of": ["", "", "", "gs", "z dlg"], "iterations": 1,
    })  # fmt: skip
    assert family(table).tolist() == ["gs", "dlg", "gs-like", "gs", "z"]
    assert is_adaptive(table).tolist() == [False, False, False, True, True]
    assert naive_counterpart(table, "x") == "gs"
    assert naive_counterpart(table, "y") == "dlg", "the nearest that was run"
    assert naive_counterpart(table[table["attack"] != "gs"], "x") is None
