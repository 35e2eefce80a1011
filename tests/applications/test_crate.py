"""The RO-Crate of a finished run: what it holds, and that its profile's own validator takes it."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
import yaml

from fldrep.applications.crate import OUTPUTS, write_crate
from fldrep.config.reading import read_config
from fldrep.errors import ConfigError, DataError
from fldrep.figures import figures_of
from fldrep.tables.final import FINAL

TINY = Path(__file__).parents[1] / "workflow/tiny.yaml"
VALIDATE = Path(__file__).with_name("validate_crate.py")
# What its environment holds: the validator, and the release of rocrate that has the context of RO-Crate 1.1.
VALIDATOR = ("roc-validator==0.13.0",)
CONTEXT = ("--no-deps", "rocrate==0.13.0")
# Recommended, and not done: nobody's name is known to a run, nor where the workflow is published; and the validator
# takes two classes of its own ontology for software.
NOT_DONE = {
    "process-run-crate-0.5_3.2": "The Application SHOULD have a url",
    "process-run-crate-0.5_5.1": "The SoftwareApplication id SHOULD be an absolute URI",
    "process-run-crate-0.5_8.6": "The Action SHOULD have an agent",
    "ro-crate-1.1_22.2": "SHOULD have a link to a Contextual Entity representing the `author`",
    "ro-crate-1.1_22.3": "The `publisher` property",
}


@pytest.fixture(scope="module")
def crate(finished, tmp_path_factory) -> Path:
    return write_crate(TINY, tmp_path_factory.mktemp("crate") / "tiny.zip", finished.folder)


@pytest.fixture(scope="module")
def entities(crate) -> dict[str, dict]:
    """What the crate says, by identity."""
    with zipfile.ZipFile(crate) as archive:
        said = json.loads(archive.read("ro-crate-metadata.json"))
    return {one["@id"]: one for one in said["@graph"]}


def references(values: object) -> set[str]:
    values = values if isinstance(values, list) else [values]
    return {one["@id"] for one in values}


def test_every_file_is_there_with_its_digest(crate, entities):
    with zipfile.ZipFile(crate) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    files = {name: one for name, one in entities.items() if "File" in one["@type"]}
    assert set(held) == {*files, "ro-crate-metadata.json"}
    for name, one in files.items():
        if "sha256" in one:
            assert one["sha256"] == hashlib.sha256(held[name]).hexdigest(), name
            assert int(one["contentSize"]) == len(held[name])
    assert {name for name, one in files.items() if "sha256" not in one} == {"workflow/Snakefile", "README.md"}


def test_what_it_refers_to_is_in_it(entities):
    outside = ("https://bioschemas.org/", "https://w3id.org/", "https://doi.org/", "https://snakemake.readthedocs.io")

    def named(value: object):
        if isinstance(value, dict):
            yield from (
                [value["@id"]] if set(value) == {"@id"} else [name for one in value.values() for name in named(one)]
            )
        elif isinstance(value, list):
            yield from (name for one in value for name in named(one))

    missing = {name for one in entities.values() for name in named(one)} - set(entities)
    assert {name for name in missing if not name.startswith(outside)} == set()


def test_the_run_is_one_action_of_the_workflow_from_config_to_results(entities, finished):
    (action,) = (one for one in entities.values() if one["@type"] == "CreateAction")
    assert references(action["instrument"]) == {"workflow/Snakefile"}
    assert references(action["object"]) == {"config/tiny.yaml"}
    assert references(entities["./"]["mainEntity"]) == {"workflow/Snakefile"}
    results = references(action["result"])
    assert {f"results/tiny/metrics/{name}.parquet" for name in FINAL} <= results
    assert {f"reports/tiny/figures/{name}.png" for name in figures_of(read_config(TINY))} <= results
    assert {
        f"reports/tiny/{name}" for name in ("report.html", "claims.html", "claims.parquet", "record.json")
    } <= results
    slots = references(entities["workflow/Snakefile"]["output"])
    assert slots == {f"#{name}" for name in OUTPUTS}
    assert {slot for name in results for slot in references(entities[name]["exampleOfWork"])} == slots
    began, ended = (datetime.fromisoformat(action[key]) for key in ("startTime", "endTime"))
    assert began < ended
    assert (ended - began).total_seconds() < 3600


def test_it_says_what_it_was_made_by(entities, finished):
    record = json.loads((finished.folder / "reports/tiny/record.json").read_text())
    workflow = entities["workflow/Snakefile"]
    assert workflow["version"] == record["versions"]["fldrep"]
    assert workflow["identifier"] == record["facts"]["commit"]
    software = {one["name"]: one["version"] for one in entities.values() if one["@type"] == "SoftwareApplication"}
    assert software["torch"] == record["versions"]["torch"]
    assert software["snakemake"] == record["versions"]["snakemake"]
    profiles = references(entities["./"]["conformsTo"])
    assert "https://w3id.org/ro/wfrun/workflow/0.5" in profiles


def test_it_names_no_place_of_this_machine(entities, finished):
    text = json.dumps(list(entities.values()))
    assert str(finished.folder) not in text
    assert str(Path.home()) not in text


def test_a_config_edited_since_the_run_is_refused(finished, tmp_path):
    edited = tmp_path / "tiny.yaml"
    edited.write_text(yaml.safe_dump({**yaml.safe_load(TINY.read_text()), "seeds": [1]}))
    with pytest.raises(ConfigError, match="seeds: not what the results were made with"):
        write_crate(edited, tmp_path / "out.zip", finished.folder)
    assert not (tmp_path / "out.zip").exists()


def test_a_run_that_lacks_a_file_is_refused_by_its_name(finished, tmp_path):
    shutil.copytree(finished.folder / "reports", tmp_path / "reports")
    with pytest.raises(DataError, match=r"metrics.attacks\.parquet: missing"):
        write_crate(TINY, tmp_path / "out.zip", tmp_path)


@pytest.fixture(scope="module")
def validator(tmp_path_factory) -> Path:
    """An interpreter with the validator: its requirements contradict those of other tools of this repository."""
    folder = tmp_path_factory.mktemp("validator") / "environment"
    uv = str(Path(sys.executable).with_name("uv"))
    python = folder / "bin/python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
    for packages in (VALIDATOR, CONTEXT):
        done = subprocess.run(
            [uv, "pip", "install", "-q", "--python", python, *packages], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"the validator cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.long
def test_the_validator_of_its_profile_takes_it(crate, validator):
    done = subprocess.run([validator, VALIDATE, crate, "workflow-run-crate-0.5"], capture_output=True, text=True)
    *issues, last = done.stdout.splitlines()
    assert last == "passed", done.stdout + done.stderr
    for issue in issues:
        severity, check, said = issue.split(" ", 2)
        assert severity == "RECOMMENDED"
        assert NOT_DONE.get(check, "nothing") in said, issue
