"""The names of what a grid makes, and where their files lie. The words in braces are the workflow's wildcards, and the
columns of the tables."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Self

from fldrep.config.defenses import DefenseSettings

# Under results/<name>:
IMAGES = "data/{dataset}.safetensors"
SHARDS = "data/{dataset}/{partition}/seed-{seed}.parquet"

RUN = "{dataset}/{model}/{partition}/{defense}/seed-{seed}"
TRAINING = f"train/{RUN}/training.parquet"
CHECKPOINTS = f"train/{RUN}/checkpoints.safetensors"

BLOCK = f"{RUN}/round-{{round}}/{{update_kind}}/{{attack}}/block-{{block}}"
ATTACK_RUNS = f"attack/{BLOCK}.parquet"
RECONSTRUCTIONS = f"attack/{BLOCK}.safetensors"

SENT = f"{RUN}/round-{{round}}/{{update_kind}}/block-{{block}}"
IDENTIFIABILITY = f"theory/{SENT}/identifiability.parquet"
LEAKAGE = f"theory/{RUN}/round-{{round}}/leakage.parquet"
CERTIFICATE = f"theory/{BLOCK}/certificate.parquet"
ACCOUNTING = f"theory/{RUN}/accounting.parquet"
CONVERGENCE = "theory/{dataset}/{partition}/seed-{seed}/convergence.parquet"

GALLERY = "metrics/gallery.safetensors"

# Under reports/<name>:
FIGURE = "figures/{figure}.png"
CLAIMS = "claims.parquet"
CLAIMS_PAGE = "claims.html"
REPORT = "report.html"
RECORD = "record.json"

# Of the files that jobs make, those under reports/<name>; the others lie under results/<name>.
OF_REPORTS = frozenset({FIGURE, CLAIMS, CLAIMS_PAGE, REPORT, RECORD})

# What earlier versions made under results/<name>, by names that this one neither reads nor writes.
FORMER = ("metrics/utility.parquet", "train/*/*/*/*/seed-*/history.parquet")


def final_table(name: str) -> str:
    """Where a table of the finished grid lies, under results/<name>."""
    return f"metrics/{name}.parquet"


class Identity:
    """What names one thing that the grid makes; its words are wildcards of the workflow and columns of the tables."""

    @classmethod
    def names(cls) -> dict[str, type]:
        """The words, each with its type, in order.

        >>> list(Split.names())
        ['dataset', 'partition', 'seed']
        """
        found: dict[str, type] = {}
        for field in fields(cls):
            found |= field.type.names() if is_dataclass(field.type) else {field.name: field.type}
        return found

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Self:
        """The thing of given words, numbers as text or not; words of other things are left alone."""
        parts = {
            field.name: field.type.of(words) if is_dataclass(field.type) else field.type(words[field.name])
            for field in fields(cls)
        }
        return cls(**parts)

    def words(self) -> dict[str, object]:
        """The words with their values."""
        found: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            found |= value.words() if isinstance(value, Identity) else {field.name: value}
        return found

    def path(self, pattern: str) -> str:
        """The file that a pattern names for this thing."""
        return pattern.format(**self.words())


@dataclass(frozen=True, order=True)
class DataSet(Identity):
    """The images of a data set."""

    dataset: str


@dataclass(frozen=True, order=True)
class Picture(Identity):
    """A figure of the report."""

    figure: str


@dataclass(frozen=True, order=True)
class Run(Identity):
    """A federated training run."""

    dataset: str
    model: str
    partition: str
    defense: str
    seed: int

    def columns(self, defense: DefenseSettings) -> dict[str, object]:
        """The run as the columns `tables.columns.RUN`."""
        nominal = {key: getattr(defense, key, None) for key in ("method", "rule", "rate", "std")}
        return {**asdict(self), **nominal, "rule": nominal["rule"] or ""}


@dataclass(frozen=True, order=True)
class Checkpoint(Identity):
    """The model of a run after a round."""

    run: Run
    round: int


@dataclass(frozen=True, order=True)
class Split(Identity):
    """The images of a data set as a partition deals them to clients."""

    dataset: str
    partition: str
    seed: int


@dataclass(frozen=True, order=True)
class Sent(Identity):
    """What the clients of a block of targets send at one checkpoint of a run, whatever attacks it."""

    run: Run
    round: int
    update_kind: str
    block: int


@dataclass(frozen=True, order=True)
class Block(Identity):
    """The targets that one attack job works on, at one checkpoint of a run."""

    run: Run
    round: int
    update_kind: str
    attack: str
    block: int
