"""Each claim reaches each verdict it can reach, from tables made for it; the page shows what the table says."""

import re

import pandas as pd
import pytest

from fldrep import registry
from fldrep.analysis.rows import credited
from fldrep.analysis.words import number
from fldrep.config.reading import parse_config
from fldrep.report import claims_table, evidence
from fldrep.report.claims.inverse_rule import rule_pairs
from fldrep.report.evidence import NOT_REPRODUCED, NOT_TESTABLE, ONLY_NON_ADAPTIVE, REPRODUCED, Tables
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS, VERDICTS
from fldrep.tables.final import FINAL

GREY = 0.08
CONFIG = parse_config({
    "name": "small",
    "partitions": {"iid": {}},
    "models": {"lenet": {}, "convnet-16": {"architecture": "convnet", "width": 16}},
    "train": {"lenet": {"rounds": 10}, "convnet-16": {"rounds": 0}},
    "defenses": {
        "none": {},
        "soteria-40": {"method": "soteria", "rate": 0.4},
        "soteria-80": {"method": "soteria", "rate": 0.8},
        "soteria-script-60": {"method": "soteria", "rate": 0.6, "rule": "reference-script"},
        "inverse-40": {"method": "soteria", "rate": 0.4, "rule": "inverse"},
        "representation-40": {"method": "soteria", "rate": 0.4, "rule": "inverse", "prune": "representation"},
        "compression-60": {"method": "compression", "rate": 0.6},
        "gaussian-2": {"method": "gaussian", "std": 0.01},
    },
    "attacks": {
        "gs": {"preset": "gs", "iterations": 100},
        "gs-masked": {"preset": "gs-masked", "iterations": 100},
        "dlg": {"preset": "dlg", "iterations": 100},
    },
    "grid": [{"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["none"]}],
})  # fmt: skip
SETTING = (("mnist", "lenet", "iid", 0),)


@pytest.fixture
def made(synthetic):
    """Tables with given errors, in multiples of grey's, for each (attack, defense); others from the synthetic ones.

    An image is found up to half of grey's error.
    """

    def make(errors=None, targets=8, **tables):
        attacks = pd.DataFrame(columns=ATTACKS.names)
        if errors:
            names = tuple(dict.fromkeys(defense for _, defense in errors))
            table = synthetic.attack_table(targets, tuple({attack for attack, _ in errors}), names, SETTING)
            levels = pd.Series([errors.get(cell) for cell in zip(table["attack"], table["defense"], strict=True)])
            table["mse_pixel"] = GREY * levels.astype(float) * (1 + 0.01 * table["target"])
            table["mse"], table["grey_mse_pixel"], table["grey_mse"] = table["mse_pixel"] * 12, GREY, GREY * 12
            table["recovered"], table["ssim"] = levels.le(0.5), levels.le(0.5) * 0.8
            attacks = table[levels.notna()].reset_index(drop=True)
        empty = {name: pd.DataFrame(columns=table.names) for name, table in FINAL.items()}
        return Tables(CONFIG, {**empty, "attacks": attacks, **tables})

    return make


def trained(synthetic, lost, defenses=("none", "soteria-80", "gaussian-2"), rounds=10, seeds=(0, 1)):
    """A table `training` in which each defense ends at 0.9 less what it loses."""
    table = synthetic.training_table((("mnist", "lenet", "iid", rounds),), defenses, seeds)
    ends = 0.9 - table["defense"].map(lost).fillna(0)
    return table.assign(test_accuracy=(table["round"] / max(rounds, 1)) * ends)


def judged(claim, tables):
    """What a claim finds in tables."""
    return registry.value("claim", claim)(tables)


def verdicts_of(findings):
    return [one.verdict for one in findings]


STRONG = {("gs", "none"): 0.0005, ("gs", "gaussian-2"): 0.001, ("gs", "soteria-80"): 0.5}


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ({}, ONLY_NON_ADAPTIVE),  # 500 times, but no adaptive attack was run
        ({("gs-masked", "soteria-80"): 0.5}, REPRODUCED),
        ({("gs-masked", "soteria-80"): 0.01}, ONLY_NON_ADAPTIVE),
        ({("gs", "gaussian-2"): 0.01}, NOT_REPRODUCED),  # 50 times
        ({("gs", "soteria-80"): 500.0, ("gs", "gaussian-2"): 0.01}, NOT_REPRODUCED),  # beyond grey is not credited
        ({("gs", "none"): 0.6}, NOT_TESTABLE),
    ],
)
def test_the_ratio(made, synthetic, errors, verdict):
    (found,) = judged("mse-ratio", made(STRONG | errors, training=trained(synthetic, {})))
    assert found.verdict == verdict
    assert found.defense == "soteria-80 / gaussian-2"
    assert found.estimate.n == 8


