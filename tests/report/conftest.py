"""A finished run made of synthetic tables."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from fldrep.config.reading import read_config
from fldrep.figures import figures_of
from fldrep.report.claims_table import write_claims
from fldrep.report.page import write_page
from fldrep.report.publish import publish
from fldrep.storage.tensors import write_tensors
from fldrep.tables.final import FINAL

PUBLISHED_CONFIG = """# A small grid
name: small
partitions: {iid: {}}
models: {lenet: {}}
train: {lenet: {rounds: 2, checkpoints: [0, 2]}}
defenses:
  none: {}
  soteria-80: {method: soteria, rate: 0.8}
  compression-60: {method: compression, rate: 0.6}
attacks:
  dlg: {preset: dlg}
  dlg-masked: {preset: dlg-masked}
grid:
  - {datasets: [mnist], models: [lenet], partitions: [iid], defenses: [none, soteria-80, compression-60],
     rounds: [0, 2], attacks: [dlg], targets: 9}
"""
WITH_PLUGIN = PUBLISHED_CONFIG.replace(
    "attacks:\n",
    "plugins: [own/objective.py]  # why\nattacks:\n  own: {objective: published, optimiser: lbfgs, iterations: 2}\n",
)
MADE = {
    "commit": "0123456789ab",
    "machine": "linux, a <fast> processor, 2 cores",
    "made": "2026-01-02 03:04 UTC",
    "versions": {"torch": "2.14.1"},
    "rerun": ["snakemake"],
}


@dataclass(frozen=True)
class Finished:
    """A folder as a finished run of the workflow leaves it; `name` is that of its config."""

    root: Path
    name: str

    @property
    def config(self) -> Path:
        return self.root / f"config/{self.name}.yaml"

    @property
    def metrics(self) -> Path:
        return self.root / "results" / self.name / "metrics"

    @property
    def reports(self) -> Path:
        return self.root / "reports" / self.name

    @property
    def published(self) -> Path:
        return self.root / "docs/results" / self.name


def finish(run: Finished, synthetic, text: str = PUBLISHED_CONFIG) -> None:
    """Make the run of a config, under another name, with synthetic tables."""
    run.config.parent.mkdir()
    run.config.write_text(text.replace("name: small", f"name: {run.name}"))
    config = read_config(run.config)
    settings = (("mnist", "lenet", "iid", 0), ("mnist", "lenet", "iid", 2))
    defenses = tuple(config.defenses)
    tables = {name: pd.DataFrame(columns=table.names) for name, table in FINAL.items()} | {
        "attacks": synthetic.attack_table(9, ("dlg",), defenses, settings, restarts=2, diverged=0.05),
        "training": synthetic.training_table(settings[1:], defenses),
        "convergence": synthetic.convergence_table(0.5),
    }
    for name, rows in tables.items():
        FINAL[name].write(rows, run.metrics / f"{name}.parquet")
    paths = {name: run.metrics / f"{name}.parquet" for name in tables}
    write_claims(config, paths, "snakemake claims", run.reports / "claims.parquet", run.reports / "claims.html")
    pictures = [run.reports / "figures" / f"{name}.png" for name in figures_of(config)]
    pictures[0].parent.mkdir()
    for number, path in enumerate(pictures):
        Image.linear_gradient("L").rotate(90 * number).convert("RGBA").save(path)
    write_tensors(run.metrics / "gallery.safetensors", synthetic.pictures(tables["attacks"]))
    shown = (paths, run.reports / "claims.parquet", pictures, run.metrics / "gallery.safetensors", MADE)
    write_page(config, *shown, run.reports / "report.html", run.reports / "record.json")


@pytest.fixture(scope="session")
def finished_runs(synthetic, tmp_path_factory):
    """Finished runs by name, made on first use; not to be touched."""
    runs: dict[str, Finished] = {}

    def run_named(name: str) -> Finished:
        if name not in runs:
            runs[name] = Finished(tmp_path_factory.mktemp(name), name)
            finish(runs[name], synthetic)
        return runs[name]

    return run_named


@pytest.fixture(scope="session")
def published_runs(finished_runs, tmp_path_factory):
    """Finished runs by name, published on first use; not to be touched."""
    runs: dict[str, Finished] = {}

    def run_named(name: str) -> Finished:
        if name not in runs:
            run = Finished(tmp_path_factory.mktemp("published") / "run", name)
            shutil.copytree(finished_runs(name).root, run.root)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(run.root)
                publish(run.config, run.root, run.published.parent)
            runs[name] = run
        return runs[name]

    return run_named


@pytest.fixture
def copy_of(tmp_path, monkeypatch):
    """A copy of a run; its folder becomes the working directory."""

    def copied(run: Finished) -> Finished:
        shutil.copytree(run.root, tmp_path / "run")
        monkeypatch.chdir(tmp_path / "run")
        return Finished(tmp_path / "run", run.name)

    return copied


@pytest.fixture
def finished(finished_runs, copy_of) -> Finished:
    """A copy of the run `small`."""
    return copy_of(finished_runs("small"))


@pytest.fixture
def published(published_runs, copy_of) -> Finished:
    """A copy of the run `small`, published."""
    return copy_of(published_runs("small"))


OWN_OBJECTIVE = """import fldrep
from factor import FACTOR

@fldrep.objective("published")
def published(trial, observed):
    return FACTOR * sum((trial[name] - value).square().flatten(1).sum(1) for name, value in observed.items())
"""


@pytest.fixture
def run_with_plugin(synthetic, tmp_path, monkeypatch, plug_in) -> Finished:
    """A run whose config names a plug-in of another folder, which imports a file beside it; the working directory."""
    run = Finished(tmp_path / "run", "owned")
    (run.root / "own").mkdir(parents=True)
    (run.root / "own/objective.py").write_text(OWN_OBJECTIVE)
    (run.root / "own/factor.py").write_text("FACTOR = 2\n")
    monkeypatch.chdir(run.root)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "factor", raising=False)
    finish(run, synthetic, WITH_PLUGIN)
    return run
