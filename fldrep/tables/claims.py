"""What is claimed, and the verdict in each cell."""

from fldrep.tables.table import Column, Older, Table

VERDICTS = (
    "reproduced",
    "reproduced only against a non-adaptive attack",
    "not reproduced",
    "not testable here",
)


CLAIMS = Table(
    "claims",
    4,
    (
        Column("claim", "str", "name of the claim"),
        Column("said", "str", "what the paper, its code or this audit says"),
        Column("source", "str", "where it is said; (S) read there, (R) recalled, not read"),
        Column("dataset", "str", "data set; empty where the row covers several, or none"),
        Column("model", "str", "name of the model in the config; empty likewise"),
        Column("partition", "str", "name of the partition in the config; empty likewise"),
        Column("round", "int", "checkpoint attacked; empty where the row covers several", "rounds", null=True),
        Column("update_kind", "str", "what the client sent: name of the update in the config; empty likewise"),
        Column("attack", "str", "attacks compared, by their names in the config"),
        Column("defense", "str", "defenses compared, by their names in the config"),
        Column("measured", "str", "what was found, in words"),
        Column("quantity", "str", "what median, low and high are of, and what n counts"),
        Column("n", "int", "values behind the median"),
        Column("median", "float", "median of the quantity; for a share, the share", null=True),
        Column("low", "float", "lower end of its 95 % interval, from 8 values on", null=True),
        Column("high", "float", "upper end of its 95 % interval, from 8 values on", null=True),
        Column("seeds", "int", "repetitions of the grid behind the row"),
        Column("scale", "str", "config, model, rounds trained and iterations of the attacks"),
        Column("device", "str", "device and precision of the attacks, or of the analysis"),
        Column("command", "str", "what rebuilds the row"),
        Column("verdict", "str", "one of: " + "; ".join(VERDICTS)),
    ),
    older=(
        Older(2, renamed={"sent": "update_kind"}),
        Older(3, values={"verdict": {"attack too weak to judge": "not testable here"}}),
    ),
)
