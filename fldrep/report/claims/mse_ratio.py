"""The error under Soteria is up to 160 times that under the baseline defenses."""

import numpy as np
import pandas as pd

from fldrep import registry
from fldrep.analysis.intervals import Estimate, median_interval
from fldrep.analysis.rows import ERROR, converged, paired
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    NO_ADAPTIVE,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    ONLY_NON_ADAPTIVE,
    POINT,
    REPRODUCED,
    Finding,
    Tables,
    attacks_in,
    few,
    found_in,
    least_error,
    median_text,
    not_reached,
    rows_of,
    same_accuracy,
    strongest_adaptive,
    times_text,
    trained_accuracies,
)

# The paper's own figure: "up to 160 times".
CLAIMED_RATIO = 160
BASELINES = ("compression", "gaussian", "laplace")


@registry.claim(
    "mse-ratio",
    title="160 times the error",
    said="The MSE between reconstructed and raw image is up to 160 times that of the baseline defenses (gradient "
    "compression, DP noise), for DLG and GS, on MNIST and CIFAR-10, at equal accuracy.",
    source="the paper's abstract (S)",
    order=20,
)
def judge(tables: Tables) -> list[Finding]:
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
    accuracies = trained_accuracies(tables["training"], where)
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
    verdict, caveat = _ratio_verdict(tables, setting, attack, pair, ratio, accuracies is not None)
    words = (
        f"{three_readings(setting, attack, pair, ratio)}; the largest of {len(equal)} pairs; over the best baseline "
        f"{number(least)}"
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


def _ratio_verdict(tables, setting, attack, pair, ratio, known_accuracy) -> tuple[str, str]:
    short, scarce = not_reached(tables, setting, attack), few(ratio)
    if short:
        return NOT_TESTABLE, short
    if not known_accuracy:
        return NOT_TESTABLE, "the model was not trained, so that no accuracy stands beside the error"
    if scarce:
        return NOT_TESTABLE, scarce
    if ratio.median < CLAIMED_RATIO:
        return NOT_REPRODUCED, ""
    adaptive = strongest_adaptive(tables, setting, pair[0])
    if adaptive is None:
        return ONLY_NON_ADAPTIVE, NO_ADAPTIVE
    left = credited_ratio(setting, attack, *pair, defended_by=adaptive)
    words = f"under {adaptive} the ratio is {median_text(left)}"
    return (REPRODUCED if left.median >= CLAIMED_RATIO else ONLY_NON_ADAPTIVE), words


def credited_ratio(setting: pd.DataFrame, attack: str, defense: str, baseline: str, defended_by: str = "") -> Estimate:
    """Median paired ratio of credited errors. Args: defended_by: the attack on the defense, if it is another one."""
    both = paired(rows_of(setting, defended_by or attack, defense), rows_of(setting, attack, baseline), "credited")
    return median_interval(both["one"] / both["other"])


def three_readings(setting: pd.DataFrame, attack: str, pair: tuple[str, str], ratio: Estimate) -> str:
    """The ratio of a pair as the paper computes it, by medians, and under the attack that is worst for each of the two.

    Args: ratio: the paired one of credited errors under `attack`.
    """
    runs = [rows_of(setting, attack, name) for name in pair]
    means = [one["mse"][np.isfinite(one["mse"])].mean() for one in runs]
    medians = [converged(one)["mse"].median() for one in runs]
    apart = sum(int(one["diverged"].sum()) for one in runs)
    worst = [least_error(setting[setting["defense"] == name]) for name in pair]
    left = "none converged"
    if all(worst):
        left = median_text(credited_ratio(setting, worst[1], *pair, defended_by=worst[0]))
    return (
        f"{' / '.join(pair)}, as the paper computes it (mean of the MSE, normalised and not clamped, over all runs, "
        f"diverged ones in): {_against(means)}; by medians, {apart} diverged runs apart: {_against(medians)}; paired "
        f"and at most grey's: {median_text(ratio)}; the same under the strongest attack on each "
        f"({' / '.join(one or 'none' for one in worst)}): {left}"
    )


def _against(values: list[float]) -> str:
    one, other = values
    return f"{number(one)} against {number(other)}, {times_text(Estimate(1, one / other))}"
