"""Every job of the workflow, a row each: by what it is named, what it is told, reads and makes, and the code it runs.

The rules of the workflow take their commands, settings and digests from here, and `python -m fldrep run` its arguments.
Importing this module imports neither torch nor the code of a job.
"""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fldrep.config.data import PHOTO
from fldrep.config.jobs import (
    AccountingJob,
    AttackJob,
    CertificateJob,
    DataJob,
    IdentifiabilityJob,
    LeakageJob,
    MetricsJob,
    TrainJob,
)
from fldrep.config.partitions import PartitionSettings
from fldrep.config.section import Section
from fldrep.config.theory import ConvergenceSettings
from fldrep.config.whole import Config
from fldrep.plan import uses
from fldrep.plan.grid import Grid
from fldrep.registry import Entry
from fldrep.storage import places
from fldrep.storage.places import Block, Checkpoint, DataSet, Identity, Picture, Run, Sent, Split
from fldrep.tables.final import FINAL

Settings = Callable[[Config, Grid, Any], Section]  # what one job depends on
Uses = Callable[[Config, Any], uses.Used]  # the registry entries that its code is in
Files = Mapping[str, str | list[str]]  # the pattern of the file of a name, or in a list that of several


class Told(NamedTuple):
    """What a rule tells its job beside settings and files: what the rule fills in, its type and its meaning."""

    filled: str
    type: type
    meaning: str


@dataclass(frozen=True)
class Job:
    """A row: see the fields. A pattern is one of `storage.places`, with the words of the identity in braces.

    `of`: what tells one job of this kind from another (None: there is one). `section`: the type of its settings.
    `inputs` and `outputs` are arguments of its command; `found` are inputs that it finds by its settings; `log` is the
    pattern of its log, under logs/<name>. Its code is that of the entry and of what it `uses`. In the environment
    `plots` no plug-in is loaded.
    """

    name: str
    does: str
    entry: str  # MODULE:FUNCTION, imported on use; called with the identity, the settings, and the rest by its name
    _: KW_ONLY
    of: type[Identity] | None = None
    section: type[Section] | None = None
    settings: Settings | None = None
    inputs: Files = field(default_factory=dict)
    found: Files = field(default_factory=dict)
    outputs: Files
    log: str
    told: Mapping[str, Told] = field(default_factory=dict)
    uses: Uses = lambda config, where: ()
    environment: Literal["torch", "plots"] = "torch"

    @property
    def files(self) -> Files:
        """Inputs and outputs that are arguments."""
        return {**self.inputs, **self.outputs}

    def where(self, words: Mapping[str, Any]) -> Identity | None:
        """The identity of one job from its words, such as the workflow's wildcards."""
        return self.of.of(words) if self.of else None

    def code(self, config: Config, where: Any) -> list[str | Entry]:
        """What the digest of one job's code is of."""
        used = (uses.code_of(*one) for one in self.uses(config, where))
        return [self.entry.partition(":")[0], *chain.from_iterable(used)]

    def command(self) -> str:
        """The shell command of its rule, in Snakemake's braces."""
        words = {name: f"{{wildcards.{name}}}" for name in self.of.names()} if self.of else {}
        words |= {"settings": "{params.settings:q}"} if self.section else {}
        words |= {name: f"{{input.{name}:q}}" for name in self.inputs}
        words |= {name: f"{{output.{name}:q}}" for name in self.outputs}
        words |= {name: one.filled for name, one in self.told.items()}
        options = " ".join(f"{flag(name)} {value}" for name, value in words.items())
        return f"python -m fldrep run {self.name} {options} {{params.plugins}} > {{log:q}} 2>&1"


def flag(name: str) -> str:
    """The option of the command line that has a name."""
    return f"--{name.replace('_', '-')}"


# What jobs depend on -------------------------------------------------------------------------------------------------


def data_job(config: Config, grid: Grid, where: DataSet) -> DataJob:
    """What the images of a data set depend on: only `photo` on the photo, none on where files are found."""
    data = config.data.without_places()
    own = {name: one for name, one in data.sets.items() if name == where.dataset}
    return DataJob(photo=data.photo if where.dataset == PHOTO else None, sets=own)


def train_job(config: Config, grid: Grid, run: Run) -> TrainJob:
    """What a training run depends on."""
    return TrainJob(model=config.models[run.model], train=config.train[run.model], defense=config.defenses[run.defense])


