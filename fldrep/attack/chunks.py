"""Problems worked in chunks of a fixed size; a chunk that does not fit into memory is halved and worked again."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields

import torch

from fldrep.attack.problem import Course, Numbers, Outcome
from fldrep.attack.resume import Keeper
from fldrep.config.attacks import AttackSettings
from fldrep.errors import ConfigError
from fldrep.machine.memory import halved, ran_out

logger = logging.getLogger(__name__)


def in_chunks(
    worked: Callable[[Numbers, int, Course], Outcome],
    numbers: Numbers,
    chunk: int,
    tick: Callable[[int, int], None],
    keeper: Keeper,
) -> tuple[list[Outcome], list[int]]:
    """Work all problems, `chunk` at once; returns the outcomes, and for each problem how many were worked at once.

    Where memory runs out, the chunk is halved and worked again; what was done before, by this job or by a killed one,
    is kept. Errors: `ConfigError` where a single problem does not fit.
    """
    outcomes, sizes = [], []
    while len(sizes) < len(numbers):
        if (kept := keeper.finished()) is not None:
            sizes += kept["chunk"].tolist()
            outcomes.append(Outcome(**{field.name: kept[field.name] for field in fields(Outcome)}))
            tick(int(outcomes[-1].iterations.max()), len(outcomes[-1].iterations))
            continue
        some, steps = numbers[len(sizes) : len(sizes) + chunk], []

        def counted(done: int, some: Numbers = some, steps: list[int] = steps) -> None:
            steps.append(done)
            tick(done, len(some))

        try:
            outcomes.append(worked(some, chunk, Course(counted, keeper)))
            sizes += [chunk] * len(some)
            keeper.finish(vars(outcomes[-1]) | {"chunk": torch.full((len(some),), chunk)})
            continue
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            if chunk == 1:
                raise ConfigError(
                    f"engine.problems_at_once: not even one problem fits into memory: {_line(error)}"
                ) from None
        tick(-sum(steps), len(some))  # out of the handler, whose error holds on to the chunk's tensors
        logger.warning("a chunk of %d problems does not fit into memory; going on with %d", chunk, halved(chunk))
        chunk = halved(chunk)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    return outcomes, sizes


def as_it_is(function: Callable) -> Callable:
    """What hastens nothing."""
    return function


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def ticking(progress: Callable | None, settings: AttackSettings, problems: int) -> Iterator[Callable[[int, int], None]]:
    """A function to call with the optimiser steps just done and the problems they were done on.

    It drives the progress bar, if there is one, whose unit is one step of one problem.
    """
    if progress is None:
        yield lambda steps, problems: None
        return
    with progress(total=settings.iterations * problems, desc=settings.preset) as bar:
        yield lambda steps, problems: bar.update(steps * problems)
