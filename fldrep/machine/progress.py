"""How far a job has come, as lines of its log: what is done, how fast, and the time left."""

import sys
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TypeVar

from tqdm import tqdm

EVERY_S = 5.0  # between two lines
LINE = "{desc}: {n_fmt} of {total_fmt}, {rate_fmt}, {remaining} left"

T = TypeVar("T")


def rough(seconds: float) -> str:
    """A time nobody knows exactly, in words.

    >>> rough(7.6), rough(600), rough(8000), rough(300_000)
    ('8 seconds', '10 minutes', '2 hours', '3 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    hours = seconds / 3600
    if hours < 2:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"


class _Lines:
    """Standard error, where a bar that is drawn again is another line: a log is read by people and by `tail`."""

    def write(self, text: str) -> None:
        text = text.strip("\r\n ")
        if text:
            sys.stderr.write(f"{text}\n")

    def flush(self) -> None:
        sys.stderr.flush()


class _Bar(tqdm):
    """Silent until something is done: a job that fails at once says its error and no more."""

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        return super().display(msg, pos) if self.n else True


def log_lines(total: int, desc: str, unit: str = "step") -> tqdm:
    """A progress bar of `tqdm` that writes a line to the log, at most one every `EVERY_S` seconds.

    Args: unit: what is counted, in the singular: a rate reads `12.5step/s`.
    """
    return _Bar(total=total, desc=desc, unit=unit, file=_Lines(), mininterval=EVERY_S, bar_format=LINE)


def log_each(items: Sequence[T], desc: str, unit: str) -> Iterator[T]:
    """The items, with a line of the log for those done, as `log_lines` writes it."""
    with log_lines(len(items), desc, unit) as bar:
        for item in items:
            yield item
            bar.update()


class Rounds:
    """The rounds of a run: how long one takes and all that are left, measured from those of this process."""

    def __init__(self, last: int):
        """Args: last: the number of the last round."""
        self.last, self._began, self._done = last, perf_counter(), 0

    def left(self, round: int) -> str:
        """In words, after a round that has just ended.

        >>> Rounds(last=4).left(4).partition(", ")[2]
        'none left'
        """
        self._done += 1
        each = (perf_counter() - self._began) / self._done
        ahead = self.last - round
        return f"{each:.3g} s a round, {f'{rough(each * ahead)} left' if ahead else 'none left'}"
