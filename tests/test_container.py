"""The Dockerfile, as far as it can be read: what it copies, installs and runs is there; `make lint` runs hadolint."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from fldrep.config.reading import read_config

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Dockerfile").read_text()
STEPS = re.findall(r"^([A-Z]+) ((?:[^\n]*\\\n)*[^\n]*)$", TEXT, re.MULTILINE)


def of(name: str) -> list[str]:
    return [said for step, said in STEPS if step == name]


def test_what_it_copies_is_in_the_repository():
    sources = [word for said in of("COPY") for word in said.split()[1:-1]]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source


def test_it_runs_the_demo_by_a_command_that_takes_another_config():
    (entry,), (given,) = ([json.loads(said) for said in of(step)] for step in ("ENTRYPOINT", "CMD"))
    assert entry == ["snakemake", "--cores", "all"]
    assert given == ["--configfile", "config/demo.yaml"]
    assert read_config(ROOT / given[1]).name == "demo"


def test_it_installs_what_the_lock_pins_and_nothing_else():
    installs = [line for said in of("RUN") for line in said.split("&&") if "pip install" in line]
    assert len(installs) == 2
    assert all("-c requirements.lock" in line for line in installs)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {extra for line in installs for extra in re.findall(r"\[(\w+)\]", line)}
    assert asked <= set(extras)


def test_nothing_runs_as_root_and_no_address_is_built_in():
    (user,) = of("USER")
    assert user.isdecimal()
    assert int(user) > 0
    assert TEXT.index("\nUSER") < TEXT.index("\nENTRYPOINT")
    assert not re.search(r"https?://", TEXT)


@pytest.mark.parametrize("path", [".venv", ".snakemake", "/results", "/logs"])
def test_what_is_made_here_stays_here(path):
    assert path in (ROOT / ".dockerignore").read_text().splitlines()


def test_what_git_ignores_the_image_ignores():
    """But for the one line that git and Docker write otherwise."""
    git, docker = ((ROOT / name).read_text().splitlines() for name in (".gitignore", ".dockerignore"))
    lines = {line.strip("/") for line in git if line and not line.startswith("#")}
    held = {line.strip("/").removeprefix("**/") for line in docker if line and not line.startswith("#")}
    assert lines - held <= {"diff.html"}
