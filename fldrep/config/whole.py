"""The whole config: one file, one grid."""

from pydantic import field_validator, model_validator

from fldrep.config.attacks import ChosenAttack
from fldrep.config.contradictions import check_convergence, check_entry, check_names
from fldrep.config.data import DataSettings
from fldrep.config.defenses import ChosenDefense
from fldrep.config.engine import EngineSettings
from fldrep.config.grid import GridEntry
from fldrep.config.metrics import MetricSettings
from fldrep.config.models import ChosenModel
from fldrep.config.partitions import PartitionSettings
from fldrep.config.section import Name, Natural, Section, option
from fldrep.config.series import with_series
from fldrep.config.theory import TheorySettings
from fldrep.config.train import TrainSettings
from fldrep.config.updates import SINGLE, UpdateSettings


class Config(Section):
    """The whole config: one file, one grid."""

    name: Name = option(..., "results go to results/<name>, figures and page to reports/<name>")
    seeds: list[Natural] = option([0], "independent repetitions of the whole grid", min_length=1)
    plugins: list[str] = option(
        [],
        "Python files that add defenses, models and so on; as seen from the working directory, else from the config's",
    )
    data: DataSettings = option(DataSettings(), "where the images come from")
    partitions: dict[Name, PartitionSettings] = option(..., "named ways to deal images to clients")
    models: dict[Name, ChosenModel] = option(..., "named networks")
    train: dict[Name, TrainSettings] = option(..., "federated training, by the model's name")
    defenses: dict[Name, ChosenDefense] = option(
        ...,
        "named defenses; where `rate` is a list, one for each: `soteria` at [0.4, 0.125] is `soteria-40` and"
        " `soteria-12p5`, and `soteria` in the grid means both",
    )
    updates: dict[Name, UpdateSettings] = option(
        {}, "named kinds of update; `single`, one image and one step, is always there"
    )
    attacks: dict[Name, ChosenAttack] = option({}, "named attacks")
    grid: list[GridEntry] = option(..., "what is run", min_length=1)
    engine: EngineSettings = option(EngineSettings(), "how attacks are computed")
    metrics: MetricSettings = option(MetricSettings(), "how reconstructions are judged")
    theory: TheorySettings = option(TheorySettings(), "how the paper's theory is checked")

    @model_validator(mode="before")
    @classmethod
    def _with_series(cls, given):
        return with_series(given)

    @field_validator("updates")
    @classmethod
    def _with_single(cls, given):
        plain = UpdateSettings()
        if given.get(SINGLE, plain) != plain:
            raise ValueError(f"{SINGLE!r} means one image and one step; choose another name for another update")
        return {SINGLE: plain, **given}

    @model_validator(mode="after")
    def _check(self):
        check_convergence(self)
        check_names(self)
        for position, entry in enumerate(self.grid):
            check_entry(self, entry, f"grid[{position}]")
        return self
