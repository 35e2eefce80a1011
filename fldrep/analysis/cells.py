"""The attack table by cell: medians, intervals and paired differences."""

import pandas as pd

from fldrep.analysis.families import undefended
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import (
    CELL,
    ERROR,
    OF_DEFENSE,
    OF_UPDATE,
    SETTING,
    chosen,
    converged,
    metrics_of,
    paired_differences,
    places_of_defenses,
    updates_of,
)
from fldrep.analysis.uninformed import UNINFORMED


def summarise(attacks: pd.DataFrame, error: str = ERROR) -> pd.DataFrame:
    """One row a cell (setting x attack x defense): how many targets, how many diverged, medians over the others.

    Columns: those of `CELL`, of the update and of the defense, `preset`, `variant_of`, `targets`, `diverged`, `n`
    (targets in the medians); the medians of the image metrics; `error`, the median of the column asked for, with `low`
    and `high` (NaN below 8 targets), and `gain`, `gain_low`, `gain_high`, `gain_n`, its paired difference to the
    undefended client; `recovered`, share of all targets; and medians over all targets: `grey` and `class_mean`, the
    uninformed baseline of `error`, the same of each metric (`grey_mse`, ...), `live_pruned` and `norm2_removed`.
    """
    rows = []
    for _, setting in attacks.groupby(SETTING, sort=True):
        order = places_of_defenses(setting)
        cells = setting.groupby(["attack", "defense"], sort=False)
        for (attack, defense), cell in sorted(cells, key=lambda item: (item[0][0], order[item[0][1]])):
            rows.append(_cell(cell, error) | _gain(cell, undefended(setting, attack), defense, error))
    return pd.DataFrame(rows)


def _cell(cell: pd.DataFrame, error: str) -> dict:
    targets, usable, metrics = chosen(cell), converged(cell), metrics_of(cell)
    estimate = median_interval(usable[error], groups=updates_of(usable))
    return {
        **cell.iloc[0][[*CELL, *OF_UPDATE, *OF_DEFENSE, "preset", "variant_of"]].to_dict(),
        "targets": len(targets),
        "diverged": len(targets) - len(usable),
        "n": estimate.n,
        **{metric: usable[metric].median() for metric in metrics},
        "error": estimate.median,
        "low": _number(estimate.low),
        "high": _number(estimate.high),
        "recovered": targets["recovered"].mean(),
        **{guess: targets[f"{guess}_{error}"].median() for guess in UNINFORMED},
        **{f"{guess}_{metric}": targets[f"{guess}_{metric}"].median() for guess in UNINFORMED for metric in metrics},
        "live_pruned": targets["live_pruned"].median(),
        "norm2_removed": targets["norm2_removed"].median(),
    }


def _gain(cell: pd.DataFrame, plain: pd.DataFrame, defense: str, error: str) -> dict:
    itself = defense in set(plain["defense"])
    differences = paired_differences(cell.iloc[:0] if itself else cell, plain, error)
    pairs = differences.index.to_frame(index=False).assign(images_per_update=cell["images_per_update"].iloc[0])
    gain = median_interval(differences, groups=updates_of(pairs))
    return {"gain": gain.median, "gain_low": _number(gain.low), "gain_high": _number(gain.high), "gain_n": gain.n}


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
