"""Ranking by the inverse of the Jacobian defends better."""

from itertools import permutations

import pandas as pd

from fldrep import registry
from fldrep.analysis.intervals import Estimate, median_interval
from fldrep.analysis.rows import ERROR, paired_differences
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    NO_ADAPTIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    ONLY_NON_ADAPTIVE,
    REPRODUCED,
    Finding,
    Tables,
    above,
    attacks_in,
    few,
    found_in,
    median_text,
    not_reached,
    rows_of,
    strongest_adaptive,
)


@registry.claim(
    "inverse-rule",
    title="The inverse rule defends better",
    said="Ranking features by the inverse of the Jacobian defends better than by |r_i| / ||dr_i/dX||, at a higher "
    "cost.",
    source="the README of the reference code (S)",
    order=50,
)
def judge(tables: Tables) -> list[Finding]:
    """Error under the rule `inverse` less that under `ratio`, all else of the two defenses being equal."""
    found = []
    for where, setting in tables.settings():
        pairs = rule_pairs(tables, list(setting["defense"].unique()))
        for attack in attacks_in(setting, adaptive=False):
            have = set(setting.loc[setting["attack"] == attack, "defense"])
            found += [_inverse_rule(tables, where, setting, attack, *pair) for pair in pairs if have >= set(pair)]
    return found


def rule_pairs(tables: Tables, defenses: list[str]) -> list[tuple[str, str]]:
    """Pairs of defenses of the rules `inverse` and `ratio` that differ in nothing else."""
    settings = tables.config.defenses
    return [
        (one, other)
        for one, other in permutations(defenses, 2)
        if getattr(settings[one], "rule", None) == "inverse"
        and settings[other] == settings[one].model_copy(update={"rule": "ratio"})
    ]


def _inverse_rule(tables, where, setting, attack, inverse, ratio) -> Finding:
    gain = paired_gain(setting, attack, inverse, ratio)
    raw = paired_differences(rows_of(setting, attack, inverse), rows_of(setting, attack, ratio))
    lacking = not_reached(tables, setting, attack) or few(gain)
    words = (
        f"{inverse} less {ratio}: {median_text(gain, sign='+')}; not capped at grey "
        f"{number(raw.median(), sign='+')}; live features pruned {_live(setting, attack, inverse)} and "
        f"{_live(setting, attack, ratio)}"
    )
    verdict = NOT_REPRODUCED
    if lacking:
        verdict, words = NOT_TESTABLE, f"{words}; {lacking}"
    elif above(gain):
        verdict, adaptive = ONLY_NON_ADAPTIVE, strongest_adaptive(tables, setting, inverse)
        left = paired_gain(setting, adaptive, inverse, ratio) if adaptive else None
        words += f"; under {adaptive} {median_text(left, '+')}" if left else f"; {NO_ADAPTIVE}"
        verdict = REPRODUCED if left and above(left) else ONLY_NON_ADAPTIVE
    return found_in(
        setting[(setting["attack"] == attack) & setting["defense"].isin([inverse, ratio])],
        where,
        verdict=verdict,
        measured=words,
        quantity=f"paired difference of {ERROR}, at most grey's, inverse - ratio; n: targets x seeds",
        estimate=gain,
    )


def paired_gain(setting: pd.DataFrame, attack: str, one: str, other: str) -> Estimate:
    """Median paired difference of credited errors of two defenses under one attack."""
    return median_interval(
        paired_differences(rows_of(setting, attack, one), rows_of(setting, attack, other), "credited")
    )


def _live(setting: pd.DataFrame, attack: str, defense: str) -> str:
    return number(rows_of(setting, attack, defense)["live_pruned"].median(), "share")
