"""The claims that the tables of the theory stage decide: each function gives what was found, one finding a cell."""

import pandas as pd

from fldrep.analysis.families import is_adaptive
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import LEAST_FLOOR, SETTING, bounded
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    NOT_REPRODUCED,
    NOT_TESTABLE,
    ONLY_NON_ADAPTIVE,
    REPRODUCED,
    TOO_WEAK,
    Finding,
    Tables,
    above,
    few,
    median_text,
)

# "About 0.99": what rounds to it.
ABOUT_099 = 0.985
# Above this epsilon the odds of an attacker may grow e^20 times: a number, not a protection.
MEANINGLESS = 20


def leakage(tables: Tables) -> list[Finding]:
    """Correlation of inferred and true class-wise representations of undefended clients, at the largest batch size."""
    found = []
    for values, rows in tables.leakage.groupby(["dataset", "model", "partition"], sort=True):
        plain = rows[rows["method"] == "none"]
        if len(plain):
            where = dict(zip(("dataset", "model", "partition"), values, strict=True))
            found.append(_leakage(where, plain, rows[rows["method"] != "none"]))
    return found


def _leakage(where: dict, plain: pd.DataFrame, defended: pd.DataFrame) -> Finding:
    largest = plain["batch_size"].max()
    rows = plain[plain["batch_size"] == largest].assign(lead=lambda one: one["correlation"] - one["correlation_public"])
    batches = rows.groupby(["seed", "batch"])[["correlation", "lead"]].median().dropna()
    found, lead = median_interval(batches["correlation"]), median_interval(batches["lead"])
    sizes = plain.groupby("batch_size")["correlation"].median()
    rounds = rows.groupby("round")[["correlation", "correlation_centred", "label_accuracy", "label_accuracy_even"]]
    words = (
        f"batches of {largest}: {median_text(found)}, {median_text(lead, '+')} over the mean representation of public "
        f"images, which takes no gradient; by batch size {_each(sizes)}; "
        f"by round {_each(rounds.median()['correlation'])}; with the public mean taken off both sides "
        f"{number(rows['correlation_centred'].median())}; "
        f"labels found {number(rows['label_accuracy'].median(), 'share')} "
        f"(an even guess {number(rows['label_accuracy_even'].median(), 'share')})"
    )
    if len(defended):
        own = defended[defended["batch_size"] == largest]
        words += f"; under {_each(own.groupby('defense', sort=False)['correlation'].median())}"
    verdict = REPRODUCED if found.median >= ABOUT_099 else NOT_REPRODUCED
    if few(found):
        verdict, words = NOT_TESTABLE, f"{words}; {few(found)}".replace("targets converged on both sides", "batches")
    elif not above(lead):
        verdict, words = TOO_WEAK, f"{words}; the gradient tells no more than the public mean"
    return Finding(
        verdict=verdict,
        measured=words,
        quantity=f"correlation in batches of {largest}, median over rounds; n: batches x seeds",
        estimate=found,
        where=where,
        defense=", ".join(pd.concat([plain, defended])["defense"].unique()),
        seeds=plain["seed"].nunique(),
    )


def _each(medians: pd.Series) -> str:
    return ", ".join(f"{key}: {number(value)}" for key, value in medians.items())


def certificate(tables: Tables) -> list[Finding]:
    """Measured distance over the bound of theorem 1 with the local norm, as the paper has it, for each setting."""
    found = []
    for values, rows in tables.certificate.groupby(SETTING, sort=True):
        found.append(_certificate(dict(zip(SETTING, values, strict=True)), rows, tables))
    return found


def _certificate(where: dict, rows: pd.DataFrame, tables: Tables) -> Finding:
    finite = bounded(rows)
    attacks = tables.attacks
    knows = finite["attack"].isin(attacks["attack"][is_adaptive(attacks)])
    naive, adaptive = finite[~knows], finite[knows]
    ratio = median_interval(finite["distance"] / finite["bound_local"])
    words = (
        f"distance / bound {median_text(ratio)}; "
        f"the bound holds {_holds(naive, 'local')} against published attacks and "
        f"{_holds(adaptive, 'local')} against adaptive ones; with the norm sampled on the segment (an estimate) "
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


def convergence(tables: Tables) -> list[Finding]:
    """The gap after the last round against the bound with the mask's term, for each mask, and what floor it has."""
    found = []
    for values, rows in tables.convergence.groupby(["dataset", "partition", "mask"], sort=False):
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


def accounting(tables: Tables) -> list[Finding]:
    """What a client spends over the training where the server sees each update, for each noise defense."""
    found = []
    own = tables.accounting[tables.accounting["method"].isin(("gaussian", "laplace"))]
    for values, rows in own.groupby(["dataset", "model", "partition", "defense"], sort=False):
        where = dict(zip(("dataset", "model", "partition"), values[:3], strict=True))
        seen = rows[rows["server"] == "each-update"]
        spent = median_interval(seen["epsilon"].dropna())
        held = len(seen) and spent.n == len(seen) and spent.median <= MEANINGLESS
        words = "; ".join(f"{row.server}: {row.guarantee}" for row in rows.drop_duplicates("server").itertuples())
        found.append(
            Finding(
                verdict=REPRODUCED if held else NOT_REPRODUCED,
                measured=f"{rows['rounds'].iloc[0]} rounds, {rows['sampling'].iloc[0]}; {words}",
                quantity=f"epsilon at delta {rows['delta'].iloc[0]:.2g}, client level, each update seen; n: seeds",
                estimate=spent,
                where=where,
                defense=values[3],
                seeds=rows["seed"].nunique(),
            )
        )
    return found
