"""Which rows of the attack table count, and how they are grouped and paired."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from fldrep.analysis.styles import styles_in
from fldrep.analysis.uninformed import UNINFORMED

# The error that figures show. An attacker can clamp an image to valid pixels at no cost, so what lies outside must not
# count as protection: without a box constraint the normalised MSE of a readable image can exceed that of a grey one.
ERROR = "mse_pixel"


ERROR_NAMES = {"mse": "MSE (normalised)", "mse_pixel": "MSE (pixels, clamped to [0, 1])"}


# The mean squared error of rounding pixels to 8 bits: a smaller one cannot be seen, nor saved to a picture.
ROUNDING = 255.0**-2 / 12


# A floor of the gap of theorem 2 below this is the solver's tolerance, not a limit.
LEAST_FLOOR = 1e-9


SETTING = ["dataset", "model", "partition", "round", "update_kind"]


CELL = [*SETTING, "attack", "defense"]


RUN_OF_MODEL = ["dataset", "model", "partition", "defense", "seed"]


PAIR = ["seed", "target"]


OF_DEFENSE = ["method", "rule", "rate", "std"]


OF_UPDATE = ["images_per_update", "local_steps"]


def updates_of(rows: pd.DataFrame) -> pd.Series:
    """A number for the update that each target is in. Args: rows with `PAIR` and `images_per_update`."""
    return rows.groupby([rows["seed"], rows["target"] // rows["images_per_update"]]).ngroup()


def targets_of(rows: pd.DataFrame) -> pd.Series:
    """A number for the attacked image of each row (and seed), whatever the restart. Args: rows with `PAIR`."""
    return rows.groupby(PAIR).ngroup()


def rows_where(frame: pd.DataFrame, columns: list[str], values: Iterable) -> pd.DataFrame:
    """The rows whose columns have these values, one a column in their order."""
    return frame[(frame[columns] == list(values)).all(axis=1)]


def bounded(certificate: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table `certificate` that judge a bound: something was pruned, and the reconstruction is finite."""
    return certificate[certificate["distance"].notna() & (certificate["bound_local"] > 0)]


def chosen(attacks: pd.DataFrame) -> pd.DataFrame:
    """One row a target: the restart of the smallest gradient distance, which the attacker would hand in."""
    return attacks[attacks["is_best_restart"].astype(bool)]


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


def metrics_of(attacks: pd.DataFrame) -> list[str]:
    """The metrics of an attack table: its columns that stand beside their values for the uninformed images."""
    return [name for name in attacks if all(f"{guess}_{name}" in attacks for guess in UNINFORMED)]


def credited(attacks: pd.DataFrame, error: str = ERROR) -> pd.DataFrame:
    """The table with a column `credited`: the error, at least that of 8-bit rounding and at most that of a grey image.

    Error beyond that of an attacker who answers "grey" is no protection; error below rounding is not seen.
    """
    return attacks.assign(credited=attacks[error].clip(lower=ROUNDING, upper=attacks[f"grey_{error}"]))


def defenses_in_order(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a defense with its method, rule, rate and std, in the order of the methods, weak before strong."""
    rows = frame[["defense", *OF_DEFENSE]].drop_duplicates("defense")
    styles = styles_in(frame)
    place = [styles[method].order for method in rows["method"]]
    rows = rows.assign(_place=place).sort_values(["_place", "rule", "rate", "std", "defense"])
    return rows.drop(columns="_place").reset_index(drop=True)


def places_of_defenses(frame: pd.DataFrame) -> dict[str, int]:
    """The place of each defense in the order of `defenses_in_order`."""
    return {name: place for place, name in enumerate(defenses_in_order(frame)["defense"])}


def last_rounds(training: pd.DataFrame) -> pd.DataFrame:
    """The row of the last round of each run: one row a data set, model, partition, defense and seed."""
    return training.loc[training.groupby(RUN_OF_MODEL)["round"].idxmax()]
