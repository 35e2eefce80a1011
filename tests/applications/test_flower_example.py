"""examples/flower with clients on MNIST: by Flower's own messages, and in Flower's simulation for real (`long`)."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from fldrep.applications.audit.record import Record, read_record
from fldrep.config.data import DataSettings
from fldrep.data.datasets import load_arrays
from fldrep.errors import DataError

pytest.importorskip("flwr", reason="the extra flower is not installed")
pytest.importorskip("ray", reason="the extra flower is not installed")

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

APP = Path(__file__).parents[2] / "examples/flower"
NAMES = ("none", "soteria", "flower-clipping")


@pytest.fixture(autouse=True)
def app(monkeypatch):
    """The example's folder, from which it is imported."""
    try:
        load_arrays("mnist", DataSettings())
    except DataError as error:
        pytest.skip(f"MNIST: neither in the cache nor to be downloaded: {error}")
    monkeypatch.syspath_prepend(APP)


def norm(record: Record) -> float:
    changes = (value.double() - record.sent[name].double() for name, value in record.received.items())
    return float(sum(one.square().sum() for one in changes).sqrt())


def require_what_each_defense_does(records: Path) -> None:
    none, soteria, clipping = (read_record(records / name / "round-1-client-1.safetensors") for name in NAMES)
    assert none.told == {"images": 1, "lr": 0.1, "epochs": 1, "batch_size": 1, "round": 1, "client": 1}
    assert all(torch.equal(value, soteria.received[name]) for name, value in none.received.items())
    assert norm(clipping) == pytest.approx(min(0.1, norm(none)), rel=1e-3)
    pruned = (soteria.received["head.weight"] == soteria.sent["head.weight"]).all(0)
    assert 0.5 < float(pruned.float().mean()) < 0.7


def test_clients_under_every_defense_are_recorded_and_the_undefended_image_is_found(call, tmp_path):
    from mnist_app import client_app, server_app, task

    TaskIdentity.run_id = TaskIdentity.task_id = TaskIdentity.node_id = 1
    said = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    said |= {"records": str(tmp_path / "records")}
    for defense in client_app.DEFENSES:
        asked = {key: said[key] for key in server_app.TOLD} | {"defense": defense, "server-round": 1}
        content = {
            "arrays": ArrayRecord(task.build().state_dict()),
            "config": ConfigRecord({**asked, "clipping_norm": said["clipping-norm"]}),
        }
        message = Message(RecordDict(content), dst_node_id=1, message_type="train")
        context = Context(1, 1, {"partition-id": 1, "num-partitions": 2}, RecordDict(), {})
        assert not client_app.app(message, context).has_error()
    require_what_each_defense_does(tmp_path / "records")
    record = tmp_path / "records/none/round-1-client-1.safetensors"
    words = ("--model", APP / "mnist_app/task.py:build", "--shape", "1x28x28", "--out", tmp_path, "--budget", "10")
    code, _, err = call("audit", record, *words)
    assert code == 0, err
    said = json.loads((tmp_path / "result.json").read_text())
    assert said["labels"] == [0]  # MNIST's second digit
    assert said["verdict"] == "recovered-exactly"


DRAWN = {"gaussian": 0.01, "gaussian-dp": 1.0, "flower-local-dp": 0.97}  # the noise of these is drawn anew each time


def rows(text: str) -> dict[tuple[str, str], tuple[str, float, str, float]]:
    """Verdict, SSIM, noise and floor of the example's table, by defense and client."""
    row = re.compile(r"^\| ([\w-]+) \| (\d) \| ([\w-]+) \| (\S+) \| (\S+) \| (\S+) \|$", re.MULTILINE)
    return {
        (name, one): (said, float(ssim), noise, float(left)) for name, one, said, ssim, noise, left in row.findall(text)
    }


def ran(*words: object) -> str:
    """What a script of the example prints."""
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "OMP_NUM_THREADS": "1"}
    paths = os.pathsep.join(filter(None, [str(APP.parents[1]), os.environ.get("PYTHONPATH")]))
    own = {**os.environ, **quiet, "PYTHONPATH": paths}
    command = [sys.executable, *map(str, words)]
    said = subprocess.run(command, cwd=APP, env=own, capture_output=True, text=True, timeout=3600)
    assert said.returncode == 0, said.stdout[-3000:] + said.stderr[-3000:]
    return said.stdout


@pytest.mark.long
def test_flowers_simulation_is_recorded_and_audits_say_what_the_page_has_of_it(tmp_path):
    from mnist_app import client_app

    records, published = tmp_path / "records", rows((APP.parents[1] / "docs/flower.md").read_text())
    ran("simulate.py", f"defenses={','.join(client_app.DEFENSES)}", f"records={records}")
    found = {str(path.relative_to(records)) for path in records.rglob("*.safetensors")}
    assert found == {f"{name}/round-1-client-{client}.safetensors" for name in client_app.DEFENSES for client in (0, 1)}
    require_what_each_defense_does(records)
    audited = rows(ran("audit.py", records, tmp_path / "audits"))
    assert audited.keys() == published.keys() == {(name, one) for name in client_app.DEFENSES for one in "01"}
    for case, (verdict, ssim, noise, floor) in audited.items():
        if case[0] in DRAWN:
            assert float(noise) == pytest.approx(DRAWN[case[0]], rel=0.1), case
            continue
        assert (verdict, noise) == (published[case][0], published[case][2]), case
        assert ssim == pytest.approx(published[case][1], abs=0.05), case
        assert floor == pytest.approx(published[case][3], rel=0.5), case