def attack_job(config: Config, grid: Grid, block: Block) -> AttackJob:
    """What an attack job depends on."""
    return AttackJob(
        model=config.models[block.run.model],
        defense=config.defenses[block.run.defense],
        update=config.updates[block.update_kind],
        attack=config.attacks[block.attack],
        engine=config.engine,
        targets=grid.targets_of(block),
    )


def identifiability_job(config: Config, grid: Grid, sent: Sent) -> IdentifiabilityJob:
    """What an identifiability job depends on."""
    return IdentifiabilityJob(
        model=config.models[sent.run.model],
        defense=config.defenses[sent.run.defense],
        update=config.updates[sent.update_kind],
        identifiability=config.theory.identifiability,
        engine=config.engine,
        targets=grid.targets_of(sent),
    )


def leakage_job(config: Config, grid: Grid, where: Checkpoint) -> LeakageJob:
    """What a leakage job depends on."""
    run = where.run
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


def accounting_job(config: Config, grid: Grid, run: Run) -> AccountingJob:
    """What an accounting job depends on."""
    return AccountingJob(**dict(train_job(config, grid, run)), accounting=config.theory.accounting)


def metrics_job(config: Config, grid: Grid, where: None) -> MetricsJob:
    """What the metrics job depends on."""
    return MetricsJob(
        seeds=config.seeds,
        grid=config.grid,
        block=config.engine.targets_per_job,
        metrics=config.metrics,
        convergence=config.theory.convergence,
    )


def without_places(config: Config) -> Config:
    """The config that results are of: where the files of data sets were found, and plug-ins lie, is no part of it."""
    names = [name.rpartition("/")[2] for name in config.plugins]
    return config.model_copy(update={"data": config.data.without_places(), "plugins": names})


# The rows -------------------------------------------------------------------------------------------------------------

TABLES = {name: places.final_table(name) for name in FINAL}
CODE = {"code": Told("{params.code}", str, "digest of the code, recorded in the table")}

