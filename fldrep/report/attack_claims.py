"""The claims that attacks and training runs decide: each function gives what was found, one finding a cell."""

from itertools import permutations

import pandas as pd

from fldrep.analysis.cells import summarise
from fldrep.analysis.intervals import Estimate, median_interval, share_interval
from fldrep.analysis.rows import CELL, ERROR, chosen, converged, last_rounds, paired, paired_differences
from fldrep.analysis.words import nominal_text, number
from fldrep.report.evidence import (
    LEAD,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    ONLY_NON_ADAPTIVE,
    REPRODUCED,
    TOO_WEAK,
    Finding,
    Tables,
    above,
    attacks_in,
    few,
    found_in,
    lead_over_grey,
    median_text,
    rows_of,
    strongest_adaptive,
    times_text,
    too_weak,
)

# The paper's own figure: "up to 160 times".
CLAIMED_RATIO = 160
# "Equal accuracy" and "no accuracy lost": within one point, about what two seeds of one run differ by.
POINT = 0.01
# A model that gained less than this over its initial weights has learned too little to lose accuracy by a defense.
LEARNED = 0.2
# The rate that attacks are said to tolerate.
TOLERATED_RATE = 0.4
# An adaptive attack has "taken the gain back" where it undoes at least half of what the defense had gained.
TAKEN_BACK = 0.5
# A nominal rate misleads where fewer live features are pruned than it says, by ten points or more.
RATE_GAP = 0.1
# One run in twenty is enough for diverged runs (errors of 1e9 and more) to make any mean.
DIVERGED = 0.05

BASELINES = ("compression", "gaussian", "laplace")


def mse_ratio(tables: Tables) -> list[Finding]:
    """Soteria's error over that of a baseline of equal accuracy, per setting and published attack."""
    found = []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            rows = setting[setting["attack"] == attack]
            methods = rows.groupby("defense")["method"].first()
            defended = [name for name, method in methods.items() if method == "soteria"]
            baselines = [name for name, method in methods.items() if method in BASELINES]
            if defended and baselines:
                found.append(_mse_ratio(tables, where, setting, attack, defended, baselines))
    return found


def _mse_ratio(tables, where, setting, attack, defended, baselines) -> Finding:
    """The pair of Soteria and a baseline, of equal accuracy if accuracies are known, of the largest ratio."""
    accuracies = trained_accuracies(tables.training, where)
    pairs = [(one, other) for one in defended for other in baselines]
    equal = pairs if accuracies is None else [pair for pair in pairs if same_accuracy(accuracies, *pair)]
    quantity = f"paired ratio of {ERROR}, at most grey's, Soteria / baseline; n: targets x seeds"
    rows = setting[(setting["attack"] == attack) & setting["defense"].isin(defended + baselines)]
    if not equal:
        words = f"no baseline has an accuracy within {100 * POINT:g} point of Soteria's"
        return found_in(rows, where, verdict=NOT_TESTABLE, measured=words, quantity=quantity)
    ratios = {pair: credited_ratio(setting, attack, *pair) for pair in equal}
    pair = max(ratios, key=lambda one: (ratios[one].n > 0, ratios[one].median))
    ratio, least = ratios[pair], min(ratios[one].median for one in ratios if one[0] == pair[0])
    verdict, caveat = _ratio_verdict(setting, attack, pair, ratio, accuracies is not None)
    one, other = (converged(rows_of(setting, attack, name)) for name in pair)
    words = (
        f"{pair[0]} {number(one['credited'].median())} against {pair[1]} {number(other['credited'].median())}: "
        f"ratio {median_text(ratio)}, the largest of {len(equal)} pairs; over the best baseline {number(least)}; "
        f"not capped at grey ({number(one[f'grey_{ERROR}'].median())}): {number(one[ERROR].median())} "
        f"against {number(other[ERROR].median())}; MSE (normalised) {number(one['mse'].median())} "
        f"against {number(other['mse'].median())}"
    )
    return found_in(
        rows[rows["defense"].isin(pair)],
        where,
        verdict=verdict,
        measured=f"{words}; {caveat}" if caveat else words,
        quantity=quantity,
        estimate=ratio,
        defense=" / ".join(pair),
    )


