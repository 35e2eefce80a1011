"""From a config to the runs, attacks and analyses that it means: plain Python, no torch."""

from collections.abc import Iterator
from itertools import product

from fldrep.config.grid import GridEntry
from fldrep.config.theory import ConvergenceSettings
from fldrep.config.whole import Config
from fldrep.errors import ConfigError
from fldrep.storage.places import (
    ACCOUNTING,
    CERTIFICATE,
    CONVERGENCE,
    IDENTIFIABILITY,
    LEAKAGE,
    Block,
    Checkpoint,
    Run,
    Sent,
    Split,
)


class Grid:
    """All jobs of the entries of a config, each once, in a stable order; `block_size` targets in a job.

    `runs` are trained and `targets` of a run at a round attacked; theorem 1 is checked on what the `certified` attacks
    find, theorem 2 on each of `splits`; `leaking` checkpoints and `accounted` runs are analysed, and so many targets of
    what is `sent` by a run at a round.
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
        self.sent: dict[tuple[Run, int, str], int] = {}
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
                if "identifiability" in entry.theory:
                    for what in product(entry.rounds, entry.updates):
                        self.sent[(run, *what)] = max(entry.targets, self.sent.get((run, *what), 0))
                if "leakage" in entry.theory:
                    leaking |= dict.fromkeys(Checkpoint(run, round) for round in entry.rounds)
                if "accounting" in entry.theory:
                    accounted[run] = None
        self.runs, self.leaking, self.accounted = list(runs), list(leaking), list(accounted)
        axes = (convergence.datasets, convergence.partitions, seeds) if convergence else ((), (), ())
        self.splits = [Split(*values) for values in product(*axes)]

    def blocks(self) -> Iterator[Block]:
        """Every attack job."""
        for cell, targets in self.targets.items():
            for block in range(-(-targets // self.block_size)):
                yield Block(*cell, block)

    def certified_blocks(self) -> Iterator[Block]:
        """Every attack job on whose images theorem 1 is checked."""
        for block in self.blocks():
            if (block.run, block.round, block.update_kind, block.attack) in self.certified:
                yield block

    def sent_blocks(self) -> Iterator[Sent]:
        """Every job that asks what updates determine."""
        for what, targets in self.sent.items():
            for block in range(-(-targets // self.block_size)):
                yield Sent(*what, block)

    def analyses(self) -> dict[str, list[str]]:
        """Every file of the theory stage, by table."""
        return {
            "identifiability": [one.path(IDENTIFIABILITY) for one in self.sent_blocks()],
            "leakage": [checkpoint.path(LEAKAGE) for checkpoint in self.leaking],
            "certificate": [block.path(CERTIFICATE) for block in self.certified_blocks()],
            "convergence": [split.path(CONVERGENCE) for split in self.splits],
            "accounting": [run.path(ACCOUNTING) for run in self.accounted],
        }

    def targets_of(self, block: Block | Sent) -> list[int]:
        """Numbers of the targets of a block. Errors: `ConfigError` where the grid has no such block."""
        what = block.run, block.round, block.update_kind
        targets = self.sent.get(what, 0) if isinstance(block, Sent) else self.targets.get((*what, block.attack), 0)
        found = list(range(block.block * self.block_size, min(targets, (block.block + 1) * self.block_size)))
        if not found:
            raise ConfigError(f"the grid has no {block}")
        return found

    def datasets(self) -> list[str]:
        """Every data set that a run needs."""
        return list(dict.fromkeys(run.dataset for run in self.runs))


def grid_of(config: Config) -> Grid:
    """The grid of a whole config."""
    return Grid(config.grid, config.seeds, config.engine.targets_per_job, config.theory.convergence)


def summary(config: Config, grid: Grid) -> str:
    """One line that says what a config asks for."""
    blocks = sum(1 for _ in grid.blocks())
    targets = sum(grid.targets.values())
    return (
        f"{config.name}: {len(grid.datasets())} data sets, {len(grid.runs)} training runs, "
        f"{blocks} attack jobs on {targets} targets, {sum(map(len, grid.analyses().values()))} analyses"
    )