def test_the_ratio_needs_equal_accuracy_of_a_model_that_learned(made, synthetic):
    for lost, verdict in (({"gaussian-2": 0.02}, NOT_TESTABLE), ({"gaussian-2": 0.01}, ONLY_NON_ADAPTIVE)):
        assert verdicts_of(judged("mse-ratio", made(STRONG, training=trained(synthetic, lost)))) == [verdict]
    untrained = trained(synthetic, {}, rounds=0)
    (found,) = judged("mse-ratio", made(STRONG, training=untrained))
    assert found.verdict == NOT_TESTABLE
    assert found.estimate.median == pytest.approx(500)
    assert "no accuracy" in found.measured


def test_the_ratio_needs_eight_targets(made, synthetic):
    tables = made(STRONG, targets=7, training=trained(synthetic, {}))
    assert verdicts_of(judged("mse-ratio", tables)) == [NOT_TESTABLE]


def test_a_diverged_attack_credits_no_defense(made, synthetic):
    tables = made(STRONG, targets=9, training=trained(synthetic, {}))
    lost = (tables["attacks"]["defense"] == "soteria-80") & (tables["attacks"]["target"] == 8)
    tables["attacks"].loc[lost, ["diverged", "mse_pixel"]] = [True, 1e9]
    (found,) = judged("mse-ratio", tables)
    assert found.estimate.n == 8
    assert found.estimate.high < 510


def test_the_ratio_is_read_in_three_ways(made, synthetic):
    """One diverged run makes the mean what the paper could report; medians and the strongest attack tell otherwise."""
    errors = STRONG | {("gs-masked", "soteria-80"): 0.002}
    tables = made(errors, targets=9, training=trained(synthetic, {}))
    attacks = tables["attacks"]
    lost = (attacks["attack"] == "gs") & (attacks["defense"] == "soteria-80") & (attacks["target"] == 8)
    attacks.loc[lost, ["diverged", "mse"]] = [True, 1e9]
    (found,) = judged("mse-ratio", tables)
    mean = attacks.loc[(attacks["attack"] == "gs") & (attacks["defense"] == "soteria-80"), "mse"].mean()
    assert mean > 1e8
    assert f"diverged ones in): {number(mean)} against" in found.measured
    assert re.search(r"1 diverged runs apart: .*?, 498 times; paired and at most grey's: 500 \[", found.measured)
    assert "(gs-masked / gs): 2.00 [" in found.measured


def test_the_ratio_is_told_where_every_attack_on_a_baseline_diverged(made, synthetic):
    tables = made(STRONG, training=trained(synthetic, {}))
    tables["attacks"].loc[tables["attacks"]["defense"] == "gaussian-2", "diverged"] = True
    (found,) = judged("mse-ratio", tables)
    assert found.verdict == NOT_TESTABLE
    assert "(gs / none): none converged" in found.measured


