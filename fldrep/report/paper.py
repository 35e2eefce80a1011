"""The results as a paper: one HTML page made from the published tables, whose template has no number of its own."""

import base64
from pathlib import Path

import pandas as pd

from fldrep.analysis.intervals import LEAST_FOR_INTERVAL, Estimate, median_interval
from fldrep.analysis.rows import defenses_in_order, rows_where, updates_of
from fldrep.analysis.verdicts import CREDITED, DEFENDED, cell_verdicts, counts_text
from fldrep.analysis.words import TextTable, estimate_text, nominal_text, number
from fldrep.atomic import atomic_write
from fldrep.errors import DataError
from fldrep.report.blocks import claim_rows
from fldrep.report.facts import Cell, Contrast, Published, points
from fldrep.report.few_pictures import Shown, contrast_pictures, exact_pictures
from fldrep.report.findings import CPU, DEMO, findings
from fldrep.report.html import rendered
from fldrep.report.leaderboard import leaderboards
from fldrep.report.publish import RESULTS, folders
from fldrep.report.texts import LEADERBOARD


def write_paper(results: Path, out: Path) -> None:
    """Write the paper. Args: results: docs/results. Errors: those of `paper_text`."""
    text = paper_text(results)
    with atomic_write(out) as beside:
        beside.write_text(text, encoding="utf-8")


def paper_text(results: Path) -> str:
    """The paper as HTML. Errors: `DataError` for tables that are missing, or no longer say what a finding says."""
    cpu, demo = Published(results / CPU), Published(results / DEMO)
    runs = [Published(results / name) for name in folders(results) if (results / name / RESULTS.mark).is_file()]
    return rendered(
        "paper.html.j2",
        findings=findings(results),
        points=points,
        few=f"fewer than {LEAST_FOR_INTERVAL}",
        level="95 %",
        credited=f"{CREDITED:g}",
        runs=[_run(one) for one in runs],
        claims=claim_rows(cpu.claims),
        contrasts=[(one, place) for place in (demo, cpu) for one in place.contrasts],
        place=demo.contrasts[0].where,
        shown=_contrast(demo, demo.contrasts[0]),
        exact=[(one, [_picture(demo, picture) for picture in pair]) for one, pair in exact_pictures(demo)],
        measures=number,
        identifiability=[row for place in runs for row in _identifiable(place)],
        figure=_data(demo.folder / "figures/identifiability.png"),
        leaderboard=_leaderboard(results / LEADERBOARD),
    )


def _run(published: Published) -> dict[str, str]:
    """What was run, in words: the config, its networks, defenses and attacks, how many attacks, and what made it."""
    told, attacks = published.told, published.attacks
    return {
        "name": published.folder.name,
        "config": told["config"],
        "settings": ", ".join(sorted({f"{one.dataset} · {one.model}" for one in attacks.itertuples()})),
        "defenses": ", ".join(defenses_in_order(attacks)["defense"]),
        "attacks": ", ".join(sorted(attacks["attack"].unique())),
        "count": f"{len(attacks)}",
        "seeds": f"{told['seeds']}",
        "hours": number(sum(told["seconds"].values()) / 3600),
        "made": f"{told['commit']}, {', '.join(told['devices'])}, {told['machine']}",
    }


def _contrast(published: Published, contrast: Contrast) -> list[dict[str, object]]:
    """The pictures of a contrast, and how each was `sent`."""
    return [
        {
            **_picture(published, one),
            "sent": "without a defense"
            if one.defense == contrast.undefended_as
            else f"under Soteria, {contrast.strength} pruned",
        }
        for one in contrast_pictures(published, contrast)
    ]


def _picture(published: Published, shown: Shown) -> dict[str, object]:
    return {"address": _data(published.folder / shown.file), "defense": shown.defense, "outcome": shown.outcome}


def _data(path: Path) -> str:
    """A PNG file as an address for `img`. Errors: `DataError` naming it."""
    try:
        return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise DataError(f"{path}: no readable picture: {error.strerror}; publish its config again") from None


def _identifiable(published: Published) -> list[dict[str, str]]:
    """A row a cell of which it is known for all images what the updates determine."""
    cells = cell_verdicts(published.images)
    return [_cell_row(published.images, cell) for _, cell in cells.iterrows() if cell["known"] == cell["images"]]


def _cell_row(images: pd.DataFrame, cell: pd.Series) -> dict[str, str]:
    own = rows_where(images, DEFENDED, cell[DEFENDED])
    times: Estimate = median_interval(own["times"], groups=updates_of(own))
    return {
        "where": Cell(tuple(cell[DEFENDED[:-1]]), cell["defense"]).where,
        "defense": cell["defense"],
        "strength": nominal_text(cell["rate"], cell["std"]),
        "floor": number(cell["floor"]),
        "times": estimate_text(times),
        "determined": f"{cell['determined']} of {cell['known']}",
        "counts": counts_text(cell),
        "verdict": cell["verdict"],
    }


def _leaderboard(folder: Path) -> list[TextTable]:
    """The leaderboard's tables; none where it was not published."""
    if not folder.is_dir():
        return []
    published = Published(folder)
    return leaderboards(published.tables, published.config)
