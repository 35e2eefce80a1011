"""The privacy that a training run spends."""

import pandas as pd

from fldrep import registry
from fldrep.analysis.rows import places_of_defenses
from fldrep.analysis.words import TextTable, nominal_text, number
from fldrep.tables.columns import CODE, RUN
from fldrep.tables.table import Column, Table

# Above this epsilon the odds of an attacker may grow e^20 times: a number, not a protection.
MEANINGLESS = 20

ACCOUNTING = Table(
    "accounting",
    1,
    (
        *RUN,
        Column("clip", "float", "L2 norm an update is scaled down to", "gradient entries", null=True),
        Column("server", "str", "each-update (sees what each client sends) or sum-only (secure aggregation)"),
        Column("neighbours", "str", "what differs between two inputs that must look alike"),
        Column("sampling", "str", "how clients are drawn"),
        Column("rounds", "int", "federated rounds", "rounds"),
        Column("clients", "int", "all clients, N", "clients"),
        Column("sampled", "int", "clients of a round, K", "clients"),
        Column("participations", "int", "rounds accounted to a client where each update is seen", "rounds"),
        Column("noise_multiplier", "float", "standard deviation of the noise / sensitivity", null=True),
        Column("delta", "float", "chance, at most, that epsilon does not hold"),
        Column("epsilon", "float", "epsilon spent by a client over the run at delta", null=True),
        Column("epsilon_pure", "float", "epsilon at delta 0 (Laplace noise)", null=True),
        Column("guarantee", "str", "the guarantee in words"),
        CODE,
    ),
)


# On the page ---------------------------------------------------------------------------------------------------------

HEADS = [
    ("model", "name of the model in the config"),
    ("partition", "name of the partition in the config"),
    ("defense", "name of the defense in the config"),
    (
        "server",
        "each-update: sees what every client sends; sum-only: sees only the sum (secure aggregation, not run here)",
    ),
    ("guarantee", "what a client may rely on over the whole training, against the replacement of its whole data"),
    ("epsilon", "spent over the training, at this delta"),
    ("delta", "probability that the guarantee with epsilon fails"),
    ("pure epsilon", "the same with a delta of 0, where there is one"),
    ("noise", "standard deviation of the noise on each gradient entry"),
    ("clip", "L2 norm that an update is scaled down to"),
    ("multiplier", "standard deviation of the noise / what replacing a client's data moves at most"),
    ("rounds", "federated rounds"),
    ("part in", "rounds that the client takes part in, at most"),
    ("sampling", "how clients are drawn"),
]


@registry.analysis(
    "accounting",
    title="Privacy spent",
    note="The (epsilon, delta) that one client spends over a training, where its noise guarantees anything: without "
    "clipping there is no guarantee, however strong the noise.",
    order=40,
)
def text_tables(accounting: pd.DataFrame) -> list[TextTable]:
    """One table a data set, one row a model, partition, defense and server; seeds that spend the same are one row."""
    return [TextTable(" · ".join(key), HEADS, _rows(rows), 5) for key, rows in accounting.groupby(["dataset"])]


def _rows(rows: pd.DataFrame) -> list[list[str]]:
    rows = rows.drop_duplicates([name for name in rows if name not in ("seed", "code")])
    rows = rows.assign(_place=rows["defense"].map(places_of_defenses(rows)))
    ordered = rows.sort_values(["model", "partition", "_place", "server"])
    return [_row(row) for row in ordered.itertuples()]


def _row(row) -> list[str]:
    return [
        row.model,
        row.partition,
        row.defense,
        row.server,
        row.guarantee,
        number(row.epsilon),
        number(row.delta),
        number(row.epsilon_pure),
        nominal_text(None, row.std),
        number(row.clip),
        number(row.noise_multiplier),
        str(row.rounds),
        str(row.participations),
        row.sampling,
    ]
