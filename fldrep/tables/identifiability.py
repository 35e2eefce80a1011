"""What updates determine of the images behind them, whatever attacks it."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.floors import one_an_update, times_undefended
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import SETTING, places_of_defenses
from fldrep.analysis.words import TextTable, estimate_text, number, setting_text
from fldrep.tables.columns import CODE, LOOKED_AT, RUN
from fldrep.tables.table import Column, Table

SQUARES = "data set std squared"
SINGULAR = "gradient entries a unit of the network's input"

IDENTIFIABILITY = Table(
    "identifiability",
    1,
    (
        *RUN,
        LOOKED_AT,
        Column("update_kind", "str", "what the client sent: name of the update in the config"),
        Column("images_per_update", "int", "images an update holds", "images"),
        Column("local_steps", "int", "steps of local SGD behind an update; 1 for a gradient", "steps"),
        Column("target", "int", "number of the image, as attacks number them; an update of several is in their rows"),
        Column("client", "int", "client that holds the image"),
        Column("index", "int", "position of the image in the training set"),
        Column("label", "int", "true class"),
        Column("entries", "int", "entries of the update that arrive as anything but zero", "gradient entries"),
        Column("rank", "int", "singular values of the Jacobian above the threshold", "pixels", null=True),
        Column("unknowns", "int", "pixels of all images of the update", "pixels"),
        Column("undetermined", "float", "1 - rank / unknowns", "share in [0, 1]", null=True),
        Column("sigma_min", "float", "smallest singular value of the Jacobian", SINGULAR, null=True),
        Column("sigma_median", "float", "median singular value of the Jacobian", SINGULAR, null=True),
        Column("floor", "float", "mean squared error a pixel that noise leaves, white prior", SQUARES, null=True),
        Column("floor_spectral", "float", "the same with a prior of natural images, 1/f", SQUARES, null=True),
        Column("threshold", "float", "singular values count from this share of the largest on", null=True),
        Column("jacobian", "str", "exact, or sketch: its rows mixed at random; empty where there is none"),
        Column("prior_std", "float", "standard deviation of a pixel before anything is sent", "data set std"),
        Column("reason", "str", "why there is no rank; empty where there is one"),
        CODE,
    ),
)


# On the page ---------------------------------------------------------------------------------------------------------

HEADS = [
    ("defense", "name of the defense in the config"),
    ("n", "updates, of all seeds, that have a rank"),
    ("entries", "of the update that arrive, median"),
    (
        "undetermined",
        "share of the image's directions that the update does not show, at the precision of the threshold: median over "
        "updates [95 % bootstrap interval, from 8 on]",
    ),
    ("floor", "mean squared error that noise and rounding leave beside a white prior: median [interval]"),
    ("floor, 1/f", "the same with the spectrum of natural images as prior: median [interval]"),
    (
        "times undefended",
        "floor / floor of the same image sent without a defense, the least of both priors: median [interval]",
    ),
    ("why not", "why there is no rank"),
]


@registry.analysis(
    "identifiability",
    title="What updates determine",
    note="The Jacobian of what is sent, as the public mask leaves it, by the pixels: how much of the image the update "
    "determines to first order, and the error that is left to an attacker who knows nothing else but the prior, in "
    "units of the data set's variance. No attack is run: one that ends far above the floor fell short of what was "
    "there.",
    order=5,
)
def text_tables(identifiability: pd.DataFrame) -> list[TextTable]:
    """One table a setting, one row a defense."""
    rows = identifiability.assign(times=times_undefended(identifiability))
    return [TextTable(setting_text(key), HEADS, _rows(own), 1) for key, own in rows.groupby(SETTING)]


def _rows(rows: pd.DataFrame) -> list[list[str]]:
    order = places_of_defenses(rows)
    cells = sorted(rows.groupby("defense"), key=lambda item: order[item[0]])
    return [_row(defense, cell) for defense, cell in cells]


def _row(defense: str, cell: pd.DataFrame) -> list[str]:
    found = one_an_update(cell)
    measured = [median_interval(found[name].dropna()) for name in ("undetermined", "floor", "floor_spectral", "times")]
    return [
        defense,
        str(len(found)),
        number(cell["entries"].median()),
        *map(estimate_text, measured),
        "; ".join(filter(None, cell["reason"].unique())) or "–",
    ]