def test_the_claimed_ratio_is_to_the_worst_baseline_and_the_best_is_said(made, synthetic):
    errors = STRONG | {("gs", "compression-60"): 0.25}
    defenses = ("none", "soteria-80", "gaussian-2", "compression-60")
    (found,) = judged("mse-ratio", made(errors, training=trained(synthetic, {}, defenses)))
    assert found.defense == "soteria-80 / gaussian-2"
    assert "over the best baseline 2.00" in found.measured


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [({"soteria-80": 0.01}, REPRODUCED), ({"soteria-80": 0.02}, NOT_REPRODUCED), ({"none": 0.75}, NOT_TESTABLE)],
)
def test_accuracy(made, synthetic, lost, verdict):
    (found,) = judged("accuracy", made(training=trained(synthetic, lost)))
    assert found.verdict == verdict
    assert (found.seeds, found.estimate.low) == (2, None)


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ({}, REPRODUCED),
        ({("gs", "soteria-40"): 0.6}, NOT_REPRODUCED),
        ({("gs", "none"): 0.6}, REPRODUCED),  # what is found is found
        ({("gs", "none"): 0.6, ("gs", "soteria-40"): 0.6}, NOT_TESTABLE),
        ({("gs", "soteria-40"): 0.6, ("gs-masked", "soteria-40"): 0.2}, REPRODUCED),  # an attack that knows does
    ],
)
def test_the_tolerated_rate(made, errors, verdict):
    (found,) = judged("rate-40", made({("gs", "none"): 0.1, ("gs", "soteria-40"): 0.4} | errors))
    assert found.verdict == verdict
    assert found.estimate.median == (verdict == REPRODUCED)


def test_a_rate_that_leaves_nothing_to_find_is_not_tolerated(made, synthetic):
    floors = synthetic.identifiability_table({"none": 0.01, "soteria-40": 5.0})
    (found,) = judged("rate-40", made({("gs", "none"): 0.6, ("gs", "soteria-40"): 0.6}, identifiability=floors))
    assert found.verdict == NOT_REPRODUCED
    assert "gs: found 0 of 8; 8 not identifiable" in found.measured


RULES = {("gs", "none"): 0.1, ("gs", "soteria-40"): 0.4, ("gs", "soteria-80"): 0.6}
KNOWING = {("gs-masked", "soteria-40"): 0.2, ("gs-masked", "soteria-80"): 0.3}


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ({}, ONLY_NON_ADAPTIVE),
        (KNOWING, REPRODUCED),
        (KNOWING | {("gs-masked", "soteria-80"): 0.1}, ONLY_NON_ADAPTIVE),
        ({("gs", "soteria-80"): 0.3}, NOT_REPRODUCED),
        ({("gs", "soteria-40"): 2.0, ("gs", "soteria-80"): 3.0}, NOT_REPRODUCED),  # both worse than grey
        ({("gs", "none"): 0.6}, NOT_TESTABLE),
    ],
)
def test_the_inverse_rule(made, errors, verdict):
    tables = made(RULES | errors)
    inverse = tables["attacks"]["defense"] == "soteria-80"
    tables["attacks"].loc[inverse, ["defense", "rule", "rate"]] = ["inverse-40", "inverse", 0.4]
    (found,) = judged("inverse-rule", tables)
    assert found.verdict == verdict
    assert found.defense == "soteria-40, inverse-40"


def test_rules_are_compared_only_where_all_else_is_equal(made):
    pairs = rule_pairs(made(), list(CONFIG.defenses))
    assert pairs == [("inverse-40", "soteria-40")]


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [
        ({}, REPRODUCED),
        ({("gs-masked", "soteria-80"): 0.7}, NOT_REPRODUCED),
        ({("gs", "soteria-80"): 0.05}, NOT_TESTABLE),  # nothing gained, nothing to take back
        ({("gs", "none"): 0.6}, NOT_TESTABLE),
    ],
)
def test_adaptive_attacks(made, errors, verdict):
    levels = {("gs", "none"): 0.1, ("gs", "soteria-80"): 0.9, ("gs-masked", "soteria-80"): 0.2} | errors
    (found,) = judged("adaptive-attacks", made(levels))
    assert found.verdict == verdict
    if verdict == REPRODUCED:
        assert "88 % taken back" in found.measured


