"""A stage that is given a wrong, damaged or missing file says so in one line, names the file, and writes nothing."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from fldrep.config.defenses import defense_settings
from fldrep.models.building import build_model
from fldrep.models.checkpoint import write_checkpoints
from fldrep.plan.jobs import JOBS
from fldrep.storage.imageset import ImageSet, mean_of_each_class
from fldrep.storage.places import Run
from fldrep.storage.tensors import read_tensors, write_tensors
from fldrep.tables.attack_runs import ATTACK_RUNS
from fldrep.tables.attacks import ATTACKS
from fldrep.tables.claims import CLAIMS
from fldrep.tables.final import FINAL
from fldrep.tables.shards import SHARDS
from fldrep.tables.table import Table
from fldrep.tables.training import TRAINING

ENTRY = {"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["none"], "attacks": ["gs"]}
SETTINGS = {
    "partition": {"clients": 5},
    "train": {"model": {}, "train": {"rounds": 1, "checkpoints": [0, 1]}, "defense": {}},
    "attack": {
        **{section: {} for section in ("model", "defense", "update")},
        **{"attack": {"iterations": 1}, "engine": {"device": "cpu"}, "targets": [0]},
    },
    "metrics": {"seeds": [0], "grid": [{**ENTRY, "targets": 1}], "block": 8, "metrics": {}},
    "report": {
        "name": "x",
        "partitions": {"iid": {}},
        "models": {"lenet": {}},
        "train": {"lenet": {}},
        "defenses": {"none": {}},
        "attacks": {"gs": {}},
        "grid": [ENTRY],
    },
}
BLOCK = "results/attack/mnist/lenet/iid/none/seed-0/round-0/single/gs/block-0"
TRAINING_FILE = "results/train/mnist/lenet/iid/none/seed-0/training.parquet"
FIGURES = ("reconstructions", "leakage", "figures")  # commands that are the job `figures`
CASES_OF = {**SETTINGS, **dict.fromkeys(FIGURES)}  # command -> its settings


def spoilt(path, content: bytes | None = None, cut: int | None = None):
    """A file replaced by other bytes, cut short, or taken away where neither is given."""
    whole = path.read_bytes() if path.exists() else b""
    path.unlink(missing_ok=True)
    if content is not None or cut is not None:
        path.write_bytes(whole[: len(whole) - cut] if cut is not None else content)


def tensors(path, **changes):
    """A safetensors file with some tensors changed (`...` removes one)."""
    held = {**read_tensors(path), **{name.replace("__", "."): value for name, value in changes.items()}}
    save_file({name: value.clone().contiguous() for name, value in held.items() if value is not ...}, path)


def table(path, change=lambda frame: frame, **metadata):
    """A Parquet file with its rows or its table's name and version changed, written as a stranger would."""
    old = pq.read_table(path)
    marks = {**old.schema.metadata, **{f"fldrep_{key}".encode(): value.encode() for key, value in metadata.items()}}
    changed = pa.Table.from_pandas(change(old.to_pandas()), preserve_index=False)
    pq.write_table(changed.replace_schema_metadata(marks), path)


def checkpoint(path, name, value):
    """One tensor of round 0 replaced."""
    held = read_tensors(path)
    held[f"round-0/{name}"] = value
    save_file(held, path)


