"""Which rows of the attack table count, and what they say together: medians, bootstrap intervals, paired differences.

The figures and the page both read tables through this module, so that one number has one definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from fldrep.records import IMAGE_METRICS

LEAST_FOR_INTERVAL = 8
RESAMPLES = 2000
PLAIN_UPDATE = "single"  # that is settings.SINGLE; not imported, so that a new setting redraws no figure
METHODS = ("none", "soteria", "compression", "gaussian", "laplace")

# The error that figures show. An attacker can clamp an image to valid pixels at no cost, so what lies outside must not
# count as protection: without a box constraint the normalised MSE of a readable image can exceed that of a grey one.
ERROR = "mse_pixel"
ERROR_NAMES = {"mse": "MSE (normalised)", "mse_pixel": "MSE (pixels, clamped to [0, 1])"}
# The mean squared error of rounding pixels to 8 bits: a smaller one cannot be seen, nor saved to a picture.
ROUNDING = 255.0**-2 / 12
# A floor of the gap of theorem 2 below this is the solver's tolerance, not a limit.
LEAST_FLOOR = 1e-9
NO_INFORMATION = ("grey", "class_mean")

SETTING = ["dataset", "model", "partition", "round", "sent"]
CELL = [*SETTING, "attack", "defense"]
RUN_OF_MODEL = ["dataset", "model", "partition", "defense", "seed"]
PAIR = ["seed", "target"]
OF_DEFENSE = ["method", "rule", "rate", "std"]
OF_UPDATE = ["images", "local_steps"]


# The naive attacks that an adaptive one is a variant of, where its name does not say: the nearest one first.
VARIANT_OF = {"r-matching": ("gs",), "strongest": ("gs", "dlg")}


@dataclass(frozen=True)
class Estimate:
    """A median of n values, and its 95 % interval where n is large enough to have one."""

    n: int
    median: float
    low: float | None = None
    high: float | None = None


def median_interval(values: Sequence[float], seed: int = 0, groups: Sequence[int] | None = None) -> Estimate:
    """The median (mean of the two middle values) and its 95 % percentile bootstrap interval over the values.

    Args: groups: the update that each value is of, where updates hold several images: these are not independent, so
    whole updates are drawn. Fewer than 8 values (or updates) have no interval; none have the median NaN. The same
    values and seed give the same interval. Source: Efron & Tibshirani 1993, percentile method, 2000 resamples.

    >>> median_interval([1.0, 2.0, 4.0, 9.0])
    Estimate(n=4, median=3.0, low=None, high=None)
    """
    return _estimate("median", values, seed, groups)


def mean_interval(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean, in the place of a median, and its 95 % bootstrap interval: for what a theorem says of a mean.

    >>> mean_interval([1.0, 2.0, 6.0])
    Estimate(n=3, median=3.0, low=None, high=None)
    """
    return _estimate("mean", values, seed, None)


def _estimate(statistic: str, values: Sequence[float], seed: int, groups: Sequence[int] | None) -> Estimate:
    values = np.asarray(values, dtype=float)
    if not len(values):
        return Estimate(0, float("nan"))
    return Estimate(len(values), float(getattr(np, statistic)(values)), *_bootstrap(statistic, values, seed, groups))