def test_the_strongest_adaptive_attack_judges(made):
    levels = {("gs", "none"): 0.1, ("gs", "soteria-80"): 0.9, ("gs-masked", "soteria-80"): 0.7}
    levels |= {("gs-drop", "soteria-80"): 0.2}
    (found,) = judged("adaptive-attacks", made(levels))
    assert found.attack == "gs, gs-drop"


@pytest.mark.parametrize(("live", "verdict"), [(0.25, REPRODUCED), (0.55, NOT_REPRODUCED)])
def test_dead_features(made, live, verdict):
    tables = made({("gs", "none"): 0.1, ("gs", "soteria-script-60"): 0.9})
    tables["attacks"]["live_pruned"] = live
    (found,) = judged("dead-features", tables)
    assert found.verdict == verdict
    assert found.estimate.median == pytest.approx(0.6 - live)


@pytest.mark.parametrize(("lost", "verdict"), [(0, NOT_REPRODUCED), (1, REPRODUCED)])
def test_divergence(made, lost, verdict):
    tables = made({("gs", "none"): 0.1, ("gs", "soteria-80"): 0.9})
    tables["attacks"].loc[tables["attacks"]["defense"] == "none", "diverged"] = [True] * lost + [False] * (8 - lost)
    (found,) = judged("divergence", tables)
    assert found.verdict == verdict
    assert found.estimate.median == lost / 8


@pytest.mark.parametrize(
    ("errors", "verdict"),
    [({}, REPRODUCED), ({("gs", "soteria-80"): 0.9}, NOT_REPRODUCED), ({("gs", "none"): 0.6}, NOT_TESTABLE)],
)
def test_worse_than_grey(made, errors, verdict):
    levels = {("gs", "none"): 0.1, ("gs", "soteria-80"): 1.5, ("gs", "compression-60"): 0.4} | errors
    (found,) = judged("worse-than-grey", made(levels))
    assert found.verdict == verdict
    if verdict == REPRODUCED:
        assert (found.estimate.n, found.estimate.median) == (2, 0.5)


@pytest.mark.parametrize(
    ("correlation", "public", "verdict"),
    [
        ({1: 1.0, 32: 0.99}, 0.9, REPRODUCED),
        ({1: 1.0, 32: 0.9}, 0.8, NOT_REPRODUCED),
        ({1: 1.0, 32: 0.99}, 0.995, NOT_TESTABLE),
        ({1: 1.0, 32: 0.9}, 0.995, NOT_REPRODUCED),
    ],
)
def test_leakage(made, synthetic, correlation, public, verdict):
    table = synthetic.leakage_table(correlation, public, ("none", "soteria-80"))
    (found,) = judged("representation-leakage", made(leakage=table))
    assert found.verdict == verdict
    assert found.estimate.n == 8
    assert (
        judged("representation-leakage", made(leakage=synthetic.leakage_table(correlation, defenses=("soteria-80",))))
        == []
    )


