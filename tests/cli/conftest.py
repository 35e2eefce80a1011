"""The command line in this process."""

import sys

import pytest

from fldrep.cli import main as cli


@pytest.fixture
def call(monkeypatch, capsys):
    """`python -m fldrep ...`: exit code, stdout and stderr."""

    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fldrep", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return called