HTML = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
NOT_ST = "not a readable safetensors file"
NOT_PARQUET = "not a readable Parquet table"
# command, the file at fault, cause, what is done to it, what the line must say after the file's name
CASES = [
    ("partition", "images.safetensors", "missing", lambda p: spoilt(p), f"{NOT_ST}: .*No such file"),
    ("partition", "images.safetensors", "a web page", lambda p: spoilt(p, HTML), NOT_ST),
    ("partition", "images.safetensors", "empty", lambda p: spoilt(p, b""), NOT_ST),
    ("partition", "images.safetensors", "cut", lambda p: spoilt(p, cut=100), NOT_ST),
    ("partition", "images.safetensors", "a folder", lambda p: (spoilt(p), p.mkdir()), NOT_ST),
    (
        "partition",
        "images.safetensors",
        "lacks a tensor",
        lambda p: tensors(p, test_labels=...),
        "no tensor 'test_labels'",
    ),
    (
        "partition",
        "images.safetensors",
        "a label too few",
        lambda p: tensors(p, train_labels=torch.arange(9)),
        r"train_labels is int64 \(9,\), expected int64 \(10,\)",
    ),
    (
        "partition",
        "images.safetensors",
        "labels that are no class",
        lambda p: tensors(p, train_labels=torch.arange(10) + 5),
        "train_labels holds 5 to 14, expected 0 to 9",
    ),
    (
        "train",
        "images.safetensors",
        "pixels as numbers of another kind",
        lambda p: tensors(p, train_images=torch.zeros(10, 1, 28, 28)),
        r"train_images is float32 \(10, 1, 28, 28\), expected uint8",
    ),
    (
        "train",
        "images.safetensors",
        "test images of another size",
        lambda p: tensors(p, test_images=torch.zeros(10, 3, 32, 32, dtype=torch.uint8)),
        r"test_images is uint8 \(10, 3, 32, 32\), expected \(N, \*\(1, 28, 28\)\)",
    ),
    (
        "train",
        "shards.parquet",
        "a position beyond the images",
        lambda p: table(p, lambda f: f.assign(index=f["index"] + 5)),
        "index 10 is not a position among 10",
    ),
    (
        "train",
        "shards.parquet",
        "of another data set",
        lambda p: table(p, lambda f: f.assign(label=9 - f["label"])),
        "deals image 0 as class 9, but its class is 0",
    ),
    ("train", "shards.parquet", "no rows", lambda p: SHARDS.write([], p), "deals no image"),
    (
        "train",
        "shards.parquet",
        "another table",
        lambda p: ATTACK_RUNS.write([], p),
        f"table 'attack_runs' version {ATTACK_RUNS.version}, expected 'shards'",
    ),
    (
        "train",
        "shards.parquet",
        "another version",
        lambda p: table(p, version="0"),
        "version 0, expected 'shards' version 1",
    ),
    (
        "attack",
        "shards.parquet",
        "a missing column",
        lambda p: table(p, lambda f: f.drop(columns="label")),
        r"missing columns \['label'\]",
    ),
    (
        "attack",
        "shards.parquet",
        "a column of another type",
        lambda p: table(p, lambda f: f.assign(index=f["index"].astype(str))),
        "column index holds (large_)?string, expected int64",
    ),
    (
        "attack",
        "shards.parquet",
        "an empty cell",
        lambda p: table(p, lambda f: f.assign(label=f["label"].astype("Int64").mask(f["label"] == 3))),
        "column label has empty cells",
    ),
    ("attack", "shards.parquet", "cut", lambda p: spoilt(p, cut=20), NOT_PARQUET),
    ("attack", "shards.parquet", "a folder", lambda p: (spoilt(p), p.mkdir()), NOT_PARQUET),
    ("attack", "checkpoints.safetensors", "missing", lambda p: spoilt(p), f"{NOT_ST}: .*No such file"),
    ("attack", "checkpoints.safetensors", "a web page", lambda p: spoilt(p, HTML), NOT_ST),
    ("attack", "checkpoints.safetensors", "cut", lambda p: spoilt(p, cut=1), NOT_ST),
    ("attack", "checkpoints.safetensors", "a pickle", lambda p: torch.save({"head.weight": torch.zeros(1)}, p), NOT_ST),
    (
        "attack",
        "checkpoints.safetensors",
        "of another network",
        lambda p: write_tensors(p, {"round-0/fc.weight": torch.zeros(2, 2)}),
        "holds no tensor 'round-0/body",
    ),
    (
        "attack",
        "checkpoints.safetensors",
        "of another shape",
        lambda p: checkpoint(p, "head.weight", torch.zeros(2, 2)),
        r"head.weight has shape \(2, 2\), expected \(10, 588\)",
    ),
    (
        "attack",
        "checkpoints.safetensors",
        "not a number",
        lambda p: checkpoint(p, "head.bias", torch.full((10,), float("nan"))),
        "head.bias of round 0 is not finite",
    ),
    (
        "attack",
        "checkpoints.safetensors",
        "infinite",
        lambda p: checkpoint(p, "body.0.bias", torch.full((12,), float("inf"))),
        "body.0.bias of round 0 is not finite",
    ),
    (
        "attack",
        "checkpoints.safetensors",
        "of another round",
        lambda p: write_checkpoints(p, {7: build_model("lenet", (1, 28, 28)).state_dict()}, {}),
        "holds no tensor 'round-0/.*it holds round-7",
    ),
    ("metrics", f"{BLOCK}.parquet", "missing", lambda p: spoilt(p), NOT_PARQUET),
    ("metrics", f"{BLOCK}.parquet", "a web page", lambda p: spoilt(p, HTML), NOT_PARQUET),
    ("metrics", f"{BLOCK}.parquet", "another table", lambda p: SHARDS.write([], p), "expected 'attack_runs'"),
    ("metrics", f"{BLOCK}.safetensors", "missing", lambda p: spoilt(p), NOT_ST),
    ("metrics", f"{BLOCK}.safetensors", "lacks a tensor", lambda p: tensors(p, originals=...), "no tensor 'originals'"),
    (
        "metrics",
        TRAINING_FILE,
        "a missing column",
        lambda p: table(p, lambda f: f.drop(columns="test_loss")),
        r"missing columns \['test_loss'\]",
    ),
    ("metrics", TRAINING_FILE, "another version", lambda p: table(p, version="99"), "version 99, expected 'training'"),
    ("figures", "attacks.parquet", "missing", lambda p: spoilt(p), NOT_PARQUET),
    ("figures", "attacks.parquet", "empty", lambda p: spoilt(p, b""), NOT_PARQUET),
    ("figures", "attacks.parquet", "another table", lambda p: ATTACK_RUNS.write([], p), "expected 'attacks'"),
    ("figures", "attacks.parquet", "another version", lambda p: table(p, version="0"), "version 0, expected 'attacks'"),
    (
        "figures",
        "attacks.parquet",
        "a missing column",
        lambda p: table(p, lambda f: f.drop(columns="ssim")),
        r"missing columns \['ssim'\]",
    ),
    (
        "figures",
        "attacks.parquet",
        "marks that are no text",
        lambda p: pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({b"fldrep_table": b"\xff"}), p),
        "holds table '.' version '?[?]'?, expected 'attacks'",
    ),
    ("reconstructions", "gallery.safetensors", "a web page", lambda p: spoilt(p, HTML), NOT_ST),
    ("reconstructions", "gallery.safetensors", "missing", lambda p: spoilt(p), f"{NOT_ST}.*No such file"),
    ("leakage", "leakage.parquet", "another table", lambda p: ATTACK_RUNS.write([], p), "expected 'leakage'"),
    ("report", "training.parquet", "another table", lambda p: SHARDS.write([], p), "expected 'training'"),
    ("report", "training.parquet", "cut", lambda p: spoilt(p, cut=9), NOT_PARQUET),
    ("report", "claims.parquet", "missing", lambda p: spoilt(p), NOT_PARQUET),
    ("report", "claims.parquet", "another version", lambda p: table(p, version="0"), "version 0, expected 'claims'"),
    ("report", "accounting.parquet", "another table", lambda p: SHARDS.write([], p), "expected 'accounting'"),
    ("report", "privacy_utility.png", "missing", lambda p: spoilt(p), "no readable figure"),
    ("report", "privacy_utility.png", "another picture format", lambda p: spoilt(p, b"GIF89a"), "not a whole PNG file"),
    ("report", "privacy_utility.png", "cut", lambda p: spoilt(p, cut=5), "not a whole PNG file"),
]