@pytest.mark.parametrize(
    ("floors", "errors", "targets", "verdict", "words"),
    [
        ({"none": 0.01, "soteria-80": 0.011}, {}, 8, NOT_REPRODUCED, "identifiable, not attacked"),
        ({"none": 0.01, "compression-90": 2.0}, {}, 8, REPRODUCED, "not identifiable: 8 not identifiable"),
        ({"none": 0.01, "compression-90": 2.0}, {}, 7, NOT_TESTABLE, "7 images with a floor; 8 are asked for"),
        ({"none": 1.5, "compression-90": 2.0}, {}, 8, NOT_TESTABLE, "not identifiable even undefended"),
        ({"none": 1e-12, "compression-90": 0.5}, {}, 8, NOT_REPRODUCED, "not attacked"),  # by a prior of 1/f
        ({"none": 0.01, "laplace-2": None}, {}, 8, NOT_TESTABLE, "neither attacked nor looked at"),
        ({"compression-90": 2.0}, {}, 8, NOT_TESTABLE, "no floor of the same image undefended"),
        (
            {"none": 0.01, "soteria-80": 0.011},
            {("gs", "soteria-80"): 0.9},
            8,
            NOT_REPRODUCED,
            "identifiable, not found by our attacks: found 0 of 8; 8 identifiable, not found; the floor is 1.10 times",
        ),
        (
            {"none": 0.01, "soteria-80": 2.0},
            {("gs", "soteria-80"): 0.9, ("gs-masked", "soteria-80"): 0.2},
            8,
            NOT_REPRODUCED,
            "identifiable and found: found 8 of 8; found by gs-masked",
        ),
        (
            {},
            {("gs", "soteria-80"): 0.9},
            8,
            NOT_TESTABLE,
            "not found by our attacks: found 0 of 8; ident",
        ),
        ({}, {("gs", "soteria-80"): 0.2}, 1, NOT_REPRODUCED, "found by our attacks: found 1 of 1; found by gs; ident"),
        (
            {"none": 0.01, "gaussian-2": None},
            {("gs", "gaussian-2"): 0.9},
            8,
            NOT_TESTABLE,
            "not found by our attacks: found 0 of 8; rounded",
        ),
    ],
)
def test_what_is_removed_is_gone(made, synthetic, floors, errors, targets, verdict, words):
    looked = {"identifiability": synthetic.identifiability_table(floors, targets)} if floors else {}
    (found,) = judged("identifiability", made(errors, targets, **looked))
    assert found.verdict == verdict
    assert words in found.measured
    floor = next((floor for name, floor in floors.items() if name != "none"), None)
    if floor and "none" in floors:
        assert (found.estimate.n, found.estimate.median) == (targets, pytest.approx(floor / floors["none"]))
    elif errors:
        assert (found.estimate.n, found.estimate.median) == (targets, float("found 0" not in words))


def test_leakage_of_few_batches_is_not_judged(made, synthetic):
    table = synthetic.leakage_table({32: 0.99}, sizes=(32,), batches=7)
    assert verdicts_of(judged("representation-leakage", made(leakage=table))) == [NOT_TESTABLE]


@pytest.mark.parametrize(
    ("distances", "verdict"),
    [
        ({"gs": 2.0, "gs-masked": 1.5}, REPRODUCED),
        ({"gs": 2.0, "gs-masked": 0.5}, ONLY_NON_ADAPTIVE),
        ({"gs": 2.0}, ONLY_NON_ADAPTIVE),
        ({"gs": 0.5, "gs-masked": 0.5}, NOT_REPRODUCED),
        ({"gs": float("nan")}, NOT_TESTABLE),
    ],
)
def test_the_certificate(made, synthetic, distances, verdict):
    attacked = {(attack, "soteria-80"): 1.0 for attack in distances}
    (found,) = judged("certificate", made(attacked, certificate=synthetic.certificate_table(distances)))
    assert found.verdict == verdict
    if verdict == NOT_REPRODUCED:
        assert "holds 0 of 8 against published attacks" in found.measured
    broken = [f"{name} 1.00 [0.676, 1.00] of 8" for name, distance in sorted(distances.items()) if distance < 1]
    assert (f"nearer than the bound: {', '.join(broken)})" in found.measured) == bool(broken)


@pytest.mark.parametrize(
    ("gap", "floor", "kind", "verdict"),
    [
        (0.5, 0.0, "random", REPRODUCED),
        (2.0, 0.0, "random", NOT_REPRODUCED),
        (0.5, 0.1, "soteria", NOT_REPRODUCED),
    ],
)
def test_convergence(made, synthetic, gap, floor, kind, verdict):
    table = synthetic.convergence_table(gap, floor=floor, kind=kind)
    (found,) = judged("convergence", made(convergence=table))
    assert found.verdict == verdict
    assert ("cannot hold" in found.measured) == (floor > 0)