def _ratio_verdict(setting, attack, pair, ratio, known_accuracy) -> tuple[str, str]:
    weak, scarce = too_weak(setting, attack), few(ratio)
    if weak:
        return TOO_WEAK, weak
    if not known_accuracy:
        return NOT_TESTABLE, "the model was not trained, so that no accuracy stands beside the error"
    if scarce:
        return NOT_TESTABLE, scarce
    if ratio.median < CLAIMED_RATIO:
        return NOT_REPRODUCED, ""
    adaptive = strongest_adaptive(setting, pair[0])
    if adaptive is None:
        return ONLY_NON_ADAPTIVE, "no able attack that knows of Soteria was run here"
    left = credited_ratio(setting, attack, *pair, defended_by=adaptive)
    words = f"under {adaptive} the ratio is {median_text(left)}"
    return (REPRODUCED if left.median >= CLAIMED_RATIO else ONLY_NON_ADAPTIVE), words


def credited_ratio(setting: pd.DataFrame, attack: str, defense: str, baseline: str, defended_by: str = "") -> Estimate:
    """Median paired ratio of credited errors. Args: defended_by: the attack on the defense, if it is another one."""
    both = paired(rows_of(setting, defended_by or attack, defense), rows_of(setting, attack, baseline), "credited")
    return median_interval(both["one"] / both["other"])


def trained_accuracies(training: pd.DataFrame, where: dict) -> pd.DataFrame | None:
    """Accuracy after the last round, a row a seed and a column a defense; None where the model has not learned."""
    own = training[(training[["dataset", "model", "partition"]] == [where[k] for k in CELL[:3]]).all(axis=1)]
    last = last_rounds(own).pivot(index="seed", columns="defense", values="test_accuracy")
    first = own[own["round"] == 0].pivot(index="seed", columns="defense", values="test_accuracy")
    plain = own.loc[own["method"] == "none", "defense"].unique()
    gained = (last - first)[plain].median()
    return last if len(plain) and gained.iloc[0] >= LEARNED else None


def same_accuracy(accuracies: pd.DataFrame, one: str, other: str) -> bool:
    """Whether two defenses' median accuracies over the seeds are within a point."""
    medians = accuracies.median()
    return abs(medians[one] - medians[other]) <= POINT + 1e-9


def accuracy(tables: Tables) -> list[Finding]:
    """Accuracy with Soteria less without, for each trained data set, model and partition: the worst variant judges."""
    found, training = [], tables.training
    for values, rows in training.groupby(["dataset", "model", "partition"], sort=True):
        where = dict(zip(("dataset", "model", "partition"), values, strict=True))
        defended = list(rows.loc[rows["method"] == "soteria", "defense"].unique())
        plain = list(rows.loc[rows["method"] == "none", "defense"].unique())
        if rows["round"].max() > 0 and defended and plain:
            found.append(_accuracy(where, rows, defended, plain[0]))
    return found


def _accuracy(where: dict, rows: pd.DataFrame, defended: list[str], plain: str) -> Finding:
    last = last_rounds(rows).pivot(index="seed", columns="defense", values="test_accuracy")
    losses = {name: median_interval((last[name] - last[plain]).dropna()) for name in defended}
    worst = min(losses, key=lambda name: losses[name].median)
    learned = trained_accuracies(rows, where) is not None
    each = ", ".join(f"{name} {points(losses[name].median)}" for name in losses)
    words = (
        f"{number(last[plain].median())} undefended after {rows['round'].max()} rounds, "
        f"{rows['test_images'].iloc[0]} test images; medians over seeds of the difference: {each}"
    )
    if not learned:
        words += f"; the undefended model gained less than {LEARNED:g} over its initial weights"
    kept = losses[worst].median >= -POINT - 1e-9
    return Finding(
        verdict=(REPRODUCED if kept else NOT_REPRODUCED) if learned else NOT_TESTABLE,
        measured=words,
        quantity=f"test accuracy of {worst} less that of {plain}; n: seeds",
        estimate=losses[worst],
        where=where,
        defense=", ".join([plain, *defended]),
        seeds=len(last),
    )


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{number(100 * share, sign='+')} points"


def tolerated_rate(tables: Tables) -> list[Finding]:
    """Whether the published attack still beats grey by `LEAD` at a nominal rate of 40 %, for each defense."""
    found = []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            own = setting[(setting["attack"] == attack) & (setting["rate"] == TOLERATED_RATE)]
            for defense in own["defense"].unique():
                found.append(_tolerated_rate(where, setting, rows_of(own, attack, defense), attack, defense))
    return found


