"""What a claim is judged on: the tables of one config, what was found in one cell of them, and when a cell counts.

Errors are `rows.ERROR`, the MSE on pixels clamped to [0, 1], as in the figures. On the other error, in normalised
space and not clamped, an attacker without a box constraint (DLG) loses to the grey image by pixels that no image
file can hold, so that a readable reconstruction may count as no attack at all.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pandas as pd

from fldrep.analysis.families import is_adaptive, undefended
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL, Estimate
from fldrep.analysis.rows import CELL, SETTING, converged, credited, last_rounds, rows_where
from fldrep.analysis.verdicts import cell_verdicts, counts_text, image_verdicts
from fldrep.analysis.words import estimate_text, number
from fldrep.config.whole import Config
from fldrep.tables.claims import VERDICTS

REPRODUCED, ONLY_NON_ADAPTIVE, NOT_REPRODUCED, NOT_TESTABLE = VERDICTS

# A median of errors tells of reconstructions where at least half of the undefended ones are: else the attack is what is
# short, and what a defense adds to its errors tells nothing of images.
REACHED = 0.5
NO_ADAPTIVE = "no attack that knows of the defense and finds undefended images was run"


# "Equal accuracy" and "no accuracy lost": within one point, about what two seeds of one run differ by.
POINT = 0.01
# A model that gained less than this over its initial weights has learned too little to lose accuracy by a defense.
LEARNED = 0.2


NOTHING = Estimate(0, float("nan"))


@dataclass(frozen=True)
class Tables:
    """The final tables of one config by name, and the config."""

    config: Config
    rows: Mapping[str, pd.DataFrame]

    def __getitem__(self, name: str) -> pd.DataFrame:
        """The rows of a table of `tables.final`."""
        return self.rows[name]

    def settings(self) -> Iterator[tuple[dict, pd.DataFrame]]:
        """Each attacked setting (data set, model, partition, round) and its rows, with the column `credited`."""
        for values, rows in credited(self["attacks"]).groupby(SETTING, sort=True):
            yield dict(zip(SETTING, values, strict=True)), rows


@dataclass(frozen=True)
class Finding:
    """What was found for a claim in one cell, and the verdict on it. Fields as in `tables.claims`."""

    verdict: str
    measured: str
    quantity: str = ""
    estimate: Estimate = NOTHING
    where: dict = field(default_factory=dict)
    attack: str = ""
    defense: str = ""
    seeds: int = 0
    iterations: str = ""
    device: str = "cpu"


def attacks_in(setting: pd.DataFrame, adaptive: bool) -> list[str]:
    """Names of the attacks in some rows that do, or do not, strengthen a published one."""
    each = setting.groupby("attack", as_index=False).first()
    return each["attack"][is_adaptive(each) == adaptive].tolist()


def rows_of(setting: pd.DataFrame, attack: str, defense: str) -> pd.DataFrame:
    """The rows of one attack on one defense."""
    return setting[(setting["attack"] == attack) & (setting["defense"] == defense)]


def images_under(tables: Tables, rows: pd.DataFrame) -> pd.DataFrame:
    """What became of the images that some attack rows are of, by `analysis.verdicts`."""
    images = image_verdicts(rows, tables["identifiability"])
    return images[images["attacks"] > 0]


def found_text(tables: Tables, rows: pd.DataFrame) -> str:
    """What became of the images under the attack rows of one cell, in words."""
    images = images_under(tables, rows)
    return counts_text(cell_verdicts(images).iloc[0]) if len(images) else f"refused: {rows['refused'].iloc[0]}"


def not_reached(tables: Tables, setting: pd.DataFrame, attack: str) -> str | None:
    """Why errors under an attack judge no defense in a setting; None where it finds enough undefended images.

    What it does not find there says nothing of a defense, least of all where the update determines the image.
    """
    plain = undefended(setting, attack)
    images = images_under(tables, plain)
    if images.empty:
        return "the undefended client was not attacked"
    if images["found"].mean() >= REACHED:
        return None
    words = f"{plain['attack'].iloc[0]} does not reach the undefended images: {found_text(tables, plain)}"
    return f"{words}; {number(REACHED, 'share')} are asked for"


def strongest_adaptive(tables: Tables, setting: pd.DataFrame, defense: str) -> str | None:
    """The adaptive attack with the least median error on a defense, of those that find undefended images; or None.

    A defense is judged by the worst that was tried; which attack that is, is one choice for all targets of the cell.
    """
    own = setting[setting["defense"] == defense]
    able = [attack for attack in attacks_in(own, adaptive=True) if not_reached(tables, setting, attack) is None]
    return least_error(own[own["attack"].isin(able)])


def least_error(rows: pd.DataFrame) -> str | None:
    """The attack with the least median error in some rows; None where none converged."""
    errors = converged(rows).groupby("attack")["credited"].median().dropna()
    return None if errors.empty else errors.idxmin()


def above(estimate: Estimate, threshold: float = 0.0) -> bool:
    """Whether the whole interval lies above a threshold; never where there is no interval."""
    return estimate.low is not None and estimate.low > threshold


def few(estimate: Estimate, what: str = "targets converged on both sides") -> str | None:
    """Why an estimate has no interval, None if it has one. Args: what: what was counted."""
    if estimate.n >= LEAST_FOR_INTERVAL:
        return None
    return f"{estimate.n} {what}; {LEAST_FOR_INTERVAL} are asked for"


def found_in(rows: pd.DataFrame, where: dict, **known) -> Finding:
    """A finding on attack rows: their seeds, attacks, defenses, iterations and devices filled in where not given."""
    steps = rows.groupby("attack", sort=False)["iterations"].max()
    filled = {
        "attack": ", ".join(rows["attack"].unique()),
        "defense": ", ".join(rows["defense"].unique()),
        "iterations": ", ".join(f"{name} {count} iterations" for name, count in steps.items()),
        "device": ", ".join(rows["device"].unique()),
        "seeds": rows["seed"].nunique(),
    }
    return Finding(**{**filled, "where": where, **known})


def median_text(estimate: Estimate, sign: str = "") -> str:
    """A median with its interval and n."""
    return f"{estimate_text(estimate, sign)} (n = {estimate.n})"


def times_text(estimate: Estimate) -> str:
    """How many times, to three digits at most.

    >>> times_text(Estimate(8, 1.2345)), times_text(Estimate(8, 12345.0))
    ('1.23 times', '12,300 times')
    """
    value = estimate.median
    return f"{float(f'{value:.3g}'):,.0f} times" if abs(value) >= 1000 else f"{number(value)} times"


def trained_accuracies(training: pd.DataFrame, where: dict) -> pd.DataFrame | None:
    """Accuracy after the last round, a row a seed and a column a defense; None where the model has not learned."""
    own = rows_where(training, CELL[:3], (where[key] for key in CELL[:3]))
    last = last_rounds(own).pivot(index="seed", columns="defense", values="test_accuracy")
    first = own[own["round"] == 0].pivot(index="seed", columns="defense", values="test_accuracy")
    plain = own.loc[own["method"] == "none", "defense"].unique()
    gained = (last - first)[plain].median()
    return last if len(plain) and gained.iloc[0] >= LEARNED else None


def same_accuracy(accuracies: pd.DataFrame, one: str, other: str) -> bool:
    """Whether two defenses' median accuracies over the seeds are within a point."""
    medians = accuracies.median()
    return abs(medians[one] - medians[other]) <= POINT + 1e-9
