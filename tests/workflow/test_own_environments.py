"""Rules in environments of conda's find the package there. A `conda` that makes empty environments stands in for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TINY = Path(__file__).with_name("tiny.yaml")
FIGURE = "reports/tiny/figures/verdicts.png"
CONDA = """#!/bin/sh
for last; do :; done
case "$1" in
  --version) echo conda 26.7.0 ;;
  info) echo '{{"conda_prefix": "{installed}", "platform": "linux-64"}}' ;;
  config) echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
  env) mkdir -p "$last/bin" && cp "{installed}/python" "$last/bin/python" ;;
esac
"""
PYTHON = """#!/bin/sh
echo "$PYTHONPATH" > "{installed}/path"
exec "{python}" "$@"
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_a_rule_in_its_own_environment_imports_the_package_and_nothing_else_of_the_callers(finished, tmp_path):
    """Snakemake takes PYTHONPATH away there; in an environment without this package every job failed."""
    folder, installed = shutil.copytree(finished.folder, tmp_path / "run"), tmp_path / "installed"
    (folder / FIGURE).unlink()
    told = {"installed": installed, "python": sys.executable}
    executable(installed / "bin/conda", CONDA.format(**told))
    executable(installed / "bin/activate", 'export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
    executable(installed / "python", PYTHON.format(**told))
    command = [sys.executable, "-m", "snakemake", "-s", finished.source / "workflow/Snakefile", "-d", folder]
    command += ["--cores", "1", "--sdm", "conda", "--configfile", TINY, "--allowed-rules", "figures", "--", FIGURE]
    path = os.pathsep.join([str(installed / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(tmp_path / "of the caller"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(one) for one in command], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert (installed / "path").read_text().strip() == str(finished.source)
    assert (folder / FIGURE).read_bytes().startswith(b"\x89PNG")
