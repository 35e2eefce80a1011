"""What a defense takes away from what an update determines of the image, and what attacks find of the rest."""

import pandas as pd

from fldrep import registry
from fldrep.analysis import verdicts
from fldrep.analysis.floors import RECOGNISED, one_an_update
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import SETTING, rows_where
from fldrep.analysis.verdicts import CREDITED, DEFENDED, cell_verdicts, counts_text, image_verdicts
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    Finding,
    Tables,
    few,
    median_text,
    times_text,
)

# What the verdict of a cell says of the claim; one found image refutes it, and so does one that the update shows.
SAYS = {
    verdicts.FOUND: NOT_REPRODUCED,
    verdicts.FOUND_BY_ATTACKS: NOT_REPRODUCED,
    verdicts.NOT_FOUND: NOT_REPRODUCED,
    verdicts.NOT_ATTACKED: NOT_REPRODUCED,
    verdicts.NOT_IDENTIFIABLE: REPRODUCED,
}


@registry.claim(
    "identifiability",
    title="What is removed from the update is gone",
    said="What a defense removes from the update or covers by noise, the rest of the update does not tell.",
    source="the premise of every defense here; judged by what attacks find, and without an attack by the floor of what "
    "the update determines (this audit)",
    order=15,
)
def judge(tables: Tables) -> list[Finding]:
    """The verdict of every defended cell, and what it says of the claim."""
    images = image_verdicts(tables["attacks"], tables["identifiability"])
    cells = cell_verdicts(images[images["method"] != "none"])
    return [_finding(tables, images, cell) for _, cell in cells.iterrows()]


def _finding(tables: Tables, images: pd.DataFrame, cell: pd.Series) -> Finding:
    own = rows_where(images, DEFENDED, cell[DEFENDED])
    verdict, words = SAYS.get(cell["verdict"], NOT_TESTABLE), f"{cell['verdict']}: {counts_text(cell)}"
    if cell["found_by"]:
        words += f"; found by {cell['found_by']}"
    if cell["reason"]:
        words += f"; {cell['reason']}"
    times = median_interval(own["times"].dropna())
    if verdict == REPRODUCED and few(times):
        verdict, words = NOT_TESTABLE, f"{words}; {few(times, 'images with a floor')}"
    if times.n:
        words += f"; the floor is {times_text(times)} that of the undefended client{_levels(tables, cell)}"
    attacked = rows_where(tables["attacks"], DEFENDED, cell[DEFENDED])
    return Finding(
        verdict=verdict,
        measured=words,
        quantity=f"floor / floor undefended, the least of both priors; not identifiable from {CREDITED:g} on where the "
        f"floor is above {RECOGNISED:g}; n: targets x seeds"
        if times.n
        else "share of images found; n: targets x seeds",
        estimate=times if times.n else cell["share"],
        where=cell[SETTING].to_dict(),
        attack=", ".join(attacked["attack"].unique()),
        defense=cell["defense"],
        seeds=own["seed"].nunique(),
        device=", ".join(attacked["device"].unique()) or "cpu",
    )


def _levels(tables: Tables, cell: pd.Series) -> str:
    """Floors of a cell and of the undefended client, and the share of directions that are determined, in words."""
    rows = rows_where(tables["identifiability"], SETTING, cell[SETTING])
    defended, plain = rows[rows["defense"] == cell["defense"]], rows[rows["method"] == "none"]
    return "".join(f"; {name}: {_level(one)}" for name, one in (("defended", defended), ("undefended", plain)))


def _level(rows: pd.DataFrame) -> str:
    ranked = one_an_update(rows)
    if ranked.empty:
        return "not looked at"
    share = number(1 - ranked["undetermined"].median(), "share")
    spectral = number(ranked["floor_spectral"].median())
    return f"{median_text(median_interval(ranked['floor']))}, {spectral} by a prior of 1/f, {share} of directions shown"