JOBS = {
    job.name: job
    for job in (
        Job(
            "data",
            "Fetch, check and store a data set.",
            "fldrep.data.jobs.images:data_job",
            log="data/{dataset}.log",
            of=DataSet,
            section=DataJob,
            settings=data_job,
            outputs={"images": places.IMAGES},
            told={
                "places": Told("{params.places:q}", str, "the config's section `data` as JSON: where files are found")
            },
            uses=uses.by_dataset,
        ),
        Job(
            "partition",
            "Split the training images of a data set among clients.",
            "fldrep.data.jobs.partition:partition_job",
            log="data/{dataset}/{partition}/seed-{seed}.log",
            of=Split,
            section=PartitionSettings,
            settings=lambda config, grid, split: config.partitions[split.partition],
            inputs={"images": places.IMAGES},
            outputs={"shards": places.SHARDS},
        ),
        Job(
            "train",
            "Train by FedAvg, with a defense in each client.",
            "fldrep.train.job:train_run",
            log=f"train/{places.RUN}.log",
            of=Run,
            section=TrainJob,
            settings=train_job,
            inputs={"images": places.IMAGES, "shards": places.SHARDS},
            outputs={"training": places.TRAINING, "checkpoints": places.CHECKPOINTS},
            told=CODE | {"threads": Told("{threads}", int, "clients trained at a time")},
            uses=uses.by_run,
        ),
        Job(
            "attack",
            "Attack a block of targets at one checkpoint of a training run.",
            "fldrep.attack.job:attack_block",
            log=f"attack/{places.BLOCK}.log",
            of=Block,
            section=AttackJob,
            settings=attack_job,
            inputs={"images": places.IMAGES, "shards": places.SHARDS, "checkpoints": places.CHECKPOINTS},
            outputs={"attack_runs": places.ATTACK_RUNS, "reconstructions": places.RECONSTRUCTIONS},
            told=CODE,
            uses=uses.by_block,
        ),
        Job(
            "identifiability",
            "Measure what the updates of a block of targets determine of their images.",
            "fldrep.theory.jobs.identifiability:identifiability_job",
            log=f"theory/{places.SENT}/identifiability.log",
            of=Sent,
            section=IdentifiabilityJob,
            settings=identifiability_job,
            inputs={"images": places.IMAGES, "shards": places.SHARDS, "checkpoints": places.CHECKPOINTS},
            outputs={"identifiability": places.IDENTIFIABILITY},
            told=CODE,
            uses=uses.by_run_of,
        ),
        Job(
            "leakage",
            "Read representations and labels from updates at one checkpoint of a training run.",
            "fldrep.theory.jobs.leakage:leakage_job",
            log=f"theory/{places.RUN}/round-{{round}}/leakage.log",
            of=Checkpoint,
            section=LeakageJob,
            settings=leakage_job,
            inputs={"images": places.IMAGES, "shards": places.SHARDS, "checkpoints": places.CHECKPOINTS},
            outputs={"leakage": places.LEAKAGE},
            told=CODE,
            uses=uses.by_run_of,
        ),
        Job(
            "certificate",
            "Check theorem 1 on what an attack job found.",
            "fldrep.theory.jobs.certificate:certificate_job",
            log=f"theory/{places.BLOCK}/certificate.log",
            of=Block,
            section=CertificateJob,
            settings=certificate_job,
            inputs={
                "images": places.IMAGES,
                "checkpoints": places.CHECKPOINTS,
                "reconstructions": places.RECONSTRUCTIONS,
            },
            outputs={"certificate": places.CERTIFICATE},
            told=CODE,
            uses=uses.by_run_of,
        ),
        Job(
            "convergence",
            "Check theorem 2 on softmax regression over the images of a few clients.",
            "fldrep.theory.jobs.convergence:convergence_job",
            log="theory/{dataset}/{partition}/seed-{seed}/convergence.log",
            of=Split,
            section=ConvergenceSettings,
            settings=lambda config, grid, split: config.theory.convergence,
            inputs={"images": places.IMAGES, "shards": places.SHARDS},
            outputs={"convergence": places.CONVERGENCE},
            told=CODE,
        ),
        Job(
            "accounting",
            "Account for the (epsilon, delta) that a client spends over a training run.",
            "fldrep.theory.jobs.accounting:accounting_job",
            log=f"theory/{places.RUN}/accounting.log",
            of=Run,
            section=AccountingJob,
            settings=accounting_job,
            inputs={"images": places.IMAGES, "shards": places.SHARDS},
            outputs={"accounting": places.ACCOUNTING},
            told=CODE,
            uses=uses.by_run,
        ),
        Job(
            "metrics",
            "Judge every reconstruction of the grid; gather the training histories and the analyses.",
            "fldrep.metrics.job:metrics_job",
            log="metrics.log",
            section=MetricsJob,
            settings=metrics_job,
            # More files than a command line can hold.
            found={
                "attack_runs": [places.ATTACK_RUNS],
                "reconstructions": [places.RECONSTRUCTIONS],
                "training": [places.TRAINING],
                "images": [places.IMAGES],
                "identifiability": [places.IDENTIFIABILITY],
                "leakage": [places.LEAKAGE],
                "certificate": [places.CERTIFICATE],
                "convergence": [places.CONVERGENCE],
                "accounting": [places.ACCOUNTING],
            },
            outputs=TABLES | {"gallery": places.GALLERY},
            told=CODE | {"results": Told("{params.results:q}", Path, "the folder of all files of the grid")},
            uses=lambda config, where: [*uses.by_metrics(), *uses.by_tables(), *uses.by_looks(config)],
        ),
        Job(
            "figures",
            "Draw one figure from the tables that it reads.",
            "fldrep.figures.job:figure_job",
            log="figures/{figure}.log",
            of=Picture,
            inputs=TABLES | {"gallery": places.GALLERY},
            outputs={"picture": places.FIGURE},
            uses=uses.by_figure,
            environment="plots",
        ),
        Job(
            "claims",
            "Judge the claims of the paper and of this audit on the final tables.",
            "fldrep.report.jobs.claims:claims_job",
            log="claims.log",
            section=Config,
            settings=lambda config, grid, where: without_places(config),
            inputs=TABLES,
            outputs={"table": places.CLAIMS, "page": places.CLAIMS_PAGE},
            uses=lambda config, where: uses.by_claims(),
            told={"command": Told("{params.command:q}", str, "what makes the claims again")},
            environment="plots",
        ),
        Job(
            "report",
            "Write the page, one self-contained file, and the record of the run beside it.",
            "fldrep.report.jobs.page:report_job",
            log="report.log",
            section=Config,
            settings=lambda config, grid, where: without_places(config),
            inputs=TABLES | {"claims": places.CLAIMS, "figures": [places.FIGURE], "gallery": places.GALLERY},
            outputs={"page": places.REPORT, "record": places.RECORD},
            uses=lambda config, where: uses.by_page(),
            environment="plots",
        ),
    )
}
