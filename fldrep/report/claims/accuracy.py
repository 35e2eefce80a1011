"""The defense does not lose accuracy."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.intervals import median_interval
from fldrep.analysis.rows import last_rounds
from fldrep.analysis.words import number
from fldrep.report.evidence import (
    LEARNED,
    NOT_REPRODUCED,
    NOT_TESTABLE,
    POINT,
    REPRODUCED,
    Finding,
    Tables,
    trained_accuracies,
)


@registry.claim(
    "accuracy",
    title="No accuracy lost",
    said="The defense does not lose accuracy.",
    source="the paper's abstract (S)",
    order=30,
)
def judge(tables: Tables) -> list[Finding]:
    """Accuracy with Soteria less without, for each trained data set, model and partition: the worst variant judges."""
    found, training = [], tables["training"]
    for values, rows in training.groupby(["dataset", "model", "partition"], sort=True):
        where = dict(zip(("dataset", "model", "partition"), values, strict=True))
        defended = list(rows.loc[rows["method"] == "soteria", "defense"].unique())
        plain = list(rows.loc[rows["method"] == "none", "defense"].unique())
        if rows["round"].max() > 0 and defended and plain:
            found.append(_accuracy(where, rows, defended, plain[0]))
    return found


def _accuracy(where: dict, rows: pd.DataFrame, defended: list[str], plain: str) -> Finding:
    last = last_rounds(rows).pivot(index="seed", columns="defense", values="test_accuracy")
    losses = {name: median_interval((last[name] - last[plain]).dropna()) for name in defended}
    worst = min(losses, key=lambda name: losses[name].median)
    learned = trained_accuracies(rows, where) is not None
    each = ", ".join(f"{name} {points(losses[name].median)}" for name in losses)
    words = (
        f"{number(last[plain].median())} undefended after {rows['round'].max()} rounds, "
        f"{rows['test_images'].iloc[0]} test images; medians over seeds of the difference: {each}"
    )
    if not learned:
        words += f"; the undefended model gained less than {LEARNED:g} over its initial weights"
    kept = losses[worst].median >= -POINT - 1e-9
    return Finding(
        verdict=(REPRODUCED if kept else NOT_REPRODUCED) if learned else NOT_TESTABLE,
        measured=words,
        quantity=f"test accuracy of {worst} less that of {plain}; n: seeds",
        estimate=losses[worst],
        where=where,
        defense=", ".join([plain, *defended]),
        seeds=len(last),
    )


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{number(100 * share, sign='+')} points"
