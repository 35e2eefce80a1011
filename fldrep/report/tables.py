"""The page's tables, as text: every number with how many targets stand behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from fldrep import registry
from fldrep.analysis.cells import summarise
from fldrep.analysis.rows import RUN_OF_MODEL, SETTING, last_rounds, places_of_defenses
from fldrep.analysis.uninformed import UNINFORMED
from fldrep.analysis.words import TextTable, interval_text, nominal_text, number, setting_text
from fldrep.config.threat import KNOWLEDGE, SERVERS, threat_of
from fldrep.config.whole import Config
from fldrep.tables.table import Column

PRIVACY_HEADS = [
    ("attack", "name of the attack in the config"),
    ("defense", "name of the defense in the config"),
    ("nominal", "nominal rate, or standard deviation of the noise"),
    ("live", "median share of live features pruned"),
    ("targets", "attacked images"),
    ("diverged", "targets whose chosen restart diverged; left out of the medians, counted as not recovered"),
    (
        "MSE (pixels)",
        "median [95 % bootstrap interval over targets, from 8 on], pixels clamped to [0, 1]; * no better than grey or "
        "class mean",
    ),
    (
        "grey / class mean",
        "no information: median MSE (pixels) of a constant image at the data set's mean, and of the mean training "
        "image of the target's class",
    ),
    (
        "paired difference",
        "median over targets of MSE (pixels) - that of the undefended client on the same target [interval]",
    ),
    ("recovered", "share of all targets whose SSIM reaches the config's threshold"),
    ("SSIM", "median, gaussian weights, sigma 1.5"),
    ("PSNR, dB", "median, pixels, data range 1"),
    ("MSE (normalised)", "median, in units of the data set's variance, not clamped"),
    ("grey / class mean (normalised)", "no information: as above, MSE (normalised)"),
    ("energy", "median share of the squared norm of the representation removed"),
]


TRAINING_HEADS = [
    ("model", "name of the model in the config"),
    ("partition", "name of the partition in the config"),
    ("defense", "name of the defense in the config"),
    ("seed", "repetition of the grid"),
    ("rounds", "federated rounds"),
    ("test images", "images that accuracy and loss are measured on"),
    ("accuracy", "share of these images classified correctly after the last round"),
    ("loss", "mean cross entropy over these images after the last round, nats"),
    ("training, s", "local training over all rounds"),
    ("defense, s", "part of it spent in the defense"),
    ("dense, kB", "float32 size of one client's update"),
    ("sent, kB", "mean size of what a client sends, in the smaller of a dense and a sparse form"),
    ("nonzero", "mean share of the nonzero features that Soteria pruned in a step of training"),
]


THREAT_HEADS = [
    ("attack", "name of the attack in the config"),
    ("server", "; ".join(f"{server}: {meaning}" for server, meaning in SERVERS.items())),
    ("knows", "besides the update; " + "; ".join(f"{word}: {meaning}" for word, meaning in KNOWLEDGE.items())),
]


def threat_table(config: Config, attacks: pd.DataFrame) -> TextTable | None:
    """Whom each attack assumes, a row an attack of the config that was run; None where none was."""
    run = set(attacks["attack"])
    threats = {name: threat_of(settings) for name, settings in config.attacks.items() if name in run}
    rows = [[name, one.server, one.told] for name, one in threats.items()]
    return TextTable("Whom each attack assumes", THREAT_HEADS, rows, 3) if rows else None


def privacy_tables(attacks: pd.DataFrame, metrics: Sequence[Column] = ()) -> list[TextTable]:
    """One table a setting (data set, model, partition, round, update), one row an attack and defense.

    Args: metrics: those of plug-ins, which stand after the others.
    """
    if attacks.empty:
        return []
    heads = [*PRIVACY_HEADS, *(head for metric in metrics for head in metric_heads(metric))]
    return [
        TextTable(setting_text(setting), heads, [_privacy_row(row, metrics) for row in rows.itertuples()], 2)
        for setting, rows in summarise(attacks, "mse_pixel").groupby(SETTING)
    ]


def metric_heads(metric: Column) -> list[tuple[str, str]]:
    """The heads of a metric: its median, and that of an attacker who knows nothing.

    >>> metric_heads(Column("l1", "float", "mean absolute error, of the reconstruction", larger_is_better=False))[0]
    ('l1', 'median; mean absolute error, of the reconstruction; smaller is better')
    """
    unit = f", {metric.unit}" if metric.unit else ""
    better = "larger" if metric.larger_is_better else "smaller"
    return [
        (metric.name, f"median{unit}; {metric.meaning}; {better} is better"),
        (f"grey / class mean ({metric.name})", f"no information: as above, {metric.name}"),
    ]


def _privacy_row(row, metrics: Sequence[Column]) -> list[str]:
    return [
        row.attack,
        row.defense,
        nominal_text(row.rate, row.std),
        number(row.live_pruned, "share"),
        str(row.targets),
        str(row.diverged),
        interval_text(row.error, row.low, row.high) + (" *" if row.error >= min(row.grey, row.class_mean) else ""),
        f"{number(row.grey)} / {number(row.class_mean)}",
        interval_text(row.gain, row.gain_low, row.gain_high, sign="+"),
        number(row.recovered, "share"),
        number(row.ssim),
        number(row.psnr_db),
        number(row.mse),
        _uninformed_text(row, "mse"),
        number(row.norm2_removed, "share"),
        *(text for one in metrics for text in (number(getattr(row, one.name)), _uninformed_text(row, one.name))),
    ]


def _uninformed_text(row, metric: str) -> str:
    return " / ".join(number(getattr(row, f"{guess}_{metric}")) for guess in UNINFORMED)


def training_tables(training: pd.DataFrame) -> list[TextTable]:
    """One table a data set, one row a run that trained, with the model after its last round."""
    tables = []
    for dataset, runs in training[training["round"] > 0].groupby("dataset"):
        order = places_of_defenses(runs)
        seconds = runs.groupby(RUN_OF_MODEL)[["train_s", "defense_s"]].sum()
        means = runs.groupby(RUN_OF_MODEL)[["sent_bytes", "nonzero_pruned"]].mean()
        last = last_rounds(runs).drop(columns=[*seconds, *means]).join(seconds.join(means), on=RUN_OF_MODEL)
        last = last.assign(_place=last["defense"].map(order)).sort_values(["model", "partition", "_place", "seed"])
        tables.append(TextTable(dataset, TRAINING_HEADS, [_training_row(row) for row in last.itertuples()], 3))
    return tables


def untrained_models(training: pd.DataFrame) -> list[str]:
    """Data set, model and partition of the models that no run trained."""
    last = training.groupby(["dataset", "model", "partition"])["round"].max()
    return [" · ".join(key) for key in last.index[last == 0]]


def _training_row(row) -> list[str]:
    return [
        row.model,
        row.partition,
        row.defense,
        str(row.seed),
        str(row.round),
        str(row.test_images),
        number(row.test_accuracy),
        number(row.test_loss),
        number(row.train_s),
        number(row.defense_s),
        number(row.dense_bytes / 1000),
        number(row.sent_bytes / 1000),
        number(row.nonzero_pruned, "share"),
    ]


@dataclass(frozen=True)
class Analysis:
    """The tables of one analysis: its title, a few sentences on how to read them, and at least one table."""

    title: str
    note: str
    tables: list[TextTable]


def analyses_for_reading(tables: Mapping[str, pd.DataFrame]) -> list[Analysis]:
    """The analyses that have rows, in order. Args: tables: the final tables by name."""
    return [
        Analysis(analysis.words["title"], analysis.words["note"], analysis.value(tables[name]))
        for name, analysis in registry.in_order("analysis").items()
        if len(tables[name])
    ]
