"""Theorem 1: a reconstruction cannot come nearer to the image than a bound."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.families import is_adaptive
from fldrep.analysis.intervals import median_interval, share_interval
from fldrep.analysis.rows import SETTING, bounded
from fldrep.analysis.words import estimate_text, number
from fldrep.report.evidence import (
    NOT_REPRODUCED,
    NOT_TESTABLE,
    ONLY_NON_ADAPTIVE,
    REPRODUCED,
    Finding,
    Tables,
    median_text,
)


@registry.claim(
    "certificate",
    title="Certificate (theorem 1)",
    said="The reconstruction is at least ||r - r'|| / ||df/dX|| away from the image.",
    source="the paper, recalled (R)",
    order=60,
)
def judge(tables: Tables) -> list[Finding]:
    """Measured distance over the bound of theorem 1 with the local norm, as the paper has it, for each setting."""
    found = []
    for values, rows in tables["certificate"].groupby(SETTING, sort=True):
        found.append(_certificate(dict(zip(SETTING, values, strict=True)), rows, tables))
    return found


def _certificate(where: dict, rows: pd.DataFrame, tables: Tables) -> Finding:
    finite = bounded(rows)
    attacks = tables["attacks"]
    knows = finite["attack"].isin(attacks["attack"][is_adaptive(attacks)])
    naive, adaptive = finite[~knows.astype(bool)], finite[knows.astype(bool)]
    ratio = median_interval(finite["distance"] / finite["bound_local"])
    words = (
        f"distance / bound {median_text(ratio)}; "
        f"the bound holds {_holds(naive, 'local')} against published attacks and "
        f"{_holds(adaptive, 'local')} against adaptive ones{_counterexamples(finite)}; "
        "with the norm sampled on the segment (an estimate) "
        f"{_holds(finite, 'segment')}, with the product of layer norms {_holds(finite, 'layers')}; the premise "
        f"f(X') = r' is met in {_count(finite['premise_holds'])}; "
        f"median bound {number(finite['bound_local'].median())}, "
        f"median distance {number(finite['distance'].median())}, "
        f"farthest valid image {number(finite['farthest'].median())}"
    )
    if finite.empty:
        verdict, words = NOT_TESTABLE, "nothing was pruned, or no reconstruction is finite"
    elif not len(naive) or not naive["holds_local"].astype(bool).all():
        verdict = NOT_REPRODUCED if len(naive) else NOT_TESTABLE
    else:
        holds = len(adaptive) and adaptive["holds_local"].astype(bool).all()
        verdict = REPRODUCED if holds else ONLY_NON_ADAPTIVE
    return Finding(
        verdict=verdict,
        measured=words,
        quantity="||X - X'|| / bound with the Jacobian's norm at X; n: reconstructions whose bound is above 0",
        estimate=ratio,
        where=where,
        attack=", ".join(rows["attack"].unique()),
        defense=", ".join(rows["defense"].unique()),
        seeds=rows["seed"].nunique(),
    )


def _holds(rows: pd.DataFrame, name: str) -> str:
    return _count(rows[f"holds_{name}"])


def _count(outcomes: pd.Series) -> str:
    return f"{int(outcomes.astype(bool).sum())} of {len(outcomes)}" if len(outcomes) else "none of 0"


def _counterexamples(rows: pd.DataFrame) -> str:
    """The share of reconstructions nearer to the image than the bound, an attack that has any, in words."""
    nearer = [(name, share_interval(~own["holds_local"].astype(bool))) for name, own in rows.groupby("attack")]
    words = [f"{name} {estimate_text(share)} of {share.n}" for name, share in nearer if share.median > 0]
    return f" (nearer than the bound: {', '.join(words)})" if words else ""
