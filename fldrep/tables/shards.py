"""Which client holds which image."""

from fldrep.tables.table import Column, Table

SHARDS = Table(
    "shards",
    1,
    (
        Column("client", "int", "client that holds the image"),
        Column("index", "int", "position of the image in the training set"),
        Column("label", "int", "class of the image"),
    ),
)
