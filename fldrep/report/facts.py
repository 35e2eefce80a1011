"""What texts say of published results: rows and numbers by what they mean, never by their place in a table."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from fldrep.analysis.intervals import Estimate, median_interval, share_interval
from fldrep.analysis.rows import SETTING, converged, rows_where, updates_of
from fldrep.analysis.strongest import attack_outcomes
from fldrep.analysis.verdicts import DEFENDED, cell_verdicts, image_verdicts, judged
from fldrep.analysis.words import interval_text, nominal_text, number, setting_text
from fldrep.errors import DataError
from fldrep.report.claims_table import claims_for_reading, place
from fldrep.report.plugin_files import published_config
from fldrep.report.record import read_json
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL

SUBJECT, UNDEFENDED = "soteria", "none"  # methods, as the tables name them
EXACT = "closed-form"  # the preset that solves for the image


@dataclass(frozen=True)
class Outcome:
    """How many images of a cell an attack found; `share` has the interval, `ssim` and `error` are medians."""

    attack: str
    found: int
    attacked: int
    certified: int
    share: Estimate
    ssim: float
    error: float

    def __str__(self) -> str:
        """The count, as texts have it, with the interval of the share."""
        return f"{self.found} of {self.attacked}{_bracket(self.share)}"


@dataclass(frozen=True)
class Cell:
    """A defense in a setting."""

    setting: tuple
    defense: str

    @property
    def where(self) -> str:
        """The setting in words."""
        return setting_text(self.setting)


@dataclass(frozen=True)
class Exact(Cell):
    """What the attack that solves for the image found."""

    outcome: Outcome


@dataclass(frozen=True)
class Contrast(Cell):
    """A defended cell before two attackers, and the undefended client (`undefended_as`) before the first of them."""

    strength: str
    undefended_as: str
    undefended: Outcome
    published: Outcome
    adaptive: Outcome


@dataclass(frozen=True)
class Determined(Cell):
    """Of how many images of a cell the update determines the image, the floor over the undefended one (`times`), and
    what the strongest attack found there (None: none was run).
    """

    count: int
    images: int
    times: Estimate
    strongest: Outcome | None


class Published:
    """The tables of a published folder, of any version, and what they say."""

    def __init__(self, folder: Path):
        self.folder = folder

    @cached_property
    def told(self) -> dict:
        """What made the results."""
        return read_json(self.folder / "provenance.json")

    @cached_property
    def config(self) -> dict:
        """The config as a mapping, with its defaults; the plug-ins that lie beside it are loaded."""
        return published_config(self.folder).model_dump(mode="json")

    def table(self, name: str) -> pd.DataFrame:
        """The rows of a final table; one without rows was left out of the folder."""
        return FINAL[name].read_in(self.folder)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All final tables by name."""
        return {name: self.table(name) for name in FINAL}

    @cached_property
    def attacks(self) -> pd.DataFrame:
        """The table `attacks`."""
        return self.table("attacks")

    @cached_property
    def claims(self) -> pd.DataFrame:
        """The table `claims`."""
        return CLAIMS.read_in(self.folder)

    @cached_property
    def _judged(self) -> pd.DataFrame:
        return judged(self.attacks)

    @cached_property
    def outcomes(self) -> pd.DataFrame:
        """`strongest.attack_outcomes` of the attacks."""
        return attack_outcomes(self.attacks)

    @cached_property
    def images(self) -> pd.DataFrame:
        """`verdicts.image_verdicts` of the attacks and of what updates determine."""
        return image_verdicts(self.attacks, self.table("identifiability"))

    @cached_property
    def determined(self) -> list[Determined]:
        """What updates under Soteria determine, a cell each, wherever that was computed for all images."""
        cells = cell_verdicts(self.images)
        cells = cells[(cells["method"] == SUBJECT) & (cells["known"] == cells["images"])]
        return [self._determined(cell) for _, cell in cells.iterrows()]

    def _determined(self, cell: pd.Series) -> Determined:
        own = rows_where(self.images, DEFENDED, cell[DEFENDED])
        times = median_interval(own["times"], groups=updates_of(own))
        attacks = rows_where(self.outcomes, DEFENDED, cell[DEFENDED])["attack"]
        setting = tuple(cell[SETTING])
        best = self.outcome(setting, cell["defense"], next(iter(attacks))) if len(attacks) else None
        return Determined(setting, cell["defense"], cell["determined"], cell["images"], times, best)

    def outcome(self, setting: tuple, defense: str, attack: str) -> Outcome | None:
        """What an attack found of a defense's images in a setting; None where it was not run there."""
        rows = rows_where(self._judged, [*DEFENDED, "attack"], (*setting, defense, attack))
        if rows.empty:
            return None
        usable = converged(rows)
        return Outcome(
            attack,
            int(rows["found"].sum()),
            len(rows),
            int(rows["certified"].sum()),
            share_interval(rows["found"], groups=updates_of(rows)),
            float(usable["ssim"].median()),
            float(usable["mse"].median()),
        )

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """Soteria's cells that a published and a stronger attack were run on, where the former finds at least half of
        the undefended images; first those where it finds most of these.
        """
        rows = self.outcomes[self.outcomes["method"] == SUBJECT]
        found = []
        for (*setting, defense), cell in rows.groupby(DEFENDED, sort=False):
            published, strongest = cell[cell["strongest_published"]], cell[cell["strongest"] & ~cell["published"]]
            if published.empty or strongest.empty:
                continue
            attack = published["attack"].item()
            plain = self._undefended(setting)
            undefended = self.outcome(tuple(setting), plain, attack)
            if undefended and 2 * undefended.found >= undefended.attacked:
                defended = [
                    self.outcome(tuple(setting), defense, name) for name in (attack, strongest["attack"].item())
                ]
                strength = nominal_text(published["rate"].item(), published["std"].item())
                found.append(Contrast(tuple(setting), defense, strength, plain, undefended, *defended))
        return sorted(found, key=lambda one: -one.undefended.share.median)

    def _undefended(self, setting: list) -> str:
        rows = rows_where(self.outcomes, SETTING, setting)
        return next(iter(rows.loc[rows["method"] == UNDEFENDED, "defense"]), "")

    @cached_property
    def exact(self) -> list[Exact]:
        """What the attack that solves for the image found, wherever it met Soteria."""
        rows = self.outcomes[(self.outcomes["method"] == SUBJECT) & (self.outcomes["preset"] == EXACT)]
        cells = [(tuple(row[SETTING]), row["defense"], row["attack"]) for _, row in rows.iterrows()]
        return [Exact(setting, defense, self.outcome(setting, defense, attack)) for setting, defense, attack in cells]

    def judged(self, claim: str) -> list[Any]:
        """The rows of a claim that have a number, with `place` in words. Errors: `DataError` where there is none."""
        rows = self.claims[(self.claims["claim"] == claim) & self.claims["median"].notna()]
        if rows.empty:
            raise DataError(f"{self.folder}: no number for the claim {claim}; publish a config that has a cell for it")
        return list(rows.assign(place=[place(row) for row in rows.itertuples()]).itertuples())

    def claims_read(self) -> list[dict]:
        """`claims_table.claims_for_reading` of the claims."""
        return claims_for_reading(self.claims)


def _bracket(share: Estimate) -> str:
    """The interval of a share, as it stands behind a count; empty where there is none."""
    return "" if share.low is None else f" [{100 * share.low:.0f} to {100 * share.high:.0f} %]"


def interval_of(row: Any) -> str:
    """The number of a claim's row, its interval and how many values are behind it."""
    return f"{interval_text(row.median, row.low, row.high)} (n = {row.n})"


def points(share: float) -> str:
    """A difference of two accuracies in percentage points.

    >>> points(-0.0785)
    '−7.85'
    """
    return number(100 * share, sign="+")
