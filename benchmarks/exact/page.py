"""The page of what exact attacks found: docs/results/exact.md, from the table `exact` alone."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from benchmarks.exact.cells import CELLS, NEARLY, Cell
from fldrep.analysis.intervals import share_interval
from fldrep.analysis.words import estimate_text
from fldrep.atomic import atomic_write

COLUMNS = ("cell", "attack", "found", "mark", "MSE (pixels), median and largest", "certified", "wrongly", "s an update")


@dataclass(frozen=True)
class CellOutcome:
    """What came of a cell: counts of updates, and the errors of those that have an image.

    `wrong`: certified, and an MSE (pixels) above 1e-4.
    """

    cell: Cell
    attacked: int
    found: int
    certified: int
    wrong: int
    refused: int
    errors: pd.Series
    processor_s: float

    @property
    def result(self) -> str:
        """`reached` or `short` of the mark where all updates were attacked; else nothing."""
        if self.cell.least is None or self.attacked < len(self.cell.targets) // self.cell.images:
            return ""
        return "reached" if self.found >= self.cell.least else "short"


def outcome(cell: Cell, rows: pd.DataFrame) -> CellOutcome:
    """That of the rows of a cell."""
    errors, certified = rows["mse_pixel"].astype(float), rows["certified"].astype(bool)
    return CellOutcome(
        cell,
        len(rows),
        int((errors < cell.below).sum()),
        int(certified.sum()),
        int((certified & ~(errors < NEARLY)).sum()),
        int((rows["refused"] != "").sum()),
        errors.dropna(),
        float(rows["processor_s"].median()),
    )


def write_page(rows: pd.DataFrame, path: Path) -> None:
    """The page, written atomically."""
    with atomic_write(path) as beside:
        beside.write_text(page(rows))


def page(rows: pd.DataFrame) -> str:
    """In Markdown: what it holds for, a row a cell, and the certificate over all cells."""
    cells = [outcome(CELLS[name], own) for name, own in rows.groupby("cell") if name in CELLS]
    order = list(CELLS)
    cells.sort(key=lambda one: order.index(one.cell.name))
    made, commits = sorted(rows["made"]), sorted(set(rows["commit"]))
    lines = [
        "# Exact attacks",
        "",
        "Written by `make bench` from [exact.parquet](exact.parquet), which has a row an update. Cells are those of "
        "[benchmarks/exact/cells.py](../../benchmarks/exact/cells.py). An image is found where its MSE (pixels) is "
        "below 1e-6 (1e-4 where the update is compressed); the mark is how many must be. Wrongly: above 1e-4.",
        "",
        f"- measured: {made[0][:10]} to {made[-1][:10]}",
        f"- commits: {', '.join(commits)}",
        *(f"- {name}: {'; '.join(sorted(set(rows[name])))}" for name in ("machine", "versions")),
        "- threads: 1; the last column is processor time, certificate included",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(_cells(one)) + " |" for one in cells),
        "",
        certificate(cells, rows),
        "",
        *counterexamples(rows),
        "",
    ]
    return "\n".join(lines)


def _cells(one: CellOutcome) -> list[str]:
    mark = "" if one.cell.least is None else f"{one.cell.least} of {len(one.cell.targets)} {one.result}".strip()
    errors = f"{one.errors.median():.1e}, {one.errors.max():.1e}" if len(one.errors) else ""
    counts = [f"{one.found} of {one.attacked}", mark, errors, str(one.certified), str(one.wrong)]
    return [one.cell.name, one.cell.attack, *counts, f"{one.processor_s:.1f}"]


def certificate(cells: list[CellOutcome], rows: pd.DataFrame) -> str:
    """How the certificate fared over all cells, in a sentence."""
    certified, wrong = sum(one.certified for one in cells), sum(one.wrong for one in cells)
    found = rows["mse_pixel"] < 1e-6
    full = found & (rows["certified"] | (rows["rank"] >= rows["unknowns"]))
    share = int((full & rows["certified"]).sum())
    return (
        f"The certificate, over all {len(rows)} attacks: {certified} images certified, {wrong} of them wrongly. Of "
        f"{int(full.sum())} images found (below 1e-6) at full rank, {share} are certified."
    )


def counterexamples(rows: pd.DataFrame) -> list[str]:
    """Theorem 1 on what was found through masks, a sentence a network. Distances are those of the network's input."""
    rows = rows[rows["bound"].notna() & rows["mse"].notna()]
    networks = rows["cell"].map({cell.name: f"{cell.dataset} {cell.network}" for cell in CELLS.values()})
    lines = []
    for network, own in rows.groupby(networks, sort=False):
        distance = (own["mse"] * own["unknowns"]) ** 0.5
        share = share_interval(distance < own["bound"])
        lines.append(
            f"Theorem 1, {network}, behind masks: {estimate_text(share, kind='share')} of {share.n} images found lie "
            f"nearer than the bound ||r - r'|| / ||df/dX||, whose median is {own['bound'].median():.2g} where that of ||X - X'|| is "
            f"{distance.median():.2g}."
        )
    return lines
