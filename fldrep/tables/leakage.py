"""What the last layer's gradient tells of a batch."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import places_of_defenses
from fldrep.analysis.words import TextTable, estimate_text, number
from fldrep.tables.columns import CODE, LOOKED_AT, RUN
from fldrep.tables.table import Column, Table


def _correlation(name: str, meaning: str) -> Column:
    return Column(name, "float", f"mean over the classes present of {meaning}", "correlation in [-1, 1]", null=True)


def _share(name: str, meaning: str) -> Column:
    return Column(name, "float", f"share of the batch's labels found {meaning}", "share in [0, 1]")


LEAKAGE = Table(
    "leakage",
    1,
    (
        *RUN,
        LOOKED_AT,
        Column("batch_size", "int", "images in the update", "images"),
        Column("batch", "int", "number of the batch; the same images under every defense"),
        Column("client", "int", "client that holds the batch"),
        Column("classes_present", "int", "different labels in the batch", "classes"),
        _correlation("correlation", "Pearson's correlation of dL/dW over dL/db with the class's mean representation"),
        _correlation("correlation_kept", "the same over features whose column of dL/dW was sent"),
        _correlation("correlation_centred", "the same with the mean representation of public images taken off both"),
        _correlation("correlation_public", "the correlation that mean has by itself: the uninformed baseline"),
        _share("label_accuracy", "from dL/db alone"),
        _share("label_accuracy_public", "from dL/db by an attacker with labelled public images"),
        _share("label_accuracy_even", "by an even guess: the uninformed baseline"),
        CODE,
    ),
)


# On the page ---------------------------------------------------------------------------------------------------------

HEADS = [
    ("defense", "name of the defense in the config"),
    ("round", "checkpoint looked at; 0 is the untrained model"),
    ("images", "images a batch"),
    ("n", "batches, of all seeds, that have a correlation"),
    (
        "correlation",
        "of dL/dW over dL/db with the class's mean representation, mean over the classes of a batch: median over "
        "batches [95 % bootstrap interval, from 8 on]; * the interval of the lead is not above 0",
    ),
    ("public mean", "no information: the correlation of the mean representation of public images, median"),
    ("lead", "correlation - that of the public mean on the same batch: median [interval]"),
    ("features sent", "the correlation over the features whose column of dL/dW was sent: median"),
    ("centred", "the correlation with the public mean taken off both sides: median"),
    ("labels found", "share of a batch's labels found from dL/db alone: median"),
    ("with public images", "the same by an attacker with labelled public images"),
    ("even guess", "no information: the same by an even guess"),
]


@registry.analysis(
    "leakage",
    title="Leakage of representations",
    note="Row c of the last layer's weight gradient over entry c of its bias gradient, set against the true mean "
    "representation of class c. The mean representation of public images takes no gradient: a star marks "
    "what does not lead it.",
    order=10,
)
def text_tables(leakage: pd.DataFrame) -> list[TextTable]:
    """One table a data set, model and partition, one row a defense, round and batch size."""
    return [
        TextTable(" · ".join(key), HEADS, _rows(rows), 1)
        for key, rows in leakage.groupby(["dataset", "model", "partition"])
    ]


def _rows(rows: pd.DataFrame) -> list[list[str]]:
    order = places_of_defenses(rows)
    cells = sorted(rows.groupby(["defense", "round", "batch_size"]), key=lambda item: (order[item[0][0]], *item[0][1:]))
    return [_row(*key, cell) for key, cell in cells]


def _row(defense: str, round: int, size: int, cell: pd.DataFrame) -> list[str]:
    found = median_interval(cell["correlation"].dropna())
    lead = median_interval((cell["correlation"] - cell["correlation_public"]).dropna())
    beaten = found.n and not (lead.median > 0 if lead.low is None else lead.low > 0)
    return [
        defense,
        str(round),
        str(size),
        str(found.n),
        estimate_text(found) + (" *" if beaten else ""),
        number(cell["correlation_public"].median()),
        estimate_text(lead, "+"),
        *(number(cell[column].median()) for column in ("correlation_kept", "correlation_centred")),
        *(number(cell[f"label_accuracy{one}"].median(), "share") for one in ("", "_public", "_even")),
    ]
