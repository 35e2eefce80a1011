"""Lines of a log that say how far a job has come."""

import re

import pytest

from fldrep.machine import progress
from fldrep.machine.progress import Rounds, log_each, log_lines


@pytest.fixture
def at_once(monkeypatch):
    """A line for each step, however fast they come."""
    monkeypatch.setattr(progress, "EVERY_S", 0.0)


def test_each_line_is_whole_and_has_the_rate_and_the_time_left(capsys, at_once):
    assert list(log_each(["a", "b", "c"], "batches", "batch")) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) >= 3
    assert lines[0].startswith("batches: 1 of 3")
    assert re.fullmatch(r"batches: 3 of 3, +[\d.]+(batch/s|s/batch), [\d:]+ left", lines[-1]), lines[-1]


def test_lines_come_seldom(capsys):
    with log_lines(1000, "gs") as bar:
        for _ in range(1000):
            bar.update()
    assert len(capsys.readouterr().err.splitlines()) <= 2, "the last, and one at most before"


def test_where_nothing_was_done_nothing_is_said(capsys):
    with pytest.raises(ZeroDivisionError), log_lines(3, "batches"):
        raise ZeroDivisionError
    assert capsys.readouterr().err == ""


def test_rounds_count_from_those_of_this_process(monkeypatch):
    clock = iter([0.0, 10.0, 30.0])
    monkeypatch.setattr(progress, "perf_counter", lambda: next(clock))
    rounds = Rounds(last=20)
    assert rounds.left(10) == "10 s a round, 100 seconds left", "the ten rounds before were another process's"
    assert rounds.left(11) == "15 s a round, 2 minutes left"
