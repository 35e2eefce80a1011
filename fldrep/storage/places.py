"""The names of what a grid makes, and where their files lie. The words in braces are the workflow's wildcards, and the
columns of the tables."""

from dataclasses import asdict, dataclass

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


LEAKAGE = f"theory/{RUN}/round-{{round}}/leakage.parquet"


CERTIFICATE = f"theory/{BLOCK}/certificate.parquet"


ACCOUNTING = f"theory/{RUN}/accounting.parquet"


CONVERGENCE = "theory/{dataset}/{partition}/seed-{seed}/convergence.parquet"


@dataclass(frozen=True, order=True)
class Run:
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

    def path(self, pattern: str) -> str:
        """A file of the run."""
        return pattern.format(**asdict(self))


@dataclass(frozen=True, order=True)
class Checkpoint:
    """The model of a run after a round."""

    run: Run
    round: int

    def path(self, pattern: str) -> str:
        """A file of the checkpoint."""
        return pattern.format(**asdict(self.run), round=self.round)


@dataclass(frozen=True, order=True)
class Split:
    """The images of a data set as a partition deals them to clients."""

    dataset: str
    partition: str
    seed: int

    def path(self, pattern: str) -> str:
        """A file of the split."""
        return pattern.format(**asdict(self))


@dataclass(frozen=True, order=True)
class Block:
    """The targets that one attack job works on, at one checkpoint of a run."""

    run: Run
    round: int
    update_kind: str
    attack: str
    block: int

    def path(self, pattern: str) -> str:
        """A file of the block."""
        names = {name: value for name, value in vars(self).items() if name != "run"}
        return pattern.format(**asdict(self.run), **names)
