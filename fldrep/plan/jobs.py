"""The sections of a config that each job depends on."""

from fldrep.config.data import PHOTO, DataSettings
from fldrep.config.jobs import AccountingJob, AttackJob, CertificateJob, DataJob, LeakageJob, MetricsJob, TrainJob
from fldrep.config.whole import Config
from fldrep.plan.grid import Grid
from fldrep.storage.places import Block, Run


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
        update=config.updates[block.update_kind],
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


def metrics_job(config: Config) -> MetricsJob:
    """What the metrics job depends on."""
    return MetricsJob(
        seeds=config.seeds,
        grid=config.grid,
        block=config.engine.targets_per_job,
        metrics=config.metrics,
        convergence=config.theory.convergence,
    )
