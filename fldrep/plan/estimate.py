"""What a config means before it is run: jobs, hours and gigabytes, from unit costs measured on this machine.

Importing this module does not import torch: the Snakefile prints the estimate.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from fldrep.config.engine import EngineSettings
from fldrep.config.reading import stable_json
from fldrep.config.whole import Config
from fldrep.machine.devices import gpus_visible
from fldrep.plan.calibration import Unit, attack_section, calibrated
from fldrep.plan.grid import Grid, grid_of
from fldrep.storage.places import Block, Run

# Files of a job: outputs, a note of Snakemake's for each, and a log; but for data also a benchmark.
FILES = {"data": 1 + 1 + 1, "train": 2 + 2 + 1 + 1, "attack": 2 + 2 + 1 + 1, "theory": 1 + 1 + 1 + 1}

# (C, H, W), classes, training images, test images
SIZES = {
    "mnist": ((1, 28, 28), 10, 60_000, 10_000),
    "fashion-mnist": ((1, 28, 28), 10, 60_000, 10_000),
    "cifar10": ((3, 32, 32), 10, 50_000, 10_000),
    "cifar100": ((3, 32, 32), 100, 50_000, 10_000),
    "photo": ((3, 32, 32), 10, 1, 10_000),
}


@dataclass(frozen=True)
class Estimate:
    """Jobs by kind, hours of computing by kind (one job at a time), gigabytes of results, and jobs without a cost.

    Analyses of theory, which take seconds to a minute each, are counted and not timed.
    """

    jobs: dict[str, int]
    hours: dict[str, float]
    gigabytes: float
    device: str
    untimed: int = 0

    @property
    def files(self) -> int:
        """Files that the jobs leave: outputs, logs, benchmarks, and Snakemake's notes."""
        return sum(FILES[kind] * count for kind, count in self.jobs.items())

    def sentence(self, cores: int) -> str:
        """One line for a person. Args: cores: how many jobs of one thread run at once; on a GPU one attack does."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.jobs.items() if count)
        jobs = f"{sum(self.jobs.values())} jobs ({kinds}), {self.files} files"
        if self.untimed:
            return f"{jobs}; {self.untimed} of them not yet timed on this machine: `python -m fldrep estimate` does"
        at_once = self.hours["train"] / cores + self.hours["attack"] / (1 if self.device == "cuda" else cores)
        return (
            f"{jobs}; about {_duration(sum(self.hours.values()))} of computing on {self.device}, "
            f"{_duration(at_once)} with {cores} at once; {self.gigabytes:.2g} GB of results"
        )


def _duration(hours: float) -> str:
    if hours < 2:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"


def estimate(
    config: Config, device: str | None = None, within_s: float = math.inf, measure: Callable | None = None
) -> Estimate:
    """The cost of a config on a device (the one its attacks would take, if not given).

    Args: within_s: seconds after which no more costs are measured; jobs whose cost is not known then count as untimed.
    """
    device = device or device_expected(config.engine)
    grid, costs_of = grid_of(config), _Units(config, device)
    blocks = list(grid.blocks())
    units = {unit for run in grid.runs for unit in costs_of.training(run)}
    costs = calibrated(units | {costs_of.attack(block) for block in blocks}, within_s, measure)
    untimed = [run for run in grid.runs if not set(costs_of.training(run)) <= set(costs)]
    untimed += [block for block in blocks if costs_of.attack(block) not in costs]
    shards = {(run.dataset, run.partition, run.seed) for run in grid.runs}
    jobs = {"data": len(grid.datasets()) + len(shards), "train": len(grid.runs), "attack": len(blocks)}
    jobs["theory"] = sum(map(len, grid.analyses().values()))
    if untimed:
        return Estimate(jobs, {}, math.nan, device, len(untimed))
    start = costs[costs_of.start]
    hours = {
        "train": sum(start + _train_seconds(config, run, costs_of, costs) for run in grid.runs) / 3600,
        "attack": sum(start + _block_seconds(config, grid, one, costs[costs_of.attack(one)]) for one in blocks) / 3600,
    }
    return Estimate(jobs, hours, _bytes(config, grid, costs_of, costs) / 1e9, device)


def device_expected(engine: EngineSettings) -> str:
    """The kind of device that attacks will take, found without torch."""
    return "cuda" if engine.device == "cuda" or (engine.device == "auto" and gpus_visible()) else "cpu"


class _Units:
    """The units that the jobs of a config cost. Training runs on the CPU, attacks on `device`."""

    def __init__(self, config: Config, device: str):
        self.config, self.device = config, device
        self.start = Unit("start")

    def training(self, run: Run) -> tuple[Unit, ...]:
        """`start`, `local`, `test` and `parameters` of a run."""
        return self.start, *(Unit(kind, **self._of_model(run)) for kind in ("local", "test", "parameters"))

    def attack(self, block: Block) -> Unit:
        """One step of a block's attack on one problem."""
        sections = {
            "attack": attack_section(self.config.attacks[block.attack]),
            "update": stable_json(self.config.updates[block.update_kind]),
        }
        return Unit("attack", **self._of_model(block.run), **sections, device=self.device)

    def _of_model(self, run: Run) -> dict:
        shape, classes, _, _ = SIZES[run.dataset]
        model = stable_json(self.config.models[run.model])
        return {"shape": shape, "classes": classes, "model": model, "threads": self.config.engine.threads}


def _train_seconds(config: Config, run: Run, units: _Units, costs: dict[Unit, float]) -> float:
    settings, clients = config.train[run.model], config.partitions[run.partition].clients
    _, _, train_images, test_images = SIZES[run.dataset]
    a_round = max(1, round(settings.fraction * clients)) * train_images / clients * settings.local_epochs
    _, local, test, _ = (costs[unit] for unit in units.training(run))
    tested = min(settings.test_images or test_images, test_images)
    return settings.rounds * a_round * local + (settings.rounds + 1) * tested * test


def _block_seconds(config: Config, grid: Grid, block: Block, step: float) -> float:
    settings = config.attacks[block.attack]
    problems = len(grid.targets_of(block)) // config.updates[block.update_kind].images * settings.restarts
    return problems * settings.iterations * step


def _bytes(config: Config, grid: Grid, units: _Units, costs: dict[Unit, float]) -> float:
    """Bytes of data, checkpoints and reconstructions (float32), the bulk of the results."""
    total = 0.0
    for dataset in grid.datasets():
        shape, _, train_images, test_images = SIZES[dataset]
        total += math.prod(shape) * (train_images + test_images)
    for run in grid.runs:
        total += 4 * costs[units.training(run)[-1]] * len(config.train[run.model].checkpoints)
    for (run, _, _, attack), targets in grid.targets.items():
        total += 4 * targets * (1 + config.attacks[attack].restarts) * math.prod(SIZES[run.dataset][0])
    return total
