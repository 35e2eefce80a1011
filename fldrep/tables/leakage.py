"""What the last layer's gradient tells of a batch."""

from fldrep.tables.columns import CODE, LOOKED_AT, RUN
from fldrep.tables.table import Column, Table


def _correlation(name: str, meaning: str) -> Column:
    return Column(name, "float", f"mean over the classes present of {meaning}", "correlation in [-1, 1]", null=True)


def _share(name: str, meaning: str) -> Column:
    return Column(name, "float", f"share of the batch's labels found {meaning}", "share in [0, 1]")


LEAKAGE = Table(
    "leakage",
    1,
    (
        *RUN,
        LOOKED_AT,
        Column("batch_size", "int", "images in the update", "images"),
        Column("batch", "int", "number of the batch; the same images under every defense"),
        Column("client", "int", "client that holds the batch"),
        Column("classes_present", "int", "different labels in the batch", "classes"),
        _correlation("correlation", "Pearson's correlation of dL/dW over dL/db with the class's mean representation"),
        _correlation("correlation_kept", "the same over features whose column of dL/dW was sent"),
        _correlation("correlation_centred", "the same with the mean representation of public images taken off both"),
        _correlation("correlation_public", "the correlation that mean has by itself: the uninformed baseline"),
        _share("label_accuracy", "from dL/db alone"),
        _share("label_accuracy_public", "from dL/db by an attacker with labelled public images"),
        _share("label_accuracy_even", "by an even guess: the uninformed baseline"),
        CODE,
    ),
)
