"""Theorem 2: training with the defense converges."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import LEAST_FLOOR
from fldrep.analysis.words import number
from fldrep.report.evidence import NOT_REPRODUCED, REPRODUCED, Finding, Tables, median_text


@registry.claim(
    "convergence",
    title="Convergence (theorem 2)",
    said="Training with the defense converges as 1 / steps, with constants enlarged by the perturbation.",
    source="the paper, recalled (R)",
    order=70,
)
def judge(tables: Tables) -> list[Finding]:
    """The gap after the last round against the bound with the mask's term, for each mask, and what floor it has."""
    found = []
    for values, rows in tables["convergence"].groupby(["dataset", "partition", "mask"], sort=False):
        if rows["kind"].iloc[0] != "none":
            where = dict(zip(("dataset", "partition"), values[:2], strict=True))
            found.append(_convergence({**where, "model": "softmax"}, rows, values[2]))
    return found


def _convergence(where: dict, rows: pd.DataFrame, mask: str) -> Finding:
    means = rows.groupby(["seed", "round"])[["gap", "bound_defended"]].mean()
    last = rows[rows["round"] == rows["round"].max()]
    gap, floor = median_interval(last["gap"]), last["floor"].median()
    below = (means["gap"] <= means["bound_defended"]).all()
    words = (
        f"after {last['steps'].max()} steps a gap of {median_text(gap)}, bound {number(last['bound'].median())}, "
        f"with the mask's term {number(last['bound_defended'].median())}; the mean gap is "
        f"{'below it in every round' if below else 'above it in some round'}"
    )
    if floor > LEAST_FLOOR:
        words += (
            f"; columns never updated keep the gap above {number(floor)}, while the bound falls below that after "
            f"{number(last['crossing'].median())} steps: it cannot hold for this mask"
        )
    elif not last["bound_covers"].all():
        words += "; the mask is a bias, which the proof does not cover"
    return Finding(
        verdict=REPRODUCED if below and floor <= LEAST_FLOOR else NOT_REPRODUCED,
        measured=words,
        quantity="F(w) - F* after the last round, nats; n: repetitions x seeds",
        estimate=gap,
        where=where,
        defense=mask,
        seeds=rows["seed"].nunique(),
    )
