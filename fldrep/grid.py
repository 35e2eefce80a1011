"""From a config to the jobs it means and the files they make: plain Python, no torch.

The Snakefile and the command line share it, so a path is written down once. The words in braces are the workflow's
wildcards, and the columns of the tables.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product

from fldrep.errors import ConfigError
from fldrep.settings import (
    PHOTO,
    AccountingJob,
    AttackJob,
    CertificateJob,
    Config,
    ConvergenceSettings,
    DataJob,
    DataSettings,
    DefenseSettings,
    GridEntry,
    LeakageJob,
    MetricsJob,
    TrainJob,
)

# Under results/<name>:
IMAGES = "data/{dataset}.safetensors"
SHARDS = "data/{dataset}/{partition}/seed-{seed}.parquet"
RUN = "{dataset}/{model}/{partition}/{defense}/seed-{seed}"
HISTORY = f"train/{RUN}/history.parquet"
CHECKPOINTS = f"train/{RUN}/checkpoints.safetensors"
BLOCK = f"{RUN}/round-{{round}}/{{sent}}/{{attack}}/block-{{block}}"
ATTEMPTS = f"attack/{BLOCK}.parquet"
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
        """The run as the columns `records.RUN`."""
        nominal = {"method": defense.method, "rule": defense.rule or "", "rate": defense.rate, "std": defense.std}
        return {**asdict(self), **nominal}

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
class Deal:
    """The images of a data set as a partition deals them to clients."""

    dataset: str
    partition: str
    seed: int

    def path(self, pattern: str) -> str:
        """A file of the deal."""
        return pattern.format(**asdict(self))


@dataclass(frozen=True, order=True)
class Block:
    """The targets that one attack job works on, at one checkpoint of a run."""

    run: Run
    round: int
    sent: str
    attack: str
    block: int

    def path(self, pattern: str) -> str:
        """A file of the block."""
        names = {name: value for name, value in vars(self).items() if name != "run"}
        return pattern.format(**asdict(self.run), **names)


class Grid:
    """All jobs of the entries of a config, each once, in a stable order; `block_size` targets in a job.

    `runs` are trained and `targets` of a run at a round attacked; theorem 1 is checked on what the `certified` attacks
    find, theorem 2 on each of `deals`; `leaking` checkpoints and `accounted` runs are analysed.
    """

    def __init__(
        self,
        entries: list[GridEntry],
        seeds: list[int],
        block_size: int,
        convergence: ConvergenceSettings | None = None,
    ):
        self.block_size = block_size
        self.targets: dict[tuple[Run, int, str, str], int] = {}
        self.certified: set[tuple[Run, int, str, str]] = set()
        runs: dict[Run, None] = {}
        leaking: dict[Checkpoint, None] = {}
        accounted: dict[Run, None] = {}
        for position, entry in enumerate(entries):
            axes = (entry.datasets, entry.models, entry.partitions, entry.defenses, seeds)
            for run in (Run(*values) for values in product(*axes)):
                runs[run] = None
                for cell in product(entry.rounds, entry.updates, entry.attacks):
                    known = self.targets.setdefault((run, *cell), entry.targets)
                    if known != entry.targets:
                        raise ConfigError(
                            f"grid[{position}].targets: {entry.targets}, but another entry asks for {known} targets "
                            f"of {cell[-1]!r} on the same run {run}"
                        )
                    if "certificate" in entry.theory:
                        self.certified.add((run, *cell))
                if "leakage" in entry.theory:
                    leaking |= dict.fromkeys(Checkpoint(run, round) for round in entry.rounds)
                if "accounting" in entry.theory:
                    accounted[run] = None
        self.runs, self.leaking, self.accounted = list(runs), list(leaking), list(accounted)
        axes = (convergence.datasets, convergence.partitions, seeds) if convergence else ((), (), ())
        self.deals = [Deal(*values) for values in product(*axes)]

    def blocks(self) -> Iterator[Block]:
        """Every attack job."""
        for cell, targets in self.targets.items():
            for block in range(-(-targets // self.block_size)):
                yield Block(*cell, block)

    def analyses(self) -> dict[str, list[str]]:
        """Every file of the theory stage, by table."""
        certified = (one for one in self.blocks() if (one.run, one.round, one.sent, one.attack) in self.certified)
        return {
            "leakage": [checkpoint.path(LEAKAGE) for checkpoint in self.leaking],
            "certificate": [block.path(CERTIFICATE) for block in certified],
            "convergence": [deal.path(CONVERGENCE) for deal in self.deals],
            "accounting": [run.path(ACCOUNTING) for run in self.accounted],
        }

    def targets_of(self, block: Block) -> list[int]:
        """Numbers of the targets of a block. Errors: `ConfigError` where the grid has no such block."""
        targets = self.targets.get((block.run, block.round, block.sent, block.attack), 0)
        found = list(range(block.block * self.block_size, min(targets, (block.block + 1) * self.block_size)))
        if not found:
            raise ConfigError(f"the grid has no {block}")
        return found

    def datasets(self) -> list[str]:
        """Every data set that a run needs."""
        return list(dict.fromkeys(run.dataset for run in self.runs))


def grid_of(config: Config) -> Grid:
    """The grid of a whole config."""
    return Grid(config.grid, config.seeds, config.engine.block, config.theory.convergence)


def data_job(config: Config, dataset: str) -> DataJob:
    """What the images of a data set depend on: only `photo` on the photo, none on where files are found."""
    return DataJob(photo=config.data.photo if dataset == PHOTO else None)


def without_places(config: Config) -> Config:
    """The config that results are of: where the files of data sets were found is no part of it."""
    return config.model_copy(update={"data": DataSettings(photo=config.data.photo)})


def train_job(config: Config, run: Run) -> TrainJob:
    """What a training run depends on."""
    return TrainJob(model=config.models[run.model], train=config.train[run.model], defense=config.defenses[run.defense])


def attack_job(config: Config, grid: Grid, block: Block) -> AttackJob:
    """What an attack job depends on."""
    return AttackJob(
        model=config.models[block.run.model],
        defense=config.defenses[block.run.defense],
        update=config.updates[block.sent],
        attack=config.attacks[block.attack],
        engine=config.engine,
        targets=grid.targets_of(block),
    )


def leakage_job(config: Config, run: Run) -> LeakageJob:
    """What a leakage job depends on."""
    return LeakageJob(
        model=config.models[run.model], defense=config.defenses[run.defense], leakage=config.theory.leakage
    )


def certificate_job(config: Config, grid: Grid, block: Block) -> CertificateJob:
    """What a certificate job depends on."""
    return CertificateJob(
        model=config.models[block.run.model],
        defense=config.defenses[block.run.defense],
        certificate=config.theory.certificate,
        targets=grid.targets_of(block),
    )


def accounting_job(config: Config, run: Run) -> AccountingJob:
    """What an accounting job depends on."""
    return AccountingJob(**dict(train_job(config, run)), accounting=config.theory.accounting)


def summary(config: Config, grid: Grid) -> str:
    """One line that says what a config asks for."""
    blocks = sum(1 for _ in grid.blocks())
    targets = sum(grid.targets.values())
    return (
        f"{config.name}: {len(grid.datasets())} data sets, {len(grid.runs)} training runs, "
        f"{blocks} attack jobs on {targets} targets, {sum(map(len, grid.analyses().values()))} analyses"
    )


def metrics_job(config: Config) -> MetricsJob:
    """What the metrics job depends on."""
    return MetricsJob(
        seeds=config.seeds,
        grid=config.grid,
        block=config.engine.block,
        metrics=config.metrics,
        convergence=config.theory.convergence,
    )
