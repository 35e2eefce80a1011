"""The command line: every stage explains itself, and a user's mistake ends in one line, exit code 2 and no file."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from fldrep.cli import main as cli
from fldrep.models.checkpoint import write_checkpoints
from fldrep.storage.imageset import ImageSet, mean_of_each_class
from fldrep.storage.tensors import write_tensors
from fldrep.tables.attack_runs import ATTACK_RUNS
from fldrep.tables.shards import SHARDS

COMMANDS = sorted(get_command(cli.app).commands)
RUN = ["--dataset", "mnist", "--model", "lenet", "--partition", "iid", "--defense", "none", "--seed", "0"]
BLOCK = [*RUN, "--round", "0", "--update-kind", "single", "--attack", "gs", "--block", "0"]
TRAIN = json.dumps({"model": {}, "train": {"rounds": 1}, "defense": {}})
ATTACK = json.dumps(
    {"model": {}, "defense": {}, "update": {}, "attack": {"iterations": 1}, "engine": {}, "targets": [0]}
)
ENTRY = {"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["none"], "attacks": ["gs"]}
LEAKAGE = json.dumps({"model": {}, "defense": {}, "leakage": {"batch_sizes": [1, 11], "batches": 1}})
SOTERIA = {"method": "soteria", "rate": 0.5}
CERTIFICATE = json.dumps({"model": {}, "defense": SOTERIA, "certificate": {}, "targets": [0]})
ACCOUNTING = json.dumps({"model": {}, "train": {}, "defense": {}, "accounting": {"delta": 0.5}})
CONVERGENCE = json.dumps({"partitions": ["iid"], "clients": 2, "images_per_client": 4})
METRICS = json.dumps({"seeds": [0], "grid": [ENTRY], "block": 8, "metrics": {}})
CONFIG = json.dumps(
    {
        "name": "x",
        "partitions": {"iid": {}},
        "models": {"lenet": {}},
        "train": {"lenet": {}},
        "defenses": {"none": {}},
        "attacks": {"gs": {}},
        "grid": [ENTRY],
    }
)


def called(monkeypatch, capsys, *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `python -m fldrep ...`, in this process."""
    monkeypatch.setattr(sys, "argv", ["fldrep", *map(str, arguments)])
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def call(monkeypatch, capsys):
    return lambda *arguments: called(monkeypatch, capsys, *arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(call, command):
    code, out, _ = call(command, "--help")
    assert code == 0
    function = get_command(cli.app).commands[command]
    plain = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", out).split())
    assert function.help.split("\n")[0][:40] in plain
    for option in function.params:
        assert option.name == "help" or any(name in plain for name in (*option.opts, option.name.upper())), option.name


def test_every_stage_of_the_workflow_is_a_command(call):
    assert {"data", "partition", "train", "attack", "metrics", "figures", "report", "schema", "photo"} <= set(COMMANDS)
    assert {"leakage", "certificate", "convergence", "accounting", "claims"} <= set(COMMANDS)
    code, out, _ = call("--help")
    assert code == 0
    assert all(command in out for command in COMMANDS)


def test_the_module_is_run_as_documented(tmp_path):
    command = [sys.executable, "-m", "fldrep", "data", "--dataset", "letters", "--settings", "{}", "--out"]
    done = subprocess.run([*command, str(tmp_path / "x" / "out")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"fldrep: error: unknown dataset 'letters'; known: [^\n]*mnist[^\n]*\n", done.stderr)
    assert not (tmp_path / "x").exists()


# ---- mistakes


@pytest.fixture
def files(tmp_path):
    """What earlier stages leave: ten tiny images, their shards, and files that are not what they should be."""
    import torch

    from fldrep.models.model import build_model

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


def mistakes() -> dict[str, tuple[list, str]]:
    """name -> (arguments, with `@name` for a file of the folder and `>name` for an output; what the line must say)"""
    partition = ["partition", "--dataset", "mnist", "--partition", "iid", "--seed", "0"]
    made = ["--training", ">history", "--checkpoints", ">checkpoints"]
    train = ["train", *RUN, "--images", "@images.safetensors"]
    attack = ["attack", *BLOCK, "--images", "@images.safetensors", "--shards", "@shards.parquet"]
    found = ["--attack-runs", ">attack_runs", "--reconstructions", ">reconstructions"]
    metrics = ["metrics", "--results", "@results", "--attacks", ">a", "--training", ">u", "--gallery", ">g"]
    metrics += ["--leakage", ">l", "--certificate", ">c", "--convergence", ">v", "--accounting", ">p"]
    analysed = ["--images", "@images.safetensors", "--shards", "@shards.parquet", "--out", ">out"]
    certified = ["--images", "@images.safetensors", "--reconstructions", "@other.safetensors", "--out", ">out"]
    split = ["convergence", "--dataset", "mnist", "--partition", "iid", "--seed", "0"]
    tables = ["--attacks", "@attack_runs.parquet", "--training", "@attack_runs.parquet"]
    later = ("claims", "leakage", "certificate", "convergence", "accounting")
    claims = [word for name in later for word in (f"--{name}", "@attack_runs.parquet")]
    return {
        "data: an unknown source": (
            ["data", "--dataset", "mnist", "--settings", '{"sources": ["ftp"]}', "--out", ">out"],
            "sources.0: 'ftp'",
        ),
        "data: a folder that is none": (
            [
                "data",
                "--dataset",
                "mnist",
                "--settings",
                '{"sources": ["folder"], "folder": "/nowhere"}',
                "--out",
                ">o",
            ],
            "data.folder: '/nowhere': not a folder",
        ),
        "data: settings that are no JSON": (
            ["data", "--dataset", "mnist", "--settings", "{sources", "--out", ">out"],
            "Invalid JSON",
        ),
        "partition: classes without a number": (
            [*partition, "--settings", '{"method": "label-skew"}', "--images", "@images.safetensors", "--out", ">out"],
            "classes_per_client",
        ),
        "partition: images that are a web page": (
            [*partition, "--settings", "{}", "--images", "@page.html", "--out", ">out"],
            "page.html: not a readable safetensors file",
        ),
        "partition: images that are not there": (
            [*partition, "--settings", "{}", "--images", "@absent", "--out", ">out"],
            "absent: not a readable safetensors file: .*No such file",
        ),
        "partition: more clients than images": (
            [*partition, "--settings", '{"clients": 11}', "--images", "@images.safetensors", "--out", ">out"],
            "clients.*11",
        ),
        "train: a wrong step size": (
            [*train, "--settings", TRAIN.replace('"rounds": 1', '"lr": -1'), "--shards", "@shards.parquet", *made],
            "train.lr: .*-1.*greater than 0",
        ),
        "train: shards beyond the images": (
            [*train, "--settings", TRAIN, "--shards", "@beyond.parquet", *made],
            "beyond.parquet: index 77 is not a position among 10",
        ),
        "train: shards of nobody": (
            [*train, "--settings", TRAIN, "--shards", "@nobody.parquet", *made],
            "nobody.parquet: deals no image",
        ),
        "train: another table as shards": (
            [*train, "--settings", TRAIN, "--shards", "@attack_runs.parquet", *made],
            "attack_runs.parquet: holds table 'attack_runs' version 2, expected 'shards'",
        ),
        "attack: an unknown preset": (
            [*attack, "--settings", ATTACK.replace('"iterations": 1', '"preset": "x"'), "--checkpoints", "@x", *found],
            "attack.preset: 'x'",
        ),
        "attack: a checkpoint of another network": (
            [*attack, "--settings", ATTACK, "--checkpoints", "@other.safetensors", *found],
            "other.safetensors: holds no tensor 'round-0/body",
        ),
        "attack: a checkpoint that is a web page": (
            [*attack, "--settings", ATTACK, "--checkpoints", "@page.html", *found],
            "page.html: not a readable safetensors file",
        ),
        "attack: a target too many": (
            [*attack, "--settings", ATTACK.replace("[0]", "[10]"), "--checkpoints", "@other.safetensors", *found],
            "targets: number 10 asks client 0 for more than its 10 images",
        ),
        "leakage: a batch that no client holds": (
            ["leakage", *RUN, "--round", "0", "--settings", LEAKAGE, "--checkpoints", "@whole.safetensors", *analysed],
            "shards.parquet: no client holds 11 images",
        ),
        "leakage: a checkpoint of another network": (
            ["leakage", *RUN, "--round", "0", "--settings", LEAKAGE, "--checkpoints", "@other.safetensors", *analysed],
            "other.safetensors: holds no tensor 'round-0/body",
        ),
        "certificate: a file without reconstructions": (
            ["certificate", *BLOCK, "--settings", CERTIFICATE, "--checkpoints", "@whole.safetensors", *certified],
            "other.safetensors: holds no tensor 'originals'",
        ),
        "certificate: a defense that prunes nothing": (
            [
                *["certificate", *BLOCK, "--settings", CERTIFICATE.replace(json.dumps(SOTERIA), "{}")],
                *["--checkpoints", "@whole.safetensors", *certified],
            ],
            "defense 'none' leaves r as it is",
        ),
        "convergence: too few clients": (
            [*split, "--settings", CONVERGENCE, *analysed],
            "shards.parquet: wanted 2 clients of 4 images, found 1",
        ),
        "accounting: a delta that gives a client away": (
            ["accounting", *RUN, "--settings", ACCOUNTING, *analysed],
            "delta=0.5 is not between 0 and 1/clients",
        ),
        "metrics: results that are not there": (
            [*metrics, "--settings", METRICS],
            r"block-0\.parquet: not a readable Parquet table",
        ),
        "metrics: a threshold out of range": (
            [*metrics, "--settings", METRICS.replace('"metrics": {}', '"metrics": {"recovered_ssim": 3}')],
            "metrics.recovered_ssim: .*3.*less than or equal to 1",
        ),
        "figures: an unknown figure": (
            ["figures", "--figure", "pie", *tables, "--gallery", "@page.html", "--out", ">out.png"],
            "unknown figure 'pie'; known: accuracy_by_round",
        ),
        "figures: another table": (
            ["figures", "--figure", "privacy_utility", *tables, "--gallery", "@page.html", "--out", ">out.png"],
            "attack_runs.parquet: holds table 'attack_runs' version 2, expected 'attacks'",
        ),
        "report: another table": (
            ["report", "--settings", CONFIG, *tables, *claims, "--out", ">out.html", "@page.html"],
            "attack_runs.parquet: holds table 'attack_runs'",
        ),
        "report: a config with an unknown key": (
            [
                "report",
                "--settings",
                CONFIG.replace('"name"', '"colour": 1, "name"'),
                *tables,
                *claims,
                "--out",
                ">o",
                "@page.html",
            ],
            "colour: unknown key",
        ),
        "photo: not an image": (
            ["photo", "@page.html", "--label", "1", "--out", ">out"],
            "page.html: not a readable image",
        ),
        "photo: a label beyond the classes": (
            ["photo", "@page.html", "--label", "10", "--out", ">out"],
            "label: 10: expected 0 to 9",
        ),
        "publish: a config that is not there": (
            ["publish", "@absent.yaml", "--readme", "@page.html", "--out", ">out"],
            "absent.yaml: not a readable YAML file",
        ),
        "publish: a README that is not there": (
            ["publish", "--readme", "@absent.md", "--out", ">out"],
            "absent.md: cannot be read",
        ),
        "estimate: a config that is not there": (["estimate", "@absent.yaml"], "absent.yaml: not a readable YAML file"),
    }


@pytest.mark.parametrize("case", mistakes())
def test_a_mistake_ends_in_one_line_and_leaves_no_output(call, files, case):
    arguments, told = mistakes()[case]
    outputs = files / "made"
    filled = [re.sub("^@", f"{files}/", re.sub("^>", f"{outputs}/", one)) for one in arguments]
    before = sorted(files.rglob("*"))
    code, out, err = call(*filled)
    assert code == 2
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert re.match(f"fldrep: error: .*{told}", lines[0]), lines[0]
    left = [path for path in files.rglob("*") if path not in before and path.is_file()]
    assert left == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["colour"],
        ["data"],
        ["data", "--dataset", "mnist", "--settings", "{}"],
        ["data", "--colour", "red"],
        ["attack", *BLOCK[:-1], "first"],
        ["photo", "x.jpg", "--label", "-1", "--out", "x"],
    ],
)
def test_arguments_that_make_no_command_end_with_code_2_and_no_traceback(call, arguments):
    code, out, err = call(*arguments)
    assert code == 2
    assert "Traceback" not in out + err
    assert err.strip()


