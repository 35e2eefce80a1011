"""Theorem 2, a row a run and round."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.intervals import mean_interval
from fldrep.analysis.rows import LEAST_FLOOR
from fldrep.analysis.words import TextTable, estimate_text, number
from fldrep.tables.columns import CODE
from fldrep.tables.table import Column, Table

CONVERGENCE = Table(
    "convergence",
    1,
    (
        Column("dataset", "str", "data set"),
        Column("partition", "str", "name of the partition in the config"),
        Column("seed", "int", "repetition of the grid"),
        Column("mask", "str", "name of the mask"),
        Column("kind", "str", "none, soteria (deterministic, ratio rule) or random (unbiased)"),
        Column("rate", "float", "columns pruned", "share in [0, 1)"),
        Column("repetition", "int", "run with draws of its own"),
        Column("round", "int", "rounds done", "rounds"),
        Column("steps", "int", "local steps done", "steps"),
        Column("gap", "float", "F(w) - F* of this repetition", "nats"),
        Column("bound", "float", "bound on the mean gap without a mask (Li et al. 2020)", "nats"),
        Column("bound_defended", "float", "the same with constants enlarged by the mask", "nats"),
        Column("bound_covers", "bool", "the theorem covers the mask (it is unbiased)"),
        Column("floor", "float", "proven lower limit of the gap, from columns never updated", "nats"),
        Column("crossing", "float", "steps after which bound_defended is below the floor", "steps", null=True),
        Column("projected", "float", "local steps that left the ball", "share in [0, 1]"),
        Column("clients", "int", "all clients, N", "clients"),
        Column("sampled", "int", "clients of a round, K", "clients"),
        Column("local_steps", "int", "local steps of a round, E", "steps"),
        Column("smoothness", "float", "L of every client's loss"),
        Column("convexity", "float", "mu, the weight of L2"),
        Column("variance", "float", "largest sigma_k^2"),
        Column("variance_defended", "float", "largest sigma_k^2 with the mask's term"),
        Column("gradient_square", "float", "G^2 inside the ball"),
        Column("gradient_square_defended", "float", "G^2 with the mask's term"),
        Column("heterogeneity", "float", "Gamma = F* - sum p_k F_k*", "nats"),
        Column("distance_square", "float", "||w_1 - w*||^2"),
        Column("optimum", "float", "the least loss, F*", "nats"),
        CODE,
    ),
)


# On the page ---------------------------------------------------------------------------------------------------------

HEADS = [
    ("mask", "what is done to each gradient"),
    ("n", "runs, of all seeds, each with draws of its own"),
    ("clients", "of a round, of all"),
    ("local steps", "in a round, E"),
    ("steps", "local steps done at the end"),
    ("gap before", "F(w) - F* before training, nats: a bound above it tells nothing"),
    ("gap", "F(w) - F* at the end, nats: mean over runs [95 % bootstrap interval, from 8 runs on]"),
    ("bound", "on the mean gap at the end, without a mask (Li et al. 2020), mean over seeds"),
    ("with the mask's term", "the same with constants enlarged by the mask"),
    ("holds", "kept rounds whose mean gap is at most the bound with the mask's term"),
    ("covered", "whether the theorem covers the mask: an unbiased one, or none"),
    ("floor", "proven lower limit of the gap, from weights that are never updated, nats"),
    ("broken after", "steps after which the bound with the mask's term is below the floor"),
    ("sigma²", "largest variance of a client's gradients, without / with the mask's term"),
    ("G²", "bound on the squared norm of gradients, without / with the mask's term"),
]


@registry.analysis(
    "convergence",
    title="Convergence (theorem 2)",
    note="Softmax regression by FedAvg, whose constants and least loss can be computed. A deterministic mask is a "
    "bias, which the theorem does not cover.",
    order=30,
)
def text_tables(convergence: pd.DataFrame) -> list[TextTable]:
    """One table a data set and partition, one row a mask."""
    return [
        TextTable(" · ".join(key), HEADS, [_row(*cell) for cell in rows.groupby("mask", sort=False)], 1)
        for key, rows in convergence.groupby(["dataset", "partition"])
    ]


def _row(mask: str, cell: pd.DataFrame) -> list[str]:
    first, last = (cell[cell["round"] == end] for end in (cell["round"].min(), cell["round"].max()))
    means = cell.groupby(["seed", "round"])[["gap", "bound_defended"]].mean()
    holds = means["gap"] <= means["bound_defended"]
    seeds = last.groupby("seed").first()
    one = last.iloc[0]
    limited = seeds["floor"].max() > LEAST_FLOOR
    return [
        mask,
        str(len(last)),
        f"{one['sampled']} of {one['clients']}",
        str(one["local_steps"]),
        str(one["steps"]),
        number(first["gap"].mean()),
        estimate_text(mean_interval(last["gap"])),
        number(seeds["bound"].mean()),
        number(seeds["bound_defended"].mean()),
        f"{int(holds.sum())} of {len(holds)}",
        "yes" if last["bound_covers"].all() else "no: biased",
        number(seeds["floor"].mean()) if limited else "–",
        number(seeds["crossing"].median()) if limited else "–",
        *(
            f"{number(seeds[constant].mean())} / {number(seeds[f'{constant}_defended'].mean())}"
            for constant in ("variance", "gradient_square")
        ),
    ]
