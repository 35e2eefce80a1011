"""The privacy that a training run spends."""

from fldrep.tables.columns import CODE, RUN
from fldrep.tables.table import Column, Table

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
