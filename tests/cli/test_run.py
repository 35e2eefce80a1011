"""A job that is given something wrong ends in one line, exit code 2 and no file; one that is not does its work."""

import json
import re

import pytest

from fldrep import registry
from fldrep.models.checkpoint import write_checkpoints
from fldrep.plan.jobs import JOBS
from fldrep.storage.imageset import ImageSet, mean_of_each_class
from fldrep.storage.tensors import write_tensors
from fldrep.tables.attack_runs import ATTACK_RUNS
from fldrep.tables.final import FINAL
from fldrep.tables.shards import SHARDS

ENTRY = {"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["none"], "attacks": ["gs"]}
SOTERIA = {"method": "soteria", "rate": 0.5}
# The settings of each job where nothing is wrong with them; empty for the others.
RIGHT = {
    "train": {"model": {}, "train": {"rounds": 1}, "defense": {}},
    "attack": {
        **{section: {} for section in ("model", "defense", "update", "engine")},
        **{"attack": {"iterations": 1}, "targets": [0]},
    },
    "identifiability": {
        **{section: {} for section in ("model", "defense", "update", "identifiability", "engine")},
        "targets": [0],
    },
    "leakage": {"model": {}, "defense": {}, "leakage": {"batch_sizes": [1, 11], "batches": 1}},
    "certificate": {"model": {}, "defense": SOTERIA, "certificate": {}, "targets": [0]},
    "accounting": {"model": {}, "train": {}, "defense": {}, "accounting": {"delta": 0.5}},
    "convergence": {"partitions": ["iid"], "clients": 2, "images_per_client": 4},
    "metrics": {"seeds": [0], "grid": [ENTRY], "block": 8, "metrics": {}},
    "report": {
        **{"name": "x", "partitions": {"iid": {}}, "models": {"lenet": {}}, "train": {"lenet": {}}},
        **{"defenses": {"none": {}}, "attacks": {"gs": {}}, "grid": [ENTRY]},
    },
}


@pytest.fixture
def files(tmp_path):
    """What earlier stages leave: ten tiny images, their shards, and files that are not what they should be."""
    import torch

    from fldrep.models.building import build_model

    images, labels = torch.zeros(10, 1, 28, 28, dtype=torch.uint8), torch.arange(10)
    whole = ImageSet(images, labels, images, labels, mean_of_each_class(images, labels, 10))
    whole.write(tmp_path / "images.safetensors", {})
    SHARDS.write([{"client": 0, "index": k, "label": k} for k in range(10)], tmp_path / "shards.parquet")
    SHARDS.write([{"client": 0, "index": 77, "label": 1}], tmp_path / "beyond.parquet")
    SHARDS.write([], tmp_path / "nobody.parquet")
    ATTACK_RUNS.write([], tmp_path / "attack_runs.parquet")
    write_tensors(tmp_path / "other.safetensors", {"round-0/head.weight": torch.zeros(2, 2)})
    untrained = build_model("lenet", (1, 28, 28), 10)
    write_checkpoints(tmp_path / "whole.safetensors", {0: untrained.state_dict()}, {})
    (tmp_path / "page.html").write_text("<html>404</html>")
    (tmp_path / "results").mkdir()
    return tmp_path


USUAL_FILES = {"images": "images.safetensors", "shards": "shards.parquet", "checkpoints": "whole.safetensors"}
ANOTHER_TABLE = {**dict.fromkeys([*FINAL, "claims"], "attack_runs.parquet"), "figures": "page.html"}

# what is wrong -> the job, what it is told instead (a value of its settings by its path, or another file), what it says
MISTAKES = {
    "an unknown source": ("data", {"places": '{"sources": ["ftp"]}'}, "sources.0: 'ftp'"),
    "a folder that is none": (
        "data",
        {"places": '{"sources": ["folder"], "folder": "/nowhere"}'},
        "data.folder: '/nowhere': not a folder",
    ),
    "settings that are no JSON": ("data", {"settings": "{sources"}, "Invalid JSON"),
    "an unknown setting": ("data", {"colour": "red"}, "colour: unknown key"),
    "classes without a number": ("partition", {"method": "label-skew"}, "classes_per_client"),
    "images that are a web page": ("partition", {"images": "page.html"}, "page.html: not a readable safetensors file"),
    "images that are not there": (
        "partition",
        {"images": "absent"},
        "absent: not a readable safetensors file: .*No such file",
    ),
    "more clients than images": ("partition", {"clients": 11}, "clients.*11"),
    "a wrong step size": ("train", {"train.lr": -1}, "train.lr: .*-1.*greater than 0"),
    "shards beyond the images": (
        "train",
        {"shards": "beyond.parquet"},
        "beyond.parquet: index 77 is not a position among 10",
    ),
    "shards of nobody": ("train", {"shards": "nobody.parquet"}, "nobody.parquet: deals no image"),
    "another table as shards": (
        "train",
        {"shards": "attack_runs.parquet"},
        "attack_runs.parquet: holds table 'attack_runs'.*expected 'shards'",
    ),
    "an unknown preset": ("attack", {"attack.preset": "x"}, "attack.preset: 'x'"),
    "a checkpoint of another network": (
        "attack",
        {"checkpoints": "other.safetensors"},
        "other.safetensors: holds no tensor 'round-0/body",
    ),
    "a checkpoint that is a web page": (
        "attack",
        {"checkpoints": "page.html"},
        "page.html: not a readable safetensors file",
    ),
    "a target too many": (
        "attack",
        {"targets": [10]},
        "targets: number 10 asks client 0 for more than its 10 images",
    ),
    "a target too many to look at": (
        "identifiability",
        {"targets": [10]},
        "targets: number 10 asks client 0 for more than its 10 images",
    ),
    "a batch that no client holds": ("leakage", {}, "shards.parquet: no client holds 11 images"),
    "a checkpoint of another network for leakage": (
        "leakage",
        {"checkpoints": "other.safetensors"},
        "other.safetensors: holds no tensor 'round-0/body",
    ),
    "a file without reconstructions": (
        "certificate",
        {"reconstructions": "other.safetensors"},
        "other.safetensors: holds no tensor 'originals'",
    ),
    "a defense that prunes nothing": ("certificate", {"defense": {}}, "defense 'none' "),
    "too few clients": ("convergence", {}, "shards.parquet: wanted 2 clients of 4 images, found 1"),
    "a delta that gives a client away": ("accounting", {}, "delta=0.5 is not between 0 and 1/clients"),
    "results that are not there": ("metrics", {}, r"block-0\.parquet: not a readable Parquet table"),
    "a threshold out of range": (
        "metrics",
        {"metrics.recovered_ssim": 3},
        "metrics.recovered_ssim: .*3.*less than or equal to 1",
    ),
    "an unknown figure": ("figures", {"figure": "pie"}, "unknown figure 'pie'; known: accuracy_by_round"),
    "another table for a figure": ("figures", ANOTHER_TABLE, "attack_runs.parquet: holds table 'attack_runs'"),
    "another table for the page": ("report", ANOTHER_TABLE, "attack_runs.parquet: holds table 'attack_runs'"),
    "a config with an unknown key": ("report", {"colour": 1}, "colour: unknown key"),
    "an old key": ("train", {"defense.pruned": "gradient"}, "defense.pruned: "),
}


def changed(settings: dict, changes: dict) -> dict:
    """Settings with some values, named by their paths, in the place of others."""
    found = json.loads(json.dumps(settings))
    for path, value in changes.items():
        *above, last = path.split(".")
        at = found
        for section in above:
            at = at[section]
        at[last] = value
    return found


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_ends_in_one_line_and_leaves_no_output(call, job_words, files, case):
    name, changes, told = MISTAKES[case]
    job = JOBS[name]
    arguments = {"settings", "figure", *job.files, *job.told}
    given = {file: USUAL_FILES[file] for file in job.inputs if file in USUAL_FILES}
    given |= {key: value for key, value in {"results": "results", **changes}.items() if key in arguments}
    given = {key: files / value if key in {*job.inputs, "results"} else value for key, value in given.items()}
    given |= {file: files / "made" / file for file in job.outputs}
    if job.section:
        in_settings = {key: value for key, value in changes.items() if key not in arguments}
        given.setdefault("settings", changed(RIGHT.get(name, {}), in_settings))
    before = sorted(files.rglob("*"))
    code, out, err = call(*job_words(name, **given))
    assert (code, out) == (2, "")
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert re.match(f"fldrep: error: .*{told}", lines[0]), lines[0]
    left = [path for path in files.rglob("*") if path not in before and path.is_file()]
    assert left == []


def test_a_job_does_its_work_and_is_silent_about_it(call, job_words, files):
    target = files / "new" / "seed-0.parquet"
    words = job_words("partition", settings={"clients": 5}, images=files / "images.safetensors", shards=target)
    assert call(*words) == (0, "", "")
    dealt = SHARDS.read(target)
    assert sorted(dealt["index"]) == list(range(10))
    assert dealt.groupby("client").size().tolist() == [2] * 5
    first = target.read_bytes()
    call(*words)
    assert target.read_bytes() == first


def test_a_job_loads_the_plug_ins_that_it_is_told_and_refuses_one_that_fails(call, job_words, files):
    path, broken = files / "my plug-in.py", files / "broken.py"
    path.write_text("print('loaded')\n")
    broken.write_text("1 / 0\n")
    words = job_words("partition", settings={}, images=files / "absent", shards=files / "made")
    code, out, _ = call(*words, "--plugins", path)
    assert (code, out) == (2, "loaded\n")
    code, _, err = call(*words, "--plugins", path, broken)
    assert (code, err.count("\n")) == (2, 1)
    assert re.search("broken.py: ZeroDivisionError", err)


def test_a_job_that_draws_loads_none_and_knows_what_it_is_told(call, job_words, files, monkeypatch):
    monkeypatch.setattr(registry, "_loads_plugins", True)
    monkeypatch.setattr(registry, "_TOLD", {})
    told = '[{"kind": "defense", "name": "sign", "words": {"colour": "red"}}]'
    code, _, err = call(*job_words("figures", picture=files / "made.png"), "--plugins", told)
    assert (code, err.count("\n")) == (2, 1), err
    assert registry.value("defense", "sign").colour == "red"
    assert registry._loads_plugins is False
