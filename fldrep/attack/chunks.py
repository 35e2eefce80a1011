"""Problems worked in chunks of a fixed size; a chunk that does not fit into memory is halved and worked again."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields

import torch

from fldrep.attack.problem import Outcome, Progress
from fldrep.attack.resume import Checkpointer
from fldrep.config.attacks import AttackSettings
from fldrep.errors import ConfigError
from fldrep.machine.memory import halved, ran_out

logger = logging.getLogger(__name__)

Numbers = list[tuple[int, int]]  # target and restart of each problem
Advance = Callable[[int, int], None]  # the steps just done, and the problems they were done on


def in_chunks(
    worked: Callable[[Numbers, int, Progress], Outcome],
    numbers: Numbers,
    problems_at_once: int,
    advance: Advance,
    checkpointer: Checkpointer,
) -> tuple[list[Outcome], list[int]]:
    """Work all problems, so many at once; returns the outcomes, and for each problem how many were worked at once.

    Where memory runs out, the chunk is halved and worked again; what was done before, by this job or by a killed one,
    is kept. Errors: `ConfigError` where a single problem does not fit.
    """
    outcomes, sizes = [], []
    while len(sizes) < len(numbers):
        if (kept := checkpointer.finished()) is not None:
            sizes += kept["problems_at_once"].tolist()
            outcomes.append(Outcome(**{field.name: kept[field.name] for field in fields(Outcome)}))
            advance(int(outcomes[-1].iterations.max()), len(outcomes[-1].iterations))
            continue
        some, steps = numbers[len(sizes) : len(sizes) + problems_at_once], []

        def counted(done: int, some: Numbers = some, steps: list[int] = steps) -> None:
            steps.append(done)
            advance(done, len(some))

        try:
            outcomes.append(worked(some, problems_at_once, Progress(counted, checkpointer)))
            sizes += [problems_at_once] * len(some)
            sized = {"problems_at_once": torch.full((len(some),), problems_at_once)}
            checkpointer.finish(vars(outcomes[-1]) | sized)
            continue
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            if problems_at_once == 1:
                raise ConfigError(
                    f"engine.problems_at_once: not even one problem fits into memory: {_line(error)}"
                ) from None
        advance(-sum(steps), len(some))  # out of the handler, whose error holds on to the chunk's tensors
        fewer = halved(problems_at_once)
        logger.warning("a chunk of %d problems does not fit into memory; going on with %d", problems_at_once, fewer)
        problems_at_once = fewer
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    return outcomes, sizes


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


@contextmanager
def progress_bar(progress: Callable | None, settings: AttackSettings, problems: int) -> Iterator[Advance]:
    """A function to call with the steps just done and the problems they were done on.

    It drives the progress bar, if there is one, whose unit is one step of one problem.
    """
    if progress is None:
        yield lambda steps, problems: None
        return
    with progress(total=settings.iterations * problems, desc=settings.title) as bar:
        yield lambda steps, problems: bar.update(steps * problems)
