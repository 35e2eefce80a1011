"""This workflow as a module of another one, in a folder of that one."""

from pathlib import Path

import pytest
import yaml

from fldrep.config.reading import read_config
from fldrep.plan.grid import grid_of

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny.yaml")
IMPORTER = """
configfile: "mine.yaml"


module fldrep:
    snakefile:
        "{snakefile}"
    config:
        {config}
    {prefix}


use rule * from fldrep as fldrep_*


rule all:
    default_target: True
    input:
        rules.fldrep_all.input,
"""
CASES = {
    "its config is the importer's": ("config", "", "", ""),
    "its files have a prefix": ("config", 'prefix:\n        "sub"', "", "sub/"),
    "its config is a section of the importer's": ('config["fldrep"]', "", "fldrep", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_a_module_plans_every_job_of_its_grid(snakemake, tmp_path, case):
    config, prefix, section, before = CASES[case]
    source = tmp_path / "importer"
    (source / "workflow").mkdir(parents=True)
    text = IMPORTER.format(snakefile=ROOT / "workflow/Snakefile", config=config, prefix=prefix)
    (source / "workflow/Snakefile").write_text(text)
    raw = yaml.safe_load(TINY.read_text())
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "mine.yaml").write_text(yaml.safe_dump({section: raw} if section else raw))
    changed = '{"gs": {"iterations": 77}}'
    given = f'{section}={{"attacks": {changed}}}' if section else f"attacks={changed}"
    found = snakemake("-np", "--config", given, folder=folder, source=source)
    assert found.code == 0, found.text[-3000:]
    jobs = grid_of(read_config(TINY))
    attacks = [line for line in found.text.splitlines() if "python -m fldrep run attack " in line]
    assert len(attacks) == len(list(jobs.blocks()))
    assert sum('"iterations": 77' in line for line in attacks) == 2, "two attacks of this preset, and typed"
    assert found.text.count(f"--page {before}reports/tiny/report.html") == 1
    assert found.text.count("attack jobs on 10 targets") == 1, "the announcement"
    assert f"snakemake --cores all {before}reports/tiny/claims.parquet --configfile mine.yaml --config" in found.text


def test_a_wrong_config_of_a_module_is_told_as_ever(snakemake, tmp_path):
    source, folder = tmp_path / "importer", tmp_path / "run"
    (source / "workflow").mkdir(parents=True)
    folder.mkdir()
    text = IMPORTER.format(snakefile=ROOT / "workflow/Snakefile", config="config", prefix="")
    (source / "workflow/Snakefile").write_text(text)
    (folder / "mine.yaml").write_text(TINY.read_text() + "\nseeds: [1]\n")
    found = snakemake("-n", folder=folder, source=source)
    assert found.code != 0
    assert "mine.yaml: seeds: stands twice" in found.text
    assert "Traceback" not in found.text
