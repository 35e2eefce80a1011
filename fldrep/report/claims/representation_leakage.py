"""Class-wise representations leak through the gradient of the last layer."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    NOT_REPRODUCED,
    NOT_TESTABLE,
    REPRODUCED,
    Finding,
    Tables,
    above,
    few,
    median_text,
)

# "About 0.99": what rounds to it.
ABOUT_099 = 0.985


@registry.claim(
    "representation-leakage",
    title="The representation leaks",
    said="Class-wise representations inferred from the gradient of the last layer correlate with the true ones at "
    "about 0.99 through the rounds of training on non-iid clients.",
    source="the paper, recalled (R)",
    order=10,
)
def judge(tables: Tables) -> list[Finding]:
    """Correlation of inferred and true class-wise representations of undefended clients, at the largest batch size."""
    found = []
    for values, rows in tables["leakage"].groupby(["dataset", "model", "partition"], sort=True):
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
        verdict, words = NOT_TESTABLE, f"{words}; {few(found, 'batches')}"
    elif not above(lead):  # a high correlation is then none of the gradient's
        verdict = NOT_TESTABLE if verdict == REPRODUCED else NOT_REPRODUCED
        words += "; the gradient tells no more than the public mean"
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
