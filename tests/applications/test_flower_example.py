"""examples/flower for real: Flower's simulation, clients on MNIST, and an audit of what they sent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fldrep.applications.audit.record import read_record
from fldrep.config.data import DataSettings
from fldrep.data.datasets import load_arrays
from fldrep.errors import DataError

pytest.importorskip("flwr", reason="the extra flower is not installed")
pytest.importorskip("ray", reason="the extra flower is not installed")
APP = Path(__file__).parents[2] / "examples/flower"
WITHIN_S = 600  # it takes half a minute of one core, most of it the start of ray and of its client


def norm(record) -> float:
    change = (value.double() - record.sent[name].double() for name, value in record.received.items())
    return float(sum(one.square().sum() for one in change).sqrt())


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> Path:
    """What two clients sent in one round, undefended, under Soteria and under Flower's own clipping."""
    try:
        load_arrays("mnist", DataSettings())
    except DataError as error:
        pytest.skip(f"MNIST: neither in the cache nor to be downloaded: {error}")
    folder = tmp_path_factory.mktemp("flower") / "records"
    words = ["defenses=none,soteria,flower-clipping", f"records={folder}"]
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join(filter(None, [str(APP.parents[1]), os.environ.get("PYTHONPATH")]))
    said = subprocess.run(
        [sys.executable, "simulate.py", *words],
        cwd=APP,
        env={**os.environ, **quiet, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-3000:]
    return folder


def test_each_client_is_recorded_under_each_defense(records):
    found = {str(path.relative_to(records)) for path in records.rglob("*.safetensors")}
    named = ("none", "soteria", "flower-clipping")
    assert found == {f"{name}/round-1-client-{client}.safetensors" for name in named for client in (0, 1)}
    none, soteria, clipping = (read_record(records / name / "round-1-client-1.safetensors") for name in named)
    assert none.told == {"images": 1, "lr": 0.1, "epochs": 1, "batch_size": 1, "round": 1, "client": 1}
    assert all(torch.equal(value, soteria.received[name]) for name, value in none.received.items())
    assert norm(clipping) == pytest.approx(min(0.1, norm(none)), rel=1e-3)
    pruned = (soteria.received["head.weight"] == soteria.sent["head.weight"]).all(0)
    assert 0.5 < float(pruned.float().mean()) < 0.7


def test_the_example_finds_the_image_of_an_undefended_client(records, call, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(APP)
    record = records / "none/round-1-client-0.safetensors"
    words = ("--model", APP / "mnist_app/task.py:build", "--shape", "1x28x28", "--out", tmp_path, "--budget", "20")
    code, _, err = call("audit", record, *words)
    assert code == 0, err
    said = json.loads((tmp_path / "result.json").read_text())
    assert said["labels"] == [5]  # MNIST's first digit
    assert said["verdict"] == "recovered-exactly"
