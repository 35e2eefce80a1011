"""The findings that open the README: each a sentence with its number, refused where the tables no longer say it."""

from pathlib import Path

from fldrep import registry
from fldrep.analysis.intervals import LEAST_FOR_INTERVAL
from fldrep.analysis.verdicts import CREDITED
from fldrep.analysis.words import estimate_text
from fldrep.errors import DataError
from fldrep.report.facts import Published, interval_of, points
from fldrep.report.html import rendered

CPU, DEMO = "cpu", "demo"  # the published folders that the findings are from


def findings_text(results: Path) -> str:
    """The findings as a Markdown list. Args: results: docs/results. Errors: those of `findings`."""
    return rendered(
        "findings.md.j2", points=points, few=f"fewer than {LEAST_FOR_INTERVAL}", **findings(results)
    ).strip()


def findings(results: Path) -> dict[str, dict]:
    """What each finding says, by a short name. Errors: `DataError` naming the one that the tables no longer say."""
    cpu, demo = Published(results / CPU), Published(results / DEMO)
    return {"knows": _knows(cpu), "rest": _rest(demo), "times": _times(cpu), "cost": _cost(cpu)}


def _knows(published: Published) -> dict:
    title = "Soteria stops attacks that do not know of it, and no others."
    cells = published.contrasts
    _sure(bool(cells), published, title)
    _sure(len({str(cell.published) for cell in cells}) == 1, published, title)
    _sure(
        max(cell.published.share.high or 1.0 for cell in cells) < min(cell.adaptive.share.low or 0.0 for cell in cells),
        published,
        title,
    )
    ordered = sorted(cells, key=lambda cell: cell.adaptive.share.median)
    return {
        "title": title,
        "cells": len(cells),
        "published": cells[0].published,
        "least": ordered[0],
        "most": ordered[-1],
    }


def _rest(published: Published) -> dict:
    title = "What is left of the update still determines the image."
    determined = next((one for one in published.determined if one.strongest), None)
    _sure(determined is not None, published, title)
    times, strongest = determined.times, determined.strongest
    _sure(times.high is not None and times.high < CREDITED and determined.count == determined.images, published, title)
    _sure(strongest.certified == strongest.attacked == strongest.found, published, title)
    others = [one for one in published.exact if one.setting != determined.setting]
    return {"title": title, "determined": determined, "times": estimate_text(times), "others": others}


def _times(published: Published) -> dict:
    title = f"{registry.in_order('claim')['mse-ratio'].words['title']}: not seen here."
    rows = [row for row in published.judged("mse-ratio") if row.verdict == "not reproduced"]
    _sure(bool(rows) and all(row.high < CREDITED for row in rows), published, title)
    return {"title": title, "row": rows[0], "ratio": interval_of(rows[0])}


def _cost(published: Published) -> dict:
    title = "It costs accuracy."
    rows = published.judged("accuracy")
    _sure(all(row.median < 0 for row in rows), published, title)
    said = [row._replace(defense=row.defense.rpartition(", ")[2]) for row in rows]
    return {"title": title, "rows": said}


def _sure(holds: bool, published: Published, title: str) -> None:
    if not holds:
        raise DataError(f"{published.folder}: no longer says {title!r}; write that finding anew")