def _bootstrap(
    statistic: str, values: np.ndarray, seed: int, groups: Sequence[int] | None
) -> tuple[float | None, float | None]:
    """Both ends of the interval, None where there are too few groups; no groups: each value is one."""
    numbers = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(numbers)
    if len(sizes) < LEAST_FOR_INTERVAL:
        return None, None
    order = np.argsort(numbers, kind="stable")
    table = np.full((len(sizes), sizes.max()), np.nan)  # a row a group, filled from the left
    table[np.arange(sizes.max()) < sizes[:, None]] = values[order]
    of_each = getattr(np, f"nan{statistic}" if np.isnan(table).any() else statistic)

    def of_groups(drawn: np.ndarray, axis: int) -> np.ndarray:
        return of_each(table[np.moveaxis(drawn, axis, -1)], axis=(-2, -1))

    resampled = stats.bootstrap(
        (np.arange(len(sizes)),),
        of_groups,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return tuple(map(float, resampled.confidence_interval))


def updates_of(rows: pd.DataFrame) -> pd.Series:
    """A number for the update that each target is in, whatever the setting. Args: rows with `PAIR` and `images`."""
    return rows.groupby([rows["seed"], rows["target"] // rows["images"]]).ngroup()


def targets_of(rows: pd.DataFrame) -> pd.Series:
    """A number for the attacked image of each row (and seed), whatever the restart. Args: rows with `PAIR`."""
    return rows.groupby(PAIR).ngroup()


def bounded(certificate: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table `certificate` that judge a bound: something was pruned, and the reconstruction is finite."""
    return certificate[certificate["distance"].notna() & (certificate["bound_local"] > 0)]


def share_interval(outcomes: Sequence[bool], groups: Sequence[int] | None = None) -> Estimate:
    """The share of outcomes that are true, in the place of a median, and its 95 % interval.

    Args: groups: the update that each outcome is of; the interval is then as wide as if the outcomes of an update were
    always alike. Source: Wilson 1927, score interval. Fewer than 8 outcomes (or updates) have no interval, as for
    `median_interval`.

    >>> share_interval([True, False, False, False])
    Estimate(n=4, median=0.25, low=None, high=None)
    """
    count = len(outcomes)
    if not count:
        return Estimate(0, float("nan"))
    share, n = float(np.mean(outcomes)), count if groups is None else len(np.unique(groups))
    if n < LEAST_FOR_INTERVAL:
        return Estimate(count, share)
    z = stats.norm.ppf(0.975)
    middle, shrink = share + z**2 / (2 * n), 1 + z**2 / n
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return Estimate(count, share, float(max((middle - half) / shrink, 0)), float(min((middle + half) / shrink, 1)))


def setting_text(setting: Sequence[object]) -> str:
    """A setting (the values of `SETTING`) in words; the update is named where it is not one image and one step.

    >>> setting_text(("mnist", "lenet", "iid", 0, "single")), setting_text(("mnist", "lenet", "iid", 2, "of-8"))
    ('mnist · lenet · iid · round 0', 'mnist · lenet · iid · round 2 · update of-8')
    """
    dataset, model, partition, round, sent = setting
    words = f"{dataset} · {model} · {partition} · round {round}"
    return words if sent == PLAIN_UPDATE else f"{words} · update {sent}"


def chosen(attacks: pd.DataFrame) -> pd.DataFrame:
    """One row a target: the restart of the smallest gradient distance, which the attacker would hand in."""
    return attacks[attacks["chosen"]]


def converged(attacks: pd.DataFrame) -> pd.DataFrame:
    """The chosen rows that did not diverge; only these have an error worth a median. What is left out is counted."""
    rows = chosen(attacks)
    return rows[~rows["diverged"] & np.isfinite(rows["mse"])]


def paired(rows: pd.DataFrame, reference: pd.DataFrame, column: str = ERROR) -> pd.DataFrame:
    """A column of rows and of the reference, side by side: `one` and `other`, a row a target (and seed).

    Only targets whose chosen restart converged in both are left.
    """
    one, other = (converged(frame).set_index(PAIR)[column] for frame in (rows, reference))
    return pd.DataFrame({"one": one, "other": other}).dropna()


def paired_differences(rows: pd.DataFrame, reference: pd.DataFrame, column: str = ERROR) -> pd.Series:
    """rows - reference of a column, for every target (and seed) whose chosen restart converged in both."""
    both = paired(rows, reference, column)
    return (both["one"] - both["other"]).rename(column)


def leads(attacks: pd.DataFrame, error: str = ERROR) -> pd.Series:
    """How many times each target's error is below that of a grey image; 0 where the attack diverged."""
    rows = chosen(attacks)
    lead = rows[f"grey_{error}"] / rows[error].clip(lower=ROUNDING)
    return lead.where(~rows["diverged"] & np.isfinite(rows["mse"]), 0.0)


def credited(attacks: pd.DataFrame, error: str = ERROR) -> pd.DataFrame:
    """The table with a column `credited`: the error, at least that of 8-bit rounding and at most that of a grey image.

    Error beyond that of an attacker who answers "grey" is no protection; error below rounding is not seen.
    """
    return attacks.assign(credited=attacks[error].clip(lower=ROUNDING, upper=attacks[f"grey_{error}"]))


def families(preset: str) -> tuple[str, ...]:
    """The naive attacks a preset is a variant of, the nearest first: by its name up to a suffix, or by `VARIANT_OF`.

    >>> families("gs-masked"), families("gs"), families("r-matching")
    (('gs',), ('gs',), ('gs',))
    """
    return VARIANT_OF.get(preset, (preset.partition("-")[0],))


def family(preset: str) -> str:
    """The naive attack a preset is nearest to."""
    return families(preset)[0]


def is_adaptive(preset: str) -> bool:
    """Whether the preset knows of the defense."""
    return preset not in families(preset)


def naive_counterpart(attacks: pd.DataFrame, attack: str) -> str | None:
    """The naive attack to set an adaptive one against: of its family, nearest in iterations; None if none was run."""
    own = attacks[attacks["attack"] == attack].iloc[0]
    for preset in families(own["preset"]):
        naive = attacks[attacks["preset"] == preset]
        if len(naive):
            apart = (naive.groupby("attack")["iterations"].max() - own["iterations"]).abs()
            return apart.index[int(apart.argmin())]
    return None


def undefended(setting: pd.DataFrame, attack: str) -> pd.DataFrame:
    """The rows of the undefended client in one setting: under `attack`, or its naive counterpart if it was not run."""
    plain = setting[setting["method"] == "none"]
    if (plain["attack"] == attack).any():
        return plain[plain["attack"] == attack]
    naive = naive_counterpart(pd.concat([plain, setting[setting["attack"] == attack]]), attack)
    return plain[plain["attack"] == naive]


def defenses_in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a defense with its method, rule, rate and std, from none over Soteria to noise, weak before strong."""
    rows = frame[["defense", *OF_DEFENSE]].drop_duplicates("defense")
    place = rows["method"].map({method: position for position, method in enumerate(METHODS)}).fillna(len(METHODS))
    rows = rows.assign(_place=place).sort_values(["_place", "rule", "rate", "std", "defense"])
    return rows.drop(columns="_place").reset_index(drop=True)


def summarise(attacks: pd.DataFrame, error: str = ERROR) -> pd.DataFrame:
    """One row a cell (setting x attack x defense): how many targets, how many diverged, medians over the others.

    Columns: those of `CELL`, of the update and of the defense, `preset`, `targets`, `diverged`, `n` (targets in the
    medians); the medians of the image metrics; `error`, the median of the column asked for, with `low` and `high`
    (NaN below 8 targets), and `gain`, `gain_low`, `gain_high`, `gain_n`, its paired difference to the undefended
    client; `recovered`, share of all targets; and medians over all targets: `grey` and `class_mean`, the no-information
    lines of `error`, `grey_mse` and `class_mean_mse`, `live_rate` and `energy_removed`.
    """
    rows = []
    for _, setting in attacks.groupby(SETTING, sort=True):
        order = {name: position for position, name in enumerate(defenses_in_order(setting)["defense"])}
        cells = setting.groupby(["attack", "defense"], sort=False)
        for (attack, defense), cell in sorted(cells, key=lambda item: (item[0][0], order[item[0][1]])):
            rows.append(_cell(cell, error) | _gain(cell, undefended(setting, attack), defense, error))
    return pd.DataFrame(rows)


def _cell(cell: pd.DataFrame, error: str) -> dict:
    targets, usable = chosen(cell), converged(cell)
    estimate = median_interval(usable[error], groups=updates_of(usable))
    return {
        **cell.iloc[0][[*CELL, *OF_UPDATE, *OF_DEFENSE, "preset"]].to_dict(),
        "targets": len(targets),
        "diverged": len(targets) - len(usable),
        "n": estimate.n,
        **{metric: usable[metric].median() for metric in IMAGE_METRICS},
        "error": estimate.median,
        "low": _number(estimate.low),
        "high": _number(estimate.high),
        "recovered": targets["recovered"].mean(),
        **{guess: targets[f"{guess}_{error}"].median() for guess in NO_INFORMATION},
        **{f"{guess}_mse": targets[f"{guess}_mse"].median() for guess in NO_INFORMATION},
        "live_rate": targets["live_rate"].median(),
        "energy_removed": targets["energy_removed"].median(),
    }


def _gain(cell: pd.DataFrame, plain: pd.DataFrame, defense: str, error: str) -> dict:
    itself = defense in set(plain["defense"])
    differences = paired_differences(cell.iloc[:0] if itself else cell, plain, error)
    pairs = differences.index.to_frame(index=False).assign(images=cell["images"].iloc[0])
    gain = median_interval(differences, groups=updates_of(pairs))
    return {"gain": gain.median, "gain_low": _number(gain.low), "gain_high": _number(gain.high), "gain_n": gain.n}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def last_rounds(utility: pd.DataFrame) -> pd.DataFrame:
    """The row of the last round of each run: one row a data set, model, partition, defense and seed."""
    return utility.loc[utility.groupby(RUN_OF_MODEL)["round"].idxmax()]
