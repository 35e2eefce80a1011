"""The attack jobs' rows with the errors of their images, by every metric that is registered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fldrep import registry
from fldrep.analysis.uninformed import UNINFORMED
from fldrep.config.presets import variant_of
from fldrep.errors import ConfigError
from fldrep.registry import Entry
from fldrep.tables.attack_runs import ATTACK_IDENTITY, ATTACK_OUTCOME
from fldrep.tables.table import Column, Older, Table

if TYPE_CHECKING:
    import pandas as pd

# What each metric is measured of: the column's prefix, and the words for it.
OF_IMAGES = {
    "": "the reconstruction (empty where it is not finite)",
    **{f"{name}_": f"{image}: the uninformed baseline" for name, image in UNINFORMED.items()},
}


@dataclass(frozen=True)
class Metric:
    """What the decorator of a metric says of it: the name of its column, what it means, and its unit.

    `space`: `pixels`, in [0, 1] and clamped, or `input`, the network's normalised input space, not clamped; `order`:
    its place among the metrics.
    """

    column: str
    meaning: str
    unit: str = ""
    larger_is_better: bool = False
    space: str = "pixels"
    order: int = 100

    def column_of(self, prefix: str) -> Column:
        """Its column for one of `OF_IMAGES`."""
        meaning = f"{self.meaning}, of {OF_IMAGES[prefix]}"
        return Column(prefix + self.column, "float", meaning, self.unit, True, self.larger_is_better)


def metric_of(entry: Entry) -> Metric:
    """What a registered metric says of itself. Errors: `ConfigError` naming the word."""
    words = {"meaning": entry.name, **entry.words}
    known = {"meaning": str, "unit": str, "larger_is_better": bool, "space": str, "order": int}
    for word, value in words.items():
        if word not in known:
            raise ConfigError(f"metric {entry.name!r}: unknown word {word!r}; it takes {', '.join(known)}")
        if not isinstance(value, known[word]):
            raise ConfigError(f"metric {entry.name!r}: {word}={value!r}: not a {known[word].__name__}")
    if words.get("space", "pixels") not in ("pixels", "input"):
        raise ConfigError(f"metric {entry.name!r}: space={words['space']!r}: expected 'pixels' or 'input'")
    column = entry.name.replace("-", "_")
    if not column.isidentifier():
        raise ConfigError(f"metric {entry.name!r}: expected a name that begins with a letter, as its column has it")
    return Metric(column, **words)


def metrics_of(entries: Mapping[str, Entry]) -> dict[str, Metric]:
    """Registered metrics by name, in the order of the columns: built-in ones first.

    Errors: `ConfigError` for a column that the table has already, and as for `metric_of`.
    """
    metrics = {name: metric_of(entry) for name, entry in entries.items()}
    taken = {column.name for column in (*ATTACK_IDENTITY, *ATTACK_OUTCOME, *JUDGED)} | SUMMARY
    for name, metric in metrics.items():
        columns = {column.name for column in metric_columns([metric])}
        if columns & taken:
            column = min(columns & taken)
            raise ConfigError(f"metric {name!r}: attacks have a column {column!r} already; choose another name")
        taken |= columns
    own = registry.built_in("metric")
    return dict(sorted(metrics.items(), key=lambda item: (item[0] not in own, item[1].order)))


def metric_columns(metrics: Iterable[Metric]) -> list[Column]:
    """The columns of metrics: all of the reconstruction, then those of each image that takes no update."""
    metrics = list(metrics)
    return [metric.column_of(prefix) for prefix in OF_IMAGES for metric in metrics]


def metrics_in(columns: Iterable[Column]) -> list[Column]:
    """The metrics among columns: those that stand beside their values for the images that take no update."""
    columns = list(columns)
    names = {column.name for column in columns}
    return [column for column in columns if all(f"{image}_{column.name}" in names for image in UNINFORMED)]


JUDGED = (
    Column("match", "int", "which reconstruction of its update is set against the target, by least mse_pixel"),
    Column("recovered", "bool", "ssim at or above the config's threshold"),
    Column("judged_by", "str", "digest of the code that judged the row; empty where it was not told", null=True),
)
# Columns of the summary by cell (`analysis.cells`), where a metric's median has the metric's name.
SUMMARY = {"targets", "n", "error", "low", "high", "gain", "gain_low", "gain_high", "gain_n", "measure", *UNINFORMED}
OLD_WORDS = {
    "sent": "update_kind",
    "images": "images_per_update",
    "chosen": "is_best_restart",
    "live_rate": "live_pruned",
    "energy_removed": "norm2_removed",
    "chunk": "problems_at_once",
}


def _variant_of(rows: "pd.DataFrame") -> "pd.Series":
    """What the presets of an older version strengthen; a version later says it in the table."""
    return rows["preset"].map(lambda preset: " ".join(variant_of(preset)))


# The metrics of this package; a file has columns of others besides, where a plug-in was loaded.
ATTACKS = Table(
    "attacks",
    4,
    (
        *ATTACK_IDENTITY,
        *ATTACK_OUTCOME,
        *JUDGED,
        *metric_columns(metrics_of(registry.built_in("metric")).values()),
    ),
    older=(
        Older(2, renamed=OLD_WORDS, values={"preset": {"strongest": "ensemble"}}, added={"variant_of": _variant_of}),
        Older(3),
    ),
    extensible=True,
)


def attacks_here() -> Table:
    """The table with the columns of every metric that is registered now, those of plug-ins last."""
    registered = metric_columns(metrics_of(registry.entries("metric")).values())
    return ATTACKS.with_columns(column for column in registered if column.name not in ATTACKS.names)
