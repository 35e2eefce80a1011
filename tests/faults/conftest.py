"""Faults: every test here is a case, or says how many it holds; the end of a run tells how many were tried and lost.

`make test` runs the quick ones; `pytest tests/faults -m ""` runs all.
"""

import importlib.util
import sys
from pathlib import Path

import pytest

from fldrep.cli import main as cli
from fldrep.config.checking import stable_json
from fldrep.config.data import DataSettings

ROOT = Path(__file__).parents[2]


def _module(path: Path):
    """A module of another test folder, by its path: test folders are no packages."""
    spec = importlib.util.spec_from_file_location(f"faults_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pytest_terminal_summary(terminalreporter):
    """Cases tried, survived and lost. A test that holds several cases says so: `record_property("cases", 20)`."""

    def reports(outcome):
        return [one for one in terminalreporter.stats.get(outcome, []) if "tests/faults/" in one.nodeid]

    def cases(report):
        return dict(report.user_properties).get("cases", 1)

    survived = sum(cases(one) for one in reports("passed"))
    lost = len(reports("failed")) + len(reports("error"))
    if survived + lost:
        skipped = len(reports("skipped"))
        terminalreporter.write_line(
            f"faults: {survived + lost} cases tried, {survived} survived, {lost} lost"
            + (f" ({skipped} skipped, for the reasons above)" if skipped else "")
        )


@pytest.fixture
def call(monkeypatch, capfd):
    """`python -m fldrep ...` in this process: exit code, stdout and stderr."""

    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fldrep", *map(str, arguments)])
        capfd.readouterr()
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        said = capfd.readouterr()
        return code, said.out, said.err

    return called


@pytest.fixture
def refused(call):
    """A command that must end in one line with exit code 2 and leave every file of a folder as it was.

    Returns the line. Args: arguments; folder: what must not change; words: what the line must hold.
    """

    def check(arguments: list, folder: Path, *words: str) -> str:
        before = contents(folder)
        code, out, err = call(*arguments)
        assert (code, out) == (2, ""), err
        lines = [line for line in err.splitlines() if line.strip()]
        assert len(lines) == 1, err
        assert lines[0].startswith("fldrep: error: ")
        for word in words:
            assert word in lines[0], f"{word!r} is not in: {lines[0]}"
        assert len(lines[0]) < 1500
        assert contents(folder) == before
        return lines[0]

    return check


@pytest.fixture
def data_words(job_words, world):
    """The words of a data job: `data_words(dataset, settings, out)`, `out` being the world's if not given."""

    def words(dataset: str, settings: DataSettings, out: Path | None = None) -> list[str]:
        return job_words("data", dataset=dataset, settings={}, places=stable_json(settings), images=out or world.out)

    return words


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Tiny data sets in the official formats.
_data = _module(ROOT / "tests" / "data" / "conftest.py")
world, build = _data.world, _data.build
