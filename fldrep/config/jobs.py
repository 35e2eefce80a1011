"""The sections that each job depends on."""

from pydantic import Field

from fldrep.config.attacks import ChosenAttack
from fldrep.config.data import FolderSettings, PhotoSettings
from fldrep.config.defenses import ChosenDefense
from fldrep.config.engine import EngineSettings
from fldrep.config.grid import GridEntry
from fldrep.config.metrics import MetricSettings
from fldrep.config.models import ChosenModel
from fldrep.config.section import Name, Natural, Positive, Section
from fldrep.config.theory import (
    AccountingSettings,
    CertificateSettings,
    ConvergenceSettings,
    IdentifiabilitySettings,
    LeakageSettings,
)
from fldrep.config.train import TrainSettings
from fldrep.config.updates import UpdateSettings


class DataJob(Section):
    """What the images of a data set depend on; where their files are found is no part of it."""

    photo: PhotoSettings | None = None
    sets: dict[Name, FolderSettings] = Field({})


class TrainJob(Section):
    """The sections a training job depends on."""

    model: ChosenModel
    train: TrainSettings
    defense: ChosenDefense


class AttackJob(Section):
    """The sections an attack job depends on, and the numbers of its targets."""

    model: ChosenModel
    defense: ChosenDefense
    update: UpdateSettings
    attack: ChosenAttack
    engine: EngineSettings
    targets: list[Natural]


class IdentifiabilityJob(Section):
    """The sections an identifiability job depends on, and the numbers of its targets."""

    model: ChosenModel
    defense: ChosenDefense
    update: UpdateSettings
    identifiability: IdentifiabilitySettings
    engine: EngineSettings
    targets: list[Natural]


class LeakageJob(Section):
    """The sections a leakage job depends on."""

    model: ChosenModel
    defense: ChosenDefense
    leakage: LeakageSettings


class CertificateJob(Section):
    """The sections a certificate job depends on, and the numbers of its targets."""

    model: ChosenModel
    defense: ChosenDefense
    certificate: CertificateSettings
    targets: list[Natural]


class AccountingJob(Section):
    """The sections an accounting job depends on."""

    model: ChosenModel
    train: TrainSettings
    defense: ChosenDefense
    accounting: AccountingSettings


class MetricsJob(Section):
    """The sections the metrics job depends on."""

    seeds: list[Natural]
    grid: list[GridEntry]
    block: Positive
    metrics: MetricSettings
    convergence: ConvergenceSettings | None = None