def _tolerated_rate(where, setting, rows, attack, defense) -> Finding:
    lead, weak, live = lead_over_grey(rows), too_weak(setting, attack), rows["live_pruned"].median()
    words = f"{attack} is {times_text(lead)} as precise as grey (n = {lead.n}); from {LEAD:g} on it is tolerated"
    words += f"; {number(live, 'share')} of the live features are pruned" if live == live else ""
    adaptive = strongest_adaptive(setting, defense)
    if adaptive:
        words += f"; {adaptive}: {times_text(lead_over_grey(rows_of(setting, adaptive, defense)))}"
    return found_in(
        rows,
        where,
        verdict=TOO_WEAK if weak else (REPRODUCED if lead.median >= LEAD else NOT_REPRODUCED),
        measured=f"{words}; {weak}" if weak else words,
        quantity=f"grey's {ERROR} / the attack's, 0 where it diverged; n: targets x seeds",
        estimate=lead,
    )


def inverse_rule(tables: Tables) -> list[Finding]:
    """Error under the rule `inverse` less that under `ratio`, all else of the two defenses being equal."""
    found = []
    for where, setting in tables.settings():
        pairs = rule_pairs(tables, list(setting["defense"].unique()))
        for attack in attacks_in(setting, adaptive=False):
            have = set(setting.loc[setting["attack"] == attack, "defense"])
            found += [_inverse_rule(where, setting, attack, *pair) for pair in pairs if have >= set(pair)]
    return found


def rule_pairs(tables: Tables, defenses: list[str]) -> list[tuple[str, str]]:
    """Pairs of defenses of the rules `inverse` and `ratio` that differ in nothing else."""
    settings = tables.config.defenses
    return [
        (one, other)
        for one, other in permutations(defenses, 2)
        if settings[one].rule == "inverse" and settings[other] == settings[one].model_copy(update={"rule": "ratio"})
    ]


def _inverse_rule(where, setting, attack, inverse, ratio) -> Finding:
    gain = paired_gain(setting, attack, inverse, ratio)
    raw = paired_differences(rows_of(setting, attack, inverse), rows_of(setting, attack, ratio))
    weak, scarce = too_weak(setting, attack), few(gain)
    words = (
        f"{inverse} less {ratio}: {median_text(gain, sign='+')}; not capped at grey "
        f"{number(raw.median(), sign='+')}; live features pruned {_live(setting, attack, inverse)} and "
        f"{_live(setting, attack, ratio)}"
    )
    verdict = NOT_REPRODUCED
    if weak or scarce:
        verdict, words = (TOO_WEAK if weak else NOT_TESTABLE), f"{words}; {weak or scarce}"
    elif above(gain):
        verdict, adaptive = ONLY_NON_ADAPTIVE, strongest_adaptive(setting, inverse)
        left = paired_gain(setting, adaptive, inverse, ratio) if adaptive else None
        words += f"; under {adaptive} {median_text(left, '+')}" if left else "; no able adaptive attack was run"
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


def adaptive_attacks(tables: Tables) -> list[Finding]:
    """How much of what a defense gains against a published attack the strongest adaptive one takes back."""
    found = []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            own = setting[(setting["attack"] == attack) & (setting["method"] != "none")]
            for defense in own["defense"].unique():
                if attacks_in(setting[setting["defense"] == defense], adaptive=True):
                    found.append(_adaptive_attacks(where, setting, attack, defense))
    return found


def _adaptive_attacks(where, setting, attack, defense) -> Finding:
    plain = setting[(setting["attack"] == attack) & (setting["method"] == "none")]
    rows, weak = rows_of(setting, attack, defense), too_weak(setting, attack)
    adaptive = strongest_adaptive(setting, defense)
    quantity = f"paired difference of {ERROR}, at most grey's, published - adaptive attack; n: targets x seeds"
    if weak or adaptive is None:
        words = weak or "no adaptive attack whose undefended counterpart beats grey was run"
        return found_in(rows, where, verdict=TOO_WEAK, measured=words, quantity=quantity)
    against = rows_of(setting, adaptive, defense)
    gain = median_interval(paired_differences(rows, plain, "credited"))
    left = median_interval(paired_differences(against, plain, "credited"))
    back = median_interval(paired_differences(rows, against, "credited"))
    share = 1 - left.median / gain.median if gain.median > 0 else float("nan")
    words = (
        f"over the undefended client {attack} leaves a gain of {median_text(gain, '+')}, {adaptive} one of "
        f"{median_text(left, '+')}: {number(share, 'share')} taken back"
    )
    verdict = REPRODUCED if share >= TAKEN_BACK and above(back) else NOT_REPRODUCED
    if few(back) or not above(gain):
        verdict, words = NOT_TESTABLE, f"{words}; {few(back) or 'there is no clear gain to take back'}"
    return found_in(
        pd.concat([rows, against]), where, verdict=verdict, measured=words, quantity=quantity, estimate=back
    )


