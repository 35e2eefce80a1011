"""Columns that several tables share."""

from fldrep.tables.table import Column

CODE = Column("code", "str", "digest of the code that made the row")


RUN = (
    Column("dataset", "str", "data set"),
    Column("model", "str", "name of the model in the config"),
    Column("partition", "str", "name of the partition in the config"),
    Column("defense", "str", "name of the defense in the config"),
    Column("method", "str", "what the defense does: none, soteria, compression, gaussian, laplace"),
    Column("rule", "str", "Soteria's ranking rule, empty for other methods"),
    Column("rate", "float", "nominal rate of pruning", "share in [0, 1]", null=True),
    Column("std", "float", "standard deviation of the noise", "gradient entries", null=True),
    Column("seed", "int", "repetition of the grid"),
)


# What the theory stage writes, and the metrics stage gathers.

LOOKED_AT = Column("round", "int", "checkpoint looked at; 0 is the untrained model", "rounds")
