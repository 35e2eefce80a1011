"""Theorem 1 at what attacks found."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.intervals import median_interval, share_interval
from fldrep.analysis.rows import SETTING, bounded, places_of_defenses, targets_of
from fldrep.analysis.words import TextTable, estimate_text, number, setting_text
from fldrep.tables.columns import CODE, LOOKED_AT, RUN
from fldrep.tables.table import Column, Older, Table

CONSTANTS = {
    "local": "the Jacobian's norm at X, as in the paper",
    "segment": "the largest Jacobian norm at points from X to X', an estimate",
    "layers": "the product of the layers' norms, a proven constant",
    "any": "the proven constant, less ||f(X') - r'||, so for any attacker",
}


CERTIFICATE = Table(
    "certificate",
    3,
    (
        *RUN,
        LOOKED_AT,
        Column("update_kind", "str", "what the client sent: name of the update in the config"),
        Column("attack", "str", "name of the attack in the config"),
        Column("target", "int", "number of the attacked image"),
        Column("restart", "int", "initial point"),
        Column("representation_change", "float", "||r - r'||, r' being what the defense leaves of r = f(X)"),
        Column("premise_gap", "float", "||f(X') - r'||, which the theorem takes to be 0", null=True),
        Column("premise_holds", "bool", "premise_gap at most 1 % of representation_change", null=True),
        Column("distance", "float", "||X - X'|| as measured", "norm of the network's input", null=True),
        Column(
            "farthest", "float", "distance of the farthest image with pixels in [0, 1]", "norm of the network's input"
        ),
        *(
            Column(f"norm_{name}", "float", meaning, null=name == "segment")
            for name, meaning in CONSTANTS.items()
            if name != "any"
        ),
        *(
            Column(f"bound_{name}", "float", f"bound by {meaning}", "norm of the network's input", null=True)
            for name, meaning in CONSTANTS.items()
        ),
        *(Column(f"holds_{name}", "bool", f"distance is at least bound_{name}", null=True) for name in CONSTANTS),
        CODE,
    ),
    older=(Older(2, renamed={"sent": "update_kind"}),),
)


# On the page ---------------------------------------------------------------------------------------------------------

BOUND_NAMES = {"local": "bound, local", "segment": "estimate", "layers": "bound, layers", "any": "bound, any attacker"}

HEADS = [
    ("attack", "name of the attack in the config"),
    ("defense", "name of the defense in the config"),
    ("n", "reconstructions judged: something was pruned, and the reconstruction is finite"),
    ("left out", "reconstructions of updates in which nothing was pruned, or that are not finite"),
    ("distance", "measured ||X - X'||, norm of the network's input: median [95 % bootstrap interval over targets]"),
    ("farthest", "distance of the farthest image with pixels in [0, 1], median"),
    *(
        head
        for name, words in BOUND_NAMES.items()
        for head in (
            (words, f"bound by {CONSTANTS[name]}: median"),
            ("holds", f"where the distance is at least the {words}"),
        )
    ),
    ("premise", "where f(X') is r' up to 1 % of ||r - r'||, as the theorem assumes"),
]


@registry.analysis(
    "certificate",
    title="Certificate (theorem 1)",
    note="How far a reconstruction must be from the image, against how far it is. The bound by the norm at X is the "
    "paper's; the norm sampled on the way is an estimate; those by the layers' norms are proven.",
    order=20,
)
def text_tables(certificate: pd.DataFrame) -> list[TextTable]:
    """One table a setting, one row an attack and defense."""
    return [TextTable(setting_text(key), HEADS, _rows(rows), 2) for key, rows in certificate.groupby(SETTING)]


def _rows(rows: pd.DataFrame) -> list[list[str]]:
    order = places_of_defenses(rows)
    cells = sorted(rows.groupby(["attack", "defense"]), key=lambda item: (item[0][0], order[item[0][1]]))
    return [_row(*key, cell) for key, cell in cells]


def _row(attack: str, defense: str, cell: pd.DataFrame) -> list[str]:
    judged = bounded(cell)
    bounds = [
        text
        for name in CONSTANTS
        for text in (number(judged[f"bound_{name}"].median()), _count(judged[f"holds_{name}"], targets_of(judged)))
    ]
    return [
        attack,
        defense,
        str(len(judged)),
        str(len(cell) - len(judged)),
        estimate_text(median_interval(judged["distance"], groups=targets_of(judged))),
        number(judged["farthest"].median()),
        *bounds,
        _count(judged["premise_holds"], targets_of(judged)),
    ]


def _count(outcomes: pd.Series, targets: pd.Series) -> str:
    """How many are true, of how many, with the interval of the share where there is one."""
    share = share_interval(outcomes.astype(bool), groups=targets)
    if not share.n:
        return "–"
    interval = "" if share.low is None else f" [{number(share.low, 'share')}, {number(share.high, 'share')}]"
    return f"{int(outcomes.astype(bool).sum())} of {share.n}{interval}"
