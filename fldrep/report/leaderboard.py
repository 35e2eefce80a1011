"""The leaderboard in words: for the page, for published Markdown, and for a terminal."""

from collections.abc import Mapping

import pandas as pd

from fldrep.analysis.intervals import Estimate
from fldrep.analysis.leaderboard import leaderboard
from fldrep.analysis.words import TextTable, estimate_text, number

HEADS = [
    (
        "defense",
        "a method and its settings: the strongest of its strengths that costs at most one point of accuracy on images "
        "held out of training, or the weakest where none does",
    ),
    (
        "found",
        "share of clients whose image an attack found, in some round attacked [95 %, Wilson]: certified, or at "
        "the config's SSIM and nearer than the images of an attacker who knows nothing",
    ),
    ("by published attacks", "the same, by the attacks that know of no defense"),
    (
        "certified",
        "clients whose update an attack solved, with a certificate; where the defense changes the images themselves, "
        "as ats does, the changed image is certified, which counts as found only where it is the client's own",
    ),
    ("strongest attack", "that which found most"),
    ("determined", "images of the last round that the update determines, of those of which it is known"),
    (
        "accuracy lost",
        "points on the test set after the last round, the mean over seeds, each beside the undefended run of its seed "
        "[95 %, Student's t]; * more than a point on the images held out, so that the row stands last",
    ),
    ("accuracy", "share of test images classified correctly, the mean over seeds"),
    ("time", "of local training, over that of the undefended client"),
    ("bytes", "of an update in the smaller of a dense and a sparse form, over those of the undefended client"),
]


def leaderboards(tables: Mapping[str, pd.DataFrame], config: Mapping) -> list[TextTable]:
    """A table a network that defenses were compared on, best first; none where no images were held out to choose by.

    Args: the final tables by name; config: as a mapping.
    """
    if not tables["training"]["held_out_accuracy"].notna().any():
        return []
    defenses = config["defenses"]
    board = leaderboard(tables["attacks"], tables["training"], tables["identifiability"])
    return [
        TextTable(" · ".join(place), HEADS, [_row(row, defenses[row.defense]) for row in rows.itertuples()], 1)
        for place, rows in board.groupby(["dataset", "model", "partition"])
    ]


def _row(row, section: Mapping) -> list[str]:
    return [
        named_with_settings(section),
        estimate_text(row.found, kind="share"),
        estimate_text(row.published, kind="share"),
        str(row.certified),
        row.attack or "–",
        f"{row.determined} of {row.known}" if row.known else "–",
        _points_text(row.cost) + " *" * row.costly,
        f"{100 * row.accuracy:.1f} %",
        f"{number(row.time)}x",
        f"{number(row.bytes)}x",
    ]


def _points_text(cost: Estimate) -> str:
    """A share of images as points, with its interval where there is one."""
    interval = "" if cost.low is None else f" [{_points(cost.low)}, {_points(cost.high)}]"
    return f"{_points(cost.median)}{interval}"


def _points(share: float) -> str:
    return f"{100 * share + 0.0:.1f}".replace("-", "−")


def named_with_settings(section: Mapping) -> str:
    """A defense by its method and what its section says.

    >>> named_with_settings({"method": "soteria", "rate": 0.95, "rule": "ratio"})
    'soteria (rate 0.95, rule ratio)'
    """
    keys = ", ".join(f"{key} {value}" for key, value in section.items() if key != "method" and value is not None)
    return f"{section['method']} ({keys})" if keys else section["method"]