def row(kind: Table, **cells) -> dict:
    """A row of a table, zeros and empty words where nothing is given."""
    zeros = {"str": "", "int": 0, "float": 0.0, "bool": False}
    return {column.name: cells.get(column.name, zeros[column.type]) for column in kind.columns}


@pytest.fixture
def files(tmp_path):
    """What every stage leaves for the next, whole: ten tiny images, one run, one attacked target."""
    images, labels = torch.zeros(10, 1, 28, 28, dtype=torch.uint8), torch.arange(10)
    whole = ImageSet(images, labels, images, labels, mean_of_each_class(images, labels, 10))
    whole.write(tmp_path / "images.safetensors", {})
    whole.write(tmp_path / "results/data/mnist.safetensors", {})
    SHARDS.write([{"client": k % 2, "index": k, "label": k} for k in range(10)], tmp_path / "shards.parquet")
    state = build_model("lenet", (1, 28, 28)).state_dict()
    write_checkpoints(tmp_path / "checkpoints.safetensors", {0: state}, {})
    run = Run("mnist", "lenet", "iid", "none", 0).columns(defense_settings())
    named = {
        "attack": "gs",
        "preset": "gs",
        "label_strategy": "known",
        "update_kind": "single",
        "images_per_update": 1,
        "local_steps": 1,
    }
    done = row(ATTACKS, **run, **named, is_best_restart=True, device="cpu", code="x")
    trained = row(TRAINING, **run, test_images=10, code="x")
    ATTACKS.write([done], tmp_path / "attacks.parquet")
    TRAINING.write([trained], tmp_path / "training.parquet")
    for empty in (CLAIMS, *(table for table in FINAL.values() if table.name not in ("attacks", "training"))):
        empty.write([], tmp_path / f"{empty.name}.parquet")
    TRAINING.write([trained], tmp_path / TRAINING_FILE)
    ATTACK_RUNS.write([{name: done[name] for name in ATTACK_RUNS.names}], tmp_path / f"{BLOCK}.parquet")
    pictures = {"originals": torch.zeros(1, 1, 28, 28), "images": torch.zeros(1, 1, 1, 28, 28)}
    write_tensors(tmp_path / f"{BLOCK}.safetensors", pictures)
    write_tensors(tmp_path / "gallery.safetensors", {"a": torch.zeros(1, 28, 28)})
    _picture(tmp_path / "privacy_utility.png")
    return tmp_path


