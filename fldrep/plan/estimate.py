"""What a config means before it is run: jobs, hours and gigabytes, from unit costs measured on this machine.

Importing this module does not import torch: the Snakefile prints the estimate.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fldrep.config.attacks import members_of
from fldrep.config.checking import stable_json
from fldrep.config.datasets import Facts, facts_of
from fldrep.config.engine import EngineSettings
from fldrep.config.theory import EXACT_BYTES, ROWS_BY_UNKNOWN
from fldrep.config.whole import Config
from fldrep.machine.devices import gpus_visible
from fldrep.machine.progress import rough
from fldrep.plan.calibration import Unit, calibrated, costs_of
from fldrep.plan.grid import Grid, grid_of
from fldrep.storage.places import IMAGES, Block, Run, Sent

# Files of a job: outputs, a note of Snakemake's for each, and a log; but for data also a benchmark.
FILES = {"data": 1 + 1 + 1, "train": 2 + 2 + 1 + 1, "attack": 2 + 2 + 1 + 1, "theory": 1 + 1 + 1 + 1}

# What factorisations of a matrix of P rows and columns take, in products of P^3 multiplications (measured, P = 3072).
FACTORISATIONS = 12


@dataclass(frozen=True)
class Estimate:
    """Jobs by kind, hours of computing by kind (one job at a time), gigabytes of results, and jobs without a cost.

    Of the analyses of theory only identifiability is timed; the others take seconds to a minute each. `unseen` are the
    data sets of which nobody knows how many images they have before they are prepared.
    """

    jobs: dict[str, int]
    hours: dict[str, float]
    gigabytes: float
    device: str
    untimed: int = 0
    unseen: tuple[str, ...] = ()

    @property
    def files(self) -> int:
        """Files that the jobs leave: outputs, logs, benchmarks, and Snakemake's notes."""
        return sum(FILES[kind] * count for kind, count in self.jobs.items())

    def sentence(self, cores: int) -> str:
        """One line for a person. Args: cores: how many jobs of one thread run at once; on a GPU one attack does."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.jobs.items() if count)
        jobs = f"{sum(self.jobs.values())} jobs ({kinds}), {self.files} files"
        if self.unseen:
            unseen = ", ".join(self.unseen)
            return f"{jobs}; {self.untimed} of them not yet timed: the size of {unseen} is known once it is prepared"
        if self.untimed:
            return f"{jobs}; {self.untimed} of them not yet timed on this machine: `python -m fldrep estimate` does"
        on_device = self.hours["attack"] + self.hours["theory"]
        at_once = self.hours["train"] / cores + on_device / (1 if self.device == "cuda" else cores)
        return (
            f"{jobs}; about {rough(3600 * sum(self.hours.values()))} of computing on {self.device}, "
            f"{rough(3600 * at_once)} with {cores} at once; {self.gigabytes:.2g} GB of results"
        )


def estimate(
    config: Config,
    device: str | None = None,
    within_s: float = math.inf,
    measure: Callable | None = None,
    results: Path = Path("results"),
) -> Estimate:
    """The cost of a config on a device (the one its attacks would take, if not given).

    Args: within_s: seconds after which no more costs are measured; jobs whose cost is not known then count as untimed;
    results: where finished data sets tell what their records do not.
    """
    costing = Costing.of(config, device, within_s, measure, results)
    grid, timed = costing.grid, list(costing.seconds())
    shards = {(run.dataset, run.partition, run.seed) for run in grid.runs}
    blocks, sent = list(grid.blocks()), list(grid.sent_blocks())
    jobs = {"data": len(grid.datasets()) + len(shards), "train": len(grid.runs), "attack": len(blocks)}
    jobs["theory"] = sum(map(len, grid.analyses().values()))
    untimed = len(grid.runs) + len(blocks) + len(sent) - len(timed)
    if untimed:
        return Estimate(jobs, {}, math.nan, costing.device, untimed, costing.unseen)
    hours = {kind: sum(each for own, _, each in timed if own == kind) / 3600 for kind in ("train", "attack")}
    hours["theory"] = sum(each for own, _, each in timed if own == "identifiability") / 3600
    return Estimate(jobs, hours, _bytes(config, grid, costing.units, costing.costs) / 1e9, costing.device)


@dataclass(frozen=True)
class Costing:
    """A config, its grid, the units that its jobs cost on a device, and the costs of those that are known."""

    config: Config
    grid: Grid
    device: str
    unseen: tuple[str, ...]
    units: "_Units"
    costs: Mapping[Unit, float]

    @classmethod
    def of(
        cls,
        config: Config,
        device: str | None = None,
        within_s: float = math.inf,
        measure: Callable | None = None,
        results: Path = Path("results"),
    ) -> "Costing":
        """Arguments as those of `estimate`."""
        device = device or device_expected(config.engine)
        grid = grid_of(config)
        facts = {name: known_facts(config, name, results / config.name) for name in grid.datasets()}
        unseen = tuple(name for name in facts if not facts[name].countable)
        units = _Units(config, device, facts)
        found = cls(config, grid, device, unseen, units, {})
        wanted = {unit for _, _, own in found._jobs() for unit in own}
        return replace(found, costs=calibrated(wanted, within_s, measure))

    def seconds(self) -> Iterator[tuple[str, Run | Block | Sent, float]]:
        """The name, the identity and the seconds of each job whose cost is known; of theory, identifiability alone."""
        takes = {"train": _train_seconds, "attack": _block_seconds, "identifiability": _sent_seconds}
        start = self.costs.get(self.units.start)
        for name, where, own in self._jobs():
            if start is not None and set(own) <= self.costs.keys():
                yield name, where, start + takes[name](self.config, self.grid, where, self.units, self.costs)

    def _jobs(self) -> Iterator[tuple[str, Run | Block | Sent, Iterable[Unit]]]:
        """Each job that can be timed, with its units; a data set that nobody has seen has none."""
        grid, units = self.grid, self.units
        yield from (("train", run, units.training(run)) for run in grid.runs if run.dataset not in self.unseen)
        blocks, sent = (
            [one for one in some if one.run.dataset not in self.unseen] for some in (grid.blocks(), grid.sent_blocks())
        )
        yield from (("attack", one, units.attack(one, len(grid.targets_of(one)))) for one in blocks)
        yield from (("identifiability", one, units.sent(one)) for one in sent)


def device_expected(engine: EngineSettings) -> str:
    """The kind of device that attacks will take, found without torch."""
    return "cuda" if engine.device == "cuda" or (engine.device == "auto" and gpus_visible()) else "cpu"


def known_facts(config: Config, dataset: str, results: Path) -> Facts:
    """What the record of a data set says, or its finished file below `results` where the record does not say enough."""
    facts = facts_of(dataset, config.data)
    if facts.countable:
        return facts
    try:
        with safe_open(results / IMAGES.format(dataset=dataset), "np") as file:
            tensors = ("train_images", "test_images", "class_means")
            train, test, means = (file.get_slice(tensor).get_shape() for tensor in tensors)
    except (SafetensorError, OSError):  # not there yet, or damaged: the data job will say so
        return facts
    return Facts(shape=tuple(train[1:]), classes=means[0], train_images=train[0], test_images=test[0])


class _Units:
    """The units that the jobs of a config cost. Training runs on the CPU, attacks on `device`."""

    def __init__(self, config: Config, device: str, facts: Mapping[str, Facts]):
        self.config, self.device, self.facts = config, device, facts
        self.start = Unit("start")

    def training(self, run: Run) -> tuple[Unit, ...]:
        """`start`, `local`, `test` and `parameters` of a run."""
        return self.start, *(Unit(kind, **self._of_model(run)) for kind in ("local", "test", "parameters"))

    def attack(self, block: Block, targets: int) -> dict[Unit, int]:
        """What a block's attack costs, and how often; an ensemble at most what its members cost."""
        update, whole = self.config.updates[block.update_kind], self.config.attacks[block.attack]
        facts = self.facts[block.run.dataset]
        counts = {"problem": targets // update.images * whole.restarts, "public image": _public_images(facts)}
        found: Counter[Unit] = Counter()
        for one in members_of(whole).values() or [whole]:
            for kind, section, times, each in costs_of(one):
                of = {"attack": section, "update": stable_json(update), "device": self.device}
                found[Unit(kind, **self._of_model(block.run), **of)] += times * counts[each]
        return found

    def sent(self, sent: Sent) -> tuple[Unit, ...]:
        """`push`, `product` and `parameters` of what a block of clients sends."""
        update, device = stable_json(self.config.updates[sent.update_kind]), self.device
        push = Unit("push", **self._of_model(sent.run), update=update, device=device)
        return push, Unit("product", device=device), self.training(sent.run)[-1]

    def _of_model(self, run: Run) -> dict:
        facts = self.facts[run.dataset]
        model = stable_json(self.config.models[run.model])
        return {"shape": facts.shape, "classes": facts.classes, "model": model, "threads": self.config.engine.threads}


def _public_images(facts: Facts) -> int:
    """How many images the server has of its own: the second half of the test images, as an attack job takes them."""
    return facts.test_images - facts.test_images // 2


def _train_seconds(config: Config, grid: Grid, run: Run, units: _Units, costs: Mapping[Unit, float]) -> float:
    settings, clients = config.train[run.model], config.partitions[run.partition].clients
    facts = units.facts[run.dataset]
    a_round = max(1, round(settings.fraction * clients)) * facts.train_images / clients * settings.local_epochs
    _, local, test, _ = (costs[unit] for unit in units.training(run))
    tested = min(settings.test_images or facts.test_images, facts.test_images)
    return settings.rounds * a_round * local + (settings.rounds + 1) * tested * test


def _block_seconds(config: Config, grid: Grid, block: Block, units: _Units, costs: Mapping[Unit, float]) -> float:
    return sum(times * costs[unit] for unit, times in units.attack(block, len(grid.targets_of(block))).items())


def _sent_seconds(config: Config, grid: Grid, sent: Sent, units: _Units, costs: Mapping[Unit, float]) -> float:
    """A push a pixel, the Gram matrix of as many entries as are held, and factorisations of it."""
    images = config.updates[sent.update_kind].images
    pixels = images * math.prod(units.facts[sent.run.dataset].shape)
    push, product, parameters = (costs[unit] for unit in units.sent(sent))
    entries = parameters if 8 * parameters * pixels <= EXACT_BYTES else ROWS_BY_UNKNOWN * pixels
    algebra = product * (entries * pixels**2 / 2 + FACTORISATIONS * pixels**3) / 1e9
    return len(grid.targets_of(sent)) / images * (pixels * push + algebra)


def _bytes(config: Config, grid: Grid, units: _Units, costs: Mapping[Unit, float]) -> float:
    """Bytes of data, checkpoints and reconstructions (float32), the bulk of the results."""
    total = 0.0
    for facts in units.facts.values():
        total += math.prod(facts.shape) * (facts.train_images + facts.test_images)
    for run in grid.runs:
        total += 4 * costs[units.training(run)[-1]] * len(config.train[run.model].checkpoints)
    for (run, _, _, attack), targets in grid.targets.items():
        total += 4 * targets * (1 + config.attacks[attack].restarts) * math.prod(units.facts[run.dataset].shape)
    return total
