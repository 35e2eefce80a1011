"""The baselines that add noise are differentially private."""

from fldrep import registry
from fldrep.analysis.intervals import median_interval
from fldrep.report.evidence import NOT_REPRODUCED, REPRODUCED, Finding, Tables
from fldrep.tables.accounting import MEANINGLESS


@registry.claim(
    "noise-is-private",
    title="Noise is differential privacy",
    said="The baselines that add Gaussian or Laplace noise are differentially private.",
    source="the paper, recalled (R)",
    order=80,
)
def judge(tables: Tables) -> list[Finding]:
    """What a client spends over the training where the server sees each update, for each noise defense."""
    found = []
    own = tables["accounting"][tables["accounting"]["method"].isin(("gaussian", "laplace"))]
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