@pytest.mark.parametrize(("epsilon", "verdict"), [(2.0, REPRODUCED), (100.0, NOT_REPRODUCED), (None, NOT_REPRODUCED)])
def test_accounting(made, synthetic, epsilon, verdict):
    (found,) = judged("noise-is-private", made(accounting=synthetic.accounting_table(epsilon)))
    assert found.verdict == verdict


# ---- what counts


@pytest.mark.parametrize(("floors", "told"), [({}, ""), ({"none": 0.01}, "; 5 identifiable, not found")])
def test_an_attack_that_finds_few_undefended_images_judges_no_defense(made, synthetic, floors, told):
    looked = {"identifiability": synthetic.identifiability_table(floors)} if floors else {}
    tables = made({("gs", "none"): 0.1, ("gs-masked", "soteria-80"): 0.1}, **looked)
    attacks = credited(tables["attacks"])
    assert evidence.not_reached(tables, attacks, "gs") is None
    assert evidence.strongest_adaptive(tables, attacks, "soteria-80") == "gs-masked"
    attacks.loc[attacks["defense"].eq("none") & attacks["target"].lt(4), ["recovered", "ssim"]] = [False, 0.1]
    assert evidence.not_reached(tables, attacks, "gs") is None, "half of them"
    attacks.loc[attacks["defense"].eq("none") & attacks["target"].eq(4), "recovered"] = False
    reason = f"gs does not reach the undefended images: found 3 of 8{told}; 50 % are asked for"
    assert evidence.not_reached(tables, attacks, "gs") == reason
    assert evidence.strongest_adaptive(tables, attacks, "soteria-80") is None, "judged by gs, undefended"
    assert evidence.not_reached(tables, attacks[attacks["defense"] != "none"], "gs-masked") == (
        "the undefended client was not attacked"
    )


# ---- the table and the page


def test_every_claim_has_a_row_and_the_table_is_valid(made, synthetic, tmp_path):
    full = made(
        STRONG,
        training=trained(synthetic, {}),
        leakage=synthetic.leakage_table({1: 1.0, 32: 0.99}),
        convergence=synthetic.convergence_table(0.5),
    )
    words = {"title", "said", "source", "order"}
    assert all(set(claim.words) == words for claim in registry.in_order("claim").values())
    for tables in (full, made()):
        table = claims_table.claims_table(tables, "snakemake claims")
        CLAIMS.write(table, tmp_path / "claims.parquet")
        again = CLAIMS.read(tmp_path / "claims.parquet")
        assert list(again["claim"].unique()) == list(registry.in_order("claim"))
        assert set(again["verdict"]) <= set(VERDICTS)
        assert (again["command"] == "snakemake claims").all()
    assert (again["verdict"] == NOT_TESTABLE).all()
    row = claims_table.claims_table(full, "x.yaml").set_index("claim").loc["mse-ratio"]
    assert row["scale"] == "config small, lenet, 10 rounds, gs 100 iterations"
    assert (row["n"], row["round"], row["device"]) == (8, 0, "cpu float32")


def test_the_page_says_what_the_table_says_and_escapes_it(made, synthetic):
    hostile = "<script>alert(1)</script>"
    table = claims_table.claims_table(
        made(STRONG, training=trained(synthetic, {}), leakage=synthetic.leakage_table({1: 1.0, 32: 0.99})), "c.yaml"
    )
    table.loc[0, "measured"] = hostile
    text = claims_table.claims_page("small", table)
    assert hostile not in text
    assert not re.search(r"https?:|<script|<link|url\(|src=", text)
    for row in table[1:].itertuples():
        assert row.verdict in text
    for title in (claim.words["title"] for claim in registry.in_order("claim").values()):
        assert title in text
    counted = re.findall(r'<span class="verdict \w+">([a-z -]+)</span> × (\d+)', text)
    assert sum(int(count) for _, count in counted) == len(table)
