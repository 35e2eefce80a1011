"""What every benchmark uses, and the table that is printed and written at the end."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import table
from fldrep.machine.memory import keep_freed_memory

EXACT = Path(__file__).parents[1] / "docs/results/exact.parquet"
LINES = pytest.StashKey[list[table.Line]]()


def pytest_addoption(parser):
    parser.addoption("--performance", type=Path, metavar="FOLDER", help="where to write performance.json and .md")
    parser.addoption("--exact", type=Path, metavar="FILE", default=EXACT, help="where exact attacks are kept")
    parser.addoption("--groups", type=int, metavar="N", help="attack at most so many groups of targets a cell")


def pytest_configure(config):
    config.stash[LINES] = []


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash[LINES]
    if not lines:
        return
    terminalreporter.section("performance")
    for row in table.rows_of(lines):
        terminalreporter.write_line(row)
    if folder := config.getoption("--performance"):
        table.write(lines, folder)


@pytest.fixture(autouse=True)
def one_thread():
    """One torch thread, and memory kept, as an attack job has it."""
    torch.set_num_threads(1)
    keep_freed_memory()


@pytest.fixture
def compare(benchmark, request) -> Callable[..., float]:
    """Measure pairs, enter the line in the table, and fail where it is short of its mark.

    `slow()` and `fast()` return seconds for the same amount of work; they take turns, after one round that is not
    counted. Returns the median ratio.
    """

    def measure(work, against, slow, fast, *, mark=None, at_most=False, pairs=5, clock="CPU time") -> float:
        slow_s, fast_s = [], []
        benchmark.pedantic(
            lambda: fast_s.append(fast()), setup=lambda: slow_s.append(slow()), rounds=pairs, warmup_rounds=1
        )
        line = table.Line(work, against, mark, at_most, slow_s[1:], fast_s[1:], clock)
        request.config.stash[LINES].append(line)
        assert line.result != "short", f"{work}: {line.ratio:.3g}x, mark {mark:g}x"
        return line.ratio

    return measure


@pytest.fixture
def report(request) -> Callable[[str, str], None]:
    """Enter what was found, without a mark."""
    return lambda work, found, against="": request.config.stash[LINES].append(table.Line(work, against, found=found))


@pytest.fixture
def skip(request) -> Callable[..., None]:
    """Enter a line that cannot be measured here, with the reason, and skip the test."""

    def leave_out(work: str, reason: str, mark: float | None = None) -> None:
        request.config.stash[LINES].append(table.Line(work, mark=mark, skipped=reason))
        pytest.skip(reason)

    return leave_out