def _picture(path):
    from PIL import Image

    Image.new("RGB", (30, 20)).save(path)


@pytest.fixture
def arguments(job_words, files):
    """The words of a command: its inputs among the files, its outputs in a new folder beside them."""

    def words(command: str) -> list[str]:
        name = "figures" if command in FIGURES else command
        job = JOBS[name]
        given = {"settings": SETTINGS[name]} if job.section else {"figure": command}
        if command == "figures":
            given["figure"] = "privacy_utility"
        given |= {word: next(files.glob(f"{word}.*"), f"absent-{word}") for word in job.inputs}
        if name == "report":
            given["figures"] = [files / "privacy_utility.png"]
        given |= {"results": files / "results"} if "results" in job.told else {}
        return job_words(name, **given, **{word: files / "made" / word for word in job.outputs})

    return words


@pytest.mark.parametrize("command", [name for name in CASES_OF if name != "reconstructions"])
def test_the_files_are_right_before_they_are_spoilt(call, arguments, files, command):
    code, _, err = call(*arguments(command))
    assert code == 0, err
    assert list((files / "made").iterdir())


@pytest.mark.parametrize(
    ("command", "file", "cause", "spoil", "told"),
    CASES,
    ids=[f"{command} {file.rpartition('/')[2]}: {cause}" for command, file, cause, *_ in CASES],
)
def test_a_wrong_file_is_named_and_nothing_is_written(refused, arguments, files, command, file, cause, spoil, told):
    given = arguments(command)
    spoil(files / file)
    line = refused(given, files)
    assert re.match(f"fldrep: error: .*{re.escape(file)}: .*{told}", line), line
    assert not [path for path in files.glob("made/**/*") if path.is_file()]


def test_no_file_has_one_cause_twice_in_a_command():
    assert len({(command, file, cause) for command, file, cause, *_ in CASES}) == len(CASES)
