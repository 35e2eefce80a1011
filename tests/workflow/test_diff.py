"""`diff` finds the results of a finished run where Snakemake left them."""

import subprocess
import sys
from pathlib import Path

import pytest

from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS


@pytest.mark.parametrize("said", ["tiny", "results/tiny", "config"])
def test_a_finished_run_is_found_by_name_folder_and_config(finished, said):
    """In a process of its own, in the folder of the run, as a person types it."""
    said = str(Path(__file__).with_name("tiny.yaml")) if said == "config" else said
    code = (
        "import sys; from fldrep.report.results import read_results; "
        "found = read_results(sys.argv[1]); print(found.config.name, len(found.tables['attacks']), len(found.claims))"
    )
    command = [sys.executable, "-c", code, said]
    environ = {"PYTHONPATH": str(finished.source), "PATH": ""}
    done = subprocess.run(command, cwd=finished.folder, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = len(ATTACKS.read(finished.folder / "results/tiny/metrics/attacks.parquet"))
    assert done.stdout.split() == [
        "tiny",
        str(rows),
        str(len(CLAIMS.read(finished.folder / "reports/tiny/claims.parquet"))),
    ]
