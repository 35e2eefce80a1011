"""What a config means before it is run: jobs, hours and gigabytes, from a short calibration on this device.

The unit costs are measured with the package's public Python face; a grid's cost is their sum over its jobs.
"""

import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

import fldrep
from fldrep.grid import Block, Grid, Run, grid_of, train_job
from fldrep.models import Model, build_model
from fldrep.settings import Config, ModelSettings

# (C, H, W), classes, training images, test images
SIZES = {
    "mnist": ((1, 28, 28), 10, 60_000, 10_000),
    "fashion-mnist": ((1, 28, 28), 10, 60_000, 10_000),
    "cifar10": ((3, 32, 32), 10, 50_000, 10_000),
    "cifar100": ((3, 32, 32), 100, 50_000, 10_000),
    "photo": ((3, 32, 32), 10, 1, 10_000),
}
PROBLEMS = 4  # targets attacked in the calibration


@dataclass(frozen=True)
class Estimate:
    """Jobs by kind, hours of computing by kind (one job at a time), and gigabytes of results."""

    jobs: dict[str, int]
    hours: dict[str, float]
    gigabytes: float
    device: str

    def sentence(self, cores: int) -> str:
        """One line for a person. Args: cores: how many one-thread jobs run at once."""
        total = sum(self.hours.values())
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.jobs.items())
        return (
            f"{sum(self.jobs.values())} jobs ({kinds}); about {_duration(total)} of computing on {self.device}, "
            f"{_duration(total / cores)} with {cores} jobs at once; {self.gigabytes:.2g} GB of results"
        )


def _duration(hours: float) -> str:
    if hours < 2:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"


def estimate(config: Config, device: str = "cpu") -> Estimate:
    """The cost of a config, from a calibration of each model and attack it names (seconds to a minute)."""
    grid = grid_of(config)
    overhead = start_seconds()
    attack = {key: attack_seconds(config, key, device) for key in {_attack_key(block) for block in grid.blocks()}}
    step = {key: training_seconds(config, key, device) for key in {(run.dataset, run.model) for run in grid.runs}}
    blocks = list(grid.blocks())
    hours = {
        "train": sum(overhead + _train_seconds(config, run, step) for run in grid.runs) / 3600,
        "attack": sum(overhead + _block_seconds(config, grid, block, attack) for block in blocks) / 3600,
    }
    shards = {(run.dataset, run.partition, run.seed) for run in grid.runs}
    jobs = {"data": len(grid.datasets()) + len(shards), "train": len(grid.runs), "attack": len(blocks)}
    return Estimate(jobs, hours, _bytes(config, grid) / 1e9, device)


def start_seconds() -> float:
    """Seconds until a job has started: Python, torch and this package."""
    return _seconds(lambda: subprocess.run([sys.executable, "-c", "import torch, fldrep.attack.engine"], check=True))


def attack_seconds(config: Config, key: tuple[str, str, str], device: str) -> float:
    """Seconds of one optimiser step of one problem (target x restart)."""
    dataset, model_name, attack_name = key
    model, (images, labels) = _model(config.models[model_name], dataset, device), _random_images(dataset, device)
    settings = config.attacks[attack_name]
    known = None if settings.preset.endswith("dlg") else labels
    options = {} if settings.inner_iterations is None else {"inner_iterations": settings.inner_iterations}
    update = fldrep.defend(
        fldrep.client_update(model, images, labels), "soteria", rate=0.5, model=model, images=images, labels=labels
    )

    def attack(steps: int) -> None:
        fldrep.reconstruct(model, update, known, settings.preset, steps, normalisation=dataset, **options)

    attack(1)  # the first call pays for what later ones find ready
    return max(_seconds(lambda: attack(4)) - _seconds(lambda: attack(1)), 0.0) / 3 / PROBLEMS


def training_seconds(config: Config, key: tuple[str, str], device: str) -> tuple[float, float]:
    """Seconds an image of local training, and of evaluation."""
    dataset, model_name = key
    model = _model(config.models[model_name], dataset, device)
    images, labels = _random_images(dataset, device, 32)

    def local_step() -> None:
        cross_entropy(model(images), labels).backward()

    def evaluation() -> None:
        with torch.no_grad():
            model(images)

    local_step()
    return _seconds(local_step) / 32, _seconds(evaluation) / 32


def _model(settings: ModelSettings, dataset: str, device: str) -> Model:
    shape, classes, _, _ = SIZES[dataset]
    return (
        build_model(settings.architecture, shape, classes, init=settings.init, width=settings.width).eval().to(device)
    )


def _random_images(dataset: str, device: str, count: int = PROBLEMS) -> tuple[torch.Tensor, torch.Tensor]:
    shape, classes, _, _ = SIZES[dataset]
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(count, *shape, generator=drawn)
    return images.to(device), torch.arange(count, device=device) % classes


def _attack_key(block: Block) -> tuple[str, str, str]:
    return block.run.dataset, block.run.model, block.attack


def _train_seconds(config: Config, run: Run, step: dict[tuple[str, str], tuple[float, float]]) -> float:
    settings, clients = train_job(config, run).train, config.partitions[run.partition].clients
    _, _, train_images, test_images = SIZES[run.dataset]
    a_round = max(1, round(settings.fraction * clients)) * train_images / clients * settings.local_epochs
    local, evaluation = step[run.dataset, run.model]
    tested = min(settings.test_images or test_images, test_images)
    return settings.rounds * a_round * local + (settings.rounds + 1) * tested * evaluation


def _block_seconds(config: Config, grid: Grid, block: Block, attack: dict[tuple[str, str, str], float]) -> float:
    settings = config.attacks[block.attack]
    problems = len(grid.targets_of(block)) * settings.restarts
    return problems * settings.iterations * attack[_attack_key(block)]


def _bytes(config: Config, grid: Grid) -> float:
    """Bytes of data, checkpoints and reconstructions (float32), the bulk of the results."""
    total = 0.0
    for dataset in grid.datasets():
        shape, _, train_images, test_images = SIZES[dataset]
        total += math.prod(shape) * (train_images + test_images)
    for run in grid.runs:
        parameters = sum(value.numel() for value in _model(config.models[run.model], run.dataset, "cpu").parameters())
        total += 4 * parameters * len(config.train[run.model].checkpoints)
    for (run, _, attack), targets in grid.targets.items():
        total += 4 * targets * (1 + config.attacks[attack].restarts) * math.prod(SIZES[run.dataset][0])
    return total


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