def test_a_bug_is_not_dressed_as_a_users_mistake(monkeypatch):
    def broken():
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_stage_does_its_work_and_is_silent_about_it(call, files):
    partition = ["partition", "--dataset", "mnist", "--partition", "iid", "--seed", "0", "--settings", '{"clients": 5}']
    target = files / "new" / "seed-0.parquet"
    assert call(*partition, "--images", files / "images.safetensors", "--out", target) == (0, "", "")
    dealt = SHARDS.read(target)
    assert sorted(dealt["index"]) == list(range(10))
    assert dealt.groupby("client").size().tolist() == [2] * 5
    first = target.read_bytes()
    call(*partition, "--images", files / "images.safetensors", "--out", target)
    assert target.read_bytes() == first


def test_a_photo_is_attacked_and_the_result_written(call, tmp_path):
    picture = Path(__file__).parents[1] / "data" / "pattern.png"
    given = ["--label", "1", "--attack", "gs", "--iterations", "2", "--defense", "soteria", "--rate", "0.6"]
    code, _, _ = call(
        "photo", picture, *given, "--rule", "reference-script", "--width", "4", "--out", tmp_path, "--device", "cpu"
    )
    assert code == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert {"mse", "mse_pixel", "psnr_db", "ssim", "live_pruned", "norm2_removed", "settings", "grey_mse"} <= set(
        result
    )
    assert result["settings"]["rule"] == "reference-script"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "original.png",
        "pair.png",
        "reconstruction.png",
        "result.json",
    ]