def dead_features(tables: Tables) -> list[Finding]:
    """Nominal rate less the share of live features pruned, under the rules of the reference code."""
    found = []
    for where, setting in tables.settings():
        own = setting[setting["rule"].str.startswith("reference")]
        for _, rows in own.groupby("defense", sort=False):
            picked = chosen(rows[rows["attack"] == rows["attack"].iloc[0]])
            gap = median_interval(picked["rate"] - picked["live_pruned"])
            rate, live = picked["rate"].iloc[0], picked["live_pruned"]
            words = (
                f"at a nominal {nominal_text(rate, None)}, {number(live.median(), 'share')} of the live features are "
                f"pruned (from {number(live.min(), 'share')} to {number(live.max(), 'share')}), "
                f"and {number(picked['norm2_removed'].median(), 'share')} of the squared norm of r"
            )
            found.append(
                found_in(
                    picked,
                    where,
                    verdict=REPRODUCED if gap.median >= RATE_GAP else NOT_REPRODUCED,
                    measured=words,
                    quantity="nominal rate - share of live features pruned; n: targets x seeds",
                    estimate=gap,
                    attack="",
                    iterations="",
                )
            )
    return found


def divergence(tables: Tables) -> list[Finding]:
    """Share of single runs (the first restart) of a published attack that diverged, by defense."""
    found = []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            rows = setting[setting["attack"] == attack]
            single = rows[rows["restart"] == 0]
            shares = {name: share_interval(one["diverged"]) for name, one in single.groupby("defense", sort=False)}
            most = max(shares, key=lambda name: shares[name].median)
            each = ", ".join(f"{name} {number(share.median, 'share')}" for name, share in shares.items())
            left = chosen(rows).groupby("defense", sort=False)["diverged"].sum().sum()
            restarts = rows["restart"].nunique()
            words = f"diverged with one initial point: {each} (n = {shares[most].n} each)"
            words += (
                f"; with the best of {restarts} by gradient distance, {left} targets of all" if restarts > 1 else ""
            )
            found.append(
                found_in(
                    rows,
                    where,
                    verdict=REPRODUCED if shares[most].median >= DIVERGED else NOT_REPRODUCED,
                    measured=words,
                    quantity=f"share of single runs that diverged under {most}; n: targets x seeds",
                    estimate=shares[most],
                )
            )
    return found


def worse_than_grey(tables: Tables) -> list[Finding]:
    """Share of defended cells where a published attack has more error than a grey image, by each of the two MSEs."""
    cells, rows = [], []
    for where, setting in tables.settings():
        for attack in attacks_in(setting, adaptive=False):
            own = setting[(setting["attack"] == attack) & (setting["method"] != "none")]
            if own.empty or too_weak(setting, attack):
                continue
            cells.append(summarise(own).assign(**where))
            rows.append(own)
    if not cells:
        words = "no published attack beats grey by enough on an undefended client"
        return [Finding(TOO_WEAK, words)] if len(tables.attacks) else []
    table, own = pd.concat(cells), pd.concat(rows)
    by_pixels = share_interval(table["error"] >= table["grey"])
    normalised = share_interval(table["mse"] >= table["grey_mse"])
    each = ", ".join(
        f"{method} {(one['mse'] >= one['grey_mse']).sum()} of {len(one)}" for method, one in table.groupby("method")
    )
    words = (
        f"by the MSE in normalised space {number(normalised.median, 'share')} of {normalised.n} cells ({each}); "
        f"with pixels clamped {number(by_pixels.median, 'share')}"
    )
    return [
        found_in(
            own,
            {},
            verdict=REPRODUCED if normalised.median > 0 else NOT_REPRODUCED,
            measured=words,
            quantity="share of cells (setting, attack, defense) whose median MSE (normalised) is at least grey's",
            estimate=normalised,
        )
    ]
