"""A copy of the package to edit, and what Snakemake would make again, asked in this process."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from fldrep.config.checking import stable_json
from fldrep.config.reading import parse_config
from fldrep.figures import figures_of
from fldrep.plan import digest as digests
from fldrep.plan.digest import code_digest
from fldrep.plan.grid import grid_of
from fldrep.plan.job_list import jobs_of
from fldrep.storage.places import Identity

PACKAGE = digests.PACKAGE
TINY = Path(__file__).parents[1] / "workflow/tiny.yaml"


def forget() -> None:
    """Digest the files anew."""
    for cached in vars(digests).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package that the digest looks at; call it to edit a file: `package(path, old, new)`."""
    monkeypatch.setenv("FLDREP_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "fldrep"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digests, "PACKAGE", copy)

    def edit(path: str, old: str, new: str) -> None:
        text = (copy / path).read_text()
        assert old in text, f"{path} holds no {old!r}"
        (copy / path).write_text(text.replace(old, new, 1))
        forget()

    edit.folder = copy
    forget()
    yield edit
    forget()


@dataclass(frozen=True)
class Made:
    """One job of a grid: what Snakemake compares of it."""

    rule: str
    inputs: frozenset[str]
    params: tuple[str, str]


def paths_of(files, where: Identity | None, known: dict[str, list[str]]) -> set[str]:
    """The files of a job: those of its own identity, and of a list all there are."""
    found: set[str] = set()
    for pattern in files.values():
        if isinstance(pattern, list):
            found |= {path for one in pattern for path in known.get(one, [])}
        else:
            found.add(where.path(pattern) if where else pattern)
    return found


def planned(raw: dict) -> dict[str, Made]:
    """What a config makes, by output."""
    config = parse_config(raw)
    grid = grid_of(config)
    found: dict[str, Made] = {}
    known: dict[str, list[str]] = {}
    for job, where in jobs_of(grid, figures_of(config)):
        settings = stable_json(job.settings(config, grid, where)) if job.settings else ""
        inputs = paths_of({**job.inputs, **job.found}, where, known)
        made = Made(job.name, frozenset(inputs), (settings, code_digest(*job.code(config, where))))
        for pattern in job.outputs.values():
            path = where.path(pattern) if where else pattern
            known.setdefault(pattern, []).append(path)
            found[path] = made
    return found


class Remade(dict):
    """What is made again: outputs by rule."""

    @property
    def attacks(self) -> set[str]:
        """`defense/attack/block` of each attack job."""
        pattern = r"([^/]+)/seed-\d+/round-\d+/single/([^/]+)/block-(\d+)\.\w+$"
        return {"/".join(re.search(pattern, output).groups()) for output in self.get("attack", ())}

    @property
    def trainings(self) -> set[str]:
        """`model/defense` of each training job."""
        pattern = r"^train/[^/]+/([^/]+)/[^/]+/([^/]+)/seed"
        return {"/".join(re.search(pattern, output).groups()) for output in self.get("train", ())}


def remade(before: dict[str, Made], after: dict[str, Made]) -> Remade:
    """Outputs whose inputs, settings or code changed, or that are new, and all that is made from them."""
    changed: set[str] = set()
    for path, made in after.items():  # inputs come before what is made from them
        if before.get(path) != made or made.inputs & changed:
            changed.add(path)
    found = Remade()
    for path in changed:
        found.setdefault(after[path].rule, set()).add(path)
    return found


@pytest.fixture
def tiny() -> dict:
    """tiny.yaml as a dictionary to change."""
    return yaml.safe_load(TINY.read_text())


@pytest.fixture(scope="session")
def unchanged() -> dict[str, Made]:
    """What tiny.yaml makes with the package as it is."""
    return planned(yaml.safe_load(TINY.read_text()))


@pytest.fixture
def again(unchanged):
    """What a change of tiny.yaml, or of the package's copy, makes again: `again(config)`."""
    return lambda config: remade(unchanged, planned(config))
