"""How accurate trained models are under each defense: what a defense costs."""

import pandas as pd

from fldrep.analysis.rows import last_rounds

OF_RUNS = ["dataset", "model", "partition", "defense"]  # trained once a seed


def accuracy_of_runs(training: pd.DataFrame) -> pd.DataFrame:
    """A row a trained run (`OF_RUNS`): `rounds`, and the test accuracy after the last one.

    Columns: `accuracy`, the median over seeds, `accuracy_low` and `accuracy_high`, the least and the greatest; `cost`,
    how much lower the median is than that of the undefended client (NaN where none was trained).
    """
    trained = training[training["round"] > 0]
    last = last_rounds(trained)
    named = {"accuracy": "median", "accuracy_low": "min", "accuracy_high": "max"}
    found = last.groupby(OF_RUNS)["test_accuracy"].agg(**named)
    found = found.assign(rounds=last.groupby(OF_RUNS)["round"].max(), method=last.groupby(OF_RUNS)["method"].first())
    found = found.reset_index()
    undefended = found["accuracy"].where(found["method"] == "none")
    found["undefended"] = undefended.groupby([found[name] for name in OF_RUNS[:-1]]).transform("max")
    return found.assign(cost=found["undefended"] - found["accuracy"]).drop(columns="method")
