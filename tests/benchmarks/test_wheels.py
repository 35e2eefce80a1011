"""A Python that lacks pydantic and platformdirs takes them from a folder of wheels, and tells what it lacks without."""

import os
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
LACKED = ("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "platformdirs")
CODE = """
import sys
from pathlib import Path
from benchmarks.gpu.wheels import borrow
print(len(borrow(Path(sys.argv[1]))))
import pydantic, platformdirs
from fldrep.config.attacks import attack_settings
print(pydantic.__file__)
print(attack_settings("gs").iterations)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The packages of this Python but those."""
    site = tmp_path_factory.mktemp("site")
    for path in (Path(folder) for folder in sys.path if folder.endswith("site-packages")):
        for one in path.iterdir():
            if one.name.partition("-")[0] not in LACKED and not (site / one.name).exists():
                (site / one.name).symlink_to(one)
    return site


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    """These packages as wheels, made of what is installed."""
    folder = tmp_path_factory.mktemp("wheels")
    for name in LACKED:
        with ZipFile(folder / f"{name}-1-py3-none-any.whl", "w") as wheel:
            for file in files(name.replace("_", "-")):
                if ".." not in file.parts and "__pycache__" not in file.parts:
                    wheel.write(file.locate(), file.as_posix())
    return folder


def run(site: Path, wheels: Path) -> subprocess.CompletedProcess:
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)]), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", "-c", CODE, str(wheels)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)


def test_what_is_lacking_comes_from_the_wheels(site, wheels):
    done = run(site, wheels)
    assert done.returncode == 0, done.stderr
    count, place, iterations = done.stdout.split()
    assert int(count) == len(LACKED)
    assert "fldrep-wheels-" in place
    assert iterations == "24000"
    assert not Path(place).exists(), "the unpacked packages go with the process"


def test_without_them_one_line_says_what_to_do(site, tmp_path):
    done = run(site, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("evidence: not installed: pydantic, pydantic_core, annotated_types")
    assert "run make evidence-wheels" in done.stderr
    assert done.stderr.count("\n") == 1


def test_where_all_is_installed_nothing_is_unpacked(tmp_path):
    from benchmarks.gpu.wheels import borrow

    assert borrow(tmp_path) == []
