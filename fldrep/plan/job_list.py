"""Every job that a config means, by the rows of `plan.jobs`."""

from collections.abc import Iterable, Iterator

from fldrep.plan.grid import Grid
from fldrep.plan.jobs import JOBS, Job
from fldrep.storage.places import DataSet, Identity, Picture, Split


def jobs_of(grid: Grid, figures: Iterable[str]) -> Iterator[tuple[Job, Identity | None]]:
    """Each job of a grid with what tells it from others of its row, inputs before what is made from them.

    Args: figures: the names of those that are drawn.
    """
    splits = dict.fromkeys([*(Split(run.dataset, run.partition, run.seed) for run in grid.runs), *grid.splits])
    wheres: dict[str, Iterable[Identity]] = {
        "data": dict.fromkeys(DataSet(split.dataset) for split in splits),
        "partition": splits,
        "train": grid.runs,
        "attack": grid.blocks(),
        "identifiability": grid.sent_blocks(),
        "leakage": grid.leaking,
        "certificate": grid.certified_blocks(),
        "convergence": grid.splits,
        "accounting": grid.accounted,
        "figures": map(Picture, figures),
    }
    for name, job in JOBS.items():
        for where in wheres.get(name, [None]):
            yield job, where
