"""The environment of the figures, made by Snakemake through a stand-in for conda, and a figure drawn in it.

No conda executable was at hand. What this proves: the environment file is read, its channel is found by a mirror's
address, its specs are solved, its pins install together, and Snakemake activates it for the rule. It proves nothing of
conda.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TINY = HERE.parents[0] / "workflow/tiny.yaml"
FIGURE = "reports/tiny/figures/verdicts.png"
PYTHON = "python3.12"  # what the environment files ask for

pytestmark = pytest.mark.long


def candidates() -> Iterator[str]:
    """Interpreters that may be there: the one named, the one on the path, and those of pyenv."""
    yield from filter(None, (os.environ.get("CONDA_TEST_PYTHON"), shutil.which(PYTHON)))
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    yield from map(str, pyenv.glob(f"versions/*/bin/{PYTHON}"))


def runs(python: str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> dict[str, str]:
    """The environment variables under which `conda` is the stand-in, and no other Python's packages are found."""
    python = next(filter(runs, candidates()), None)
    if python is None:
        pytest.skip(f"no {PYTHON} on this machine to make a package of; name one by CONDA_TEST_PYTHON")
    folder = tmp_path_factory.mktemp("conda")
    mirror = folder / "mirror"
    subprocess.run([sys.executable, HERE / "channel.py", mirror, python], check=True)
    binaries = folder / "installed/bin"
    binaries.mkdir(parents=True)
    (binaries / "conda").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "stand_in.py"}" "$@"\n')
    (binaries / "conda").chmod(0o755)
    (binaries / "activate").write_text('export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n')
    system = [one for one in ("/usr/bin", "/bin") if Path(one).is_dir()]
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CONDA", "VIRTUAL"))},
        "PATH": os.pathsep.join([str(binaries), *system]),
        "CONDA_STAND_IN": str(binaries.parent),
        "CONDA_CHANNEL_ALIAS": f"{mirror.as_uri()}/",
        "OMP_NUM_THREADS": "1",
    }


def test_a_figure_is_drawn_in_the_environment_of_its_rule(finished, stand_in, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    before = (folder / FIGURE).read_bytes()
    (folder / FIGURE).unlink()
    command = [sys.executable, "-m", "snakemake", "-s", finished.source / "workflow/Snakefile", "-d", folder]
    command += ["--cores", "1", "--sdm", "conda", "--configfile", TINY, "--allowed-rules", "figures", "--", FIGURE]
    done = subprocess.run([str(one) for one in command], env=stand_in, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert "Activating conda environment" in done.stdout + done.stderr
    assert (folder / FIGURE).read_bytes().startswith(b"\x89PNG")
    assert len((folder / FIGURE).read_bytes()) == pytest.approx(len(before), rel=0.1)
    (python,) = (folder / ".snakemake/conda").glob("*/bin/python")
    code = "import sys, matplotlib, pyarrow, pydantic; print(sys.version_info[:2], sys.prefix)"
    said = subprocess.check_output([python, "-c", code], env=stand_in, text=True)
    assert said.startswith("(3, 12)")
    assert str(folder) in said
    of_torch = subprocess.run([python, "-c", "import torch"], env=stand_in, capture_output=True)
    assert of_torch.returncode, "the environment of figures holds no torch"


def test_a_spec_that_the_channel_lacks_is_told(stand_in, tmp_path):
    file = tmp_path / "absent.yaml"
    file.write_text("channels: [conda-forge]\ndependencies: [no-such-package=1]\n")
    command = ["conda", "env", "create", "--quiet", "--file", str(file), "--prefix", str(tmp_path / "made")]
    done = subprocess.run(command, env=stand_in, capture_output=True, text=True)
    assert done.returncode
    assert "no-such-package" in done.stderr
    assert not (tmp_path / "made").exists()
