import json
import multiprocessing
import os
import signal
import time
from types import SimpleNamespace

import pytest
import torch

from fldrep.config.defenses import defense_settings
from fldrep.config.train import TrainSettings
from fldrep.storage.tensors import read_metadata, write_tensors
from fldrep.train.resume import Progress, load_progress, run_key, save_progress
from fldrep.train.workers import client_pool

SETTINGS = TrainSettings(rounds=5, checkpoints=[0, 2, 5], fraction=0.6, batch_size=5, lr=0.2)
DEFENSE = defense_settings(method="laplace", std=0.01)
SECONDS = ("train_s", "defense_s", "evaluate_s")


class Killed(Exception):
    """Stands for a kill."""


def numbers(trained):
    rows = [{key: value for key, value in row.items() if key not in SECONDS} for row in trained.history]
    states = {f"{r}/{n}": v.tolist() for r, state in trained.checkpoints.items() for n, v in state.items()}
    return rows, states


def killed_in(round):
    def progress(row):
        if row["round"] == round:
            raise Killed

    return progress


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", ["lenet", "normed"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(small, name, workers, tmp_path, request):
    model = request.getfixturevalue(name).float()
    given = {"settings": SETTINGS, "defense": DEFENSE, "resume": tmp_path / "progress.safetensors", "save_every_s": 0}
    undisturbed = small.train(model, settings=SETTINGS, defense=DEFENSE)
    for round in (0, 3):
        with pytest.raises(Killed):
            small.train(model, **given, workers=workers, progress=killed_in(round))
    seen = []
    resumed = small.train(model, **given, progress=lambda row: seen.append(row["round"]))
    assert seen == [4, 5]
    assert numbers(resumed) == numbers(undisturbed)
    again = small.train(model, **given, progress=lambda row: seen.append(row["round"]))
    assert seen == [4, 5]
    assert numbers(again) == numbers(undisturbed)


def test_progress_of_another_run_is_not_taken(small, lenet, tmp_path):
    resume = tmp_path / "progress.safetensors"
    small.train(lenet, settings=SETTINGS, resume=resume, save_every_s=0, code="a")
    changes = [
        {"code": "b"},
        {"code": "a", "settings": SETTINGS.model_copy(update={"lr": 0.3})},
        {"code": "a", "defense": DEFENSE},
        {"code": "a", "defense_name": "other"},
        {"code": "a", "identity": ("noise", "small", "dealt", 1)},
        {"code": "a", "shards": small.shards[::-1]},
    ]
    for changed in changes:
        seen = []
        small.train(
            lenet, **{"settings": SETTINGS, **changed}, resume=resume, progress=lambda row, s=seen: s.append(row)
        )
        assert len(seen) == 6, changed
    seen = []
    small.train(lenet, settings=SETTINGS, resume=resume, code="a", progress=seen.append)
    assert not seen


def test_progress_is_the_same_after_a_file(small, lenet, tmp_path):
    state = {name: value.clone() for name, value in lenet.state_dict().items()}
    history = [{"round": 0, "test_loss": 1 / 3, "lr": None}, {"round": 1, "test_loss": float("inf"), "lr": 0.1}]
    other = {name: value + 1 for name, value in state.items()}
    path = tmp_path / "progress.safetensors"
    save_progress(path, "key", Progress(state, history, {0: other, 10: state, 2: other}))
    found = load_progress(path, "key")
    assert found.history == history
    assert [*found.checkpoints] == [0, 2, 10]
    assert torch.equal(found.checkpoints[2]["head.bias"], other["head.bias"])
    assert torch.equal(found.state["head.bias"], state["head.bias"])
    assert load_progress(path, "another") is None
    assert load_progress(tmp_path / "none", "key") is None


def test_damaged_progress_is_started_over(tmp_path):
    path = tmp_path / "progress.safetensors"
    path.write_bytes(b"<html>not tensors</html>")
    assert load_progress(path, "key") is None
    write_tensors(path, {"state/w": torch.ones(1)}, {"key": "key", "history": json.dumps([])})
    path.write_bytes(path.read_bytes()[:-2])
    assert load_progress(path, "key") is None


def test_key_depends_on_the_first_weights(small, lenet):
    before = run_key(small.federation(lenet), "")
    with torch.no_grad():
        lenet.head.bias[0] += 1e-6
    assert run_key(small.federation(lenet), "") != before


def test_saving_waits_between_writes(small, lenet, tmp_path):
    resume = tmp_path / "progress.safetensors"
    small.train(lenet, settings=SETTINGS, resume=resume, save_every_s=1000.0)
    assert not resume.exists()
    small.train(lenet, settings=SETTINGS, resume=resume, save_every_s=0.0)
    assert "key" in read_metadata(resume)


def tell_and_sleep(site, state, number):
    os.write(site.told, f"{os.getpid()}\n".encode())
    time.sleep(60)


def parent_of_sleepers(told):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    with client_pool(2, SimpleNamespace(model=SimpleNamespace(head=torch.nn.Linear(1, 1)), told=told)) as call:
        list(call(tell_and_sleep, {}, [(0,), (1,)]))


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_with_their_parent(sent):
    hears, told = os.pipe()
    parent = multiprocessing.get_context("fork").Process(target=parent_of_sleepers, args=(told,))
    parent.start()
    with os.fdopen(hears) as lines:
        workers = [int(lines.readline()) for _ in range(2)]
        os.close(told)
    assert parent.pid not in workers
    os.kill(parent.pid, sent)
    parent.join(timeout=30)
    assert parent.exitcode
    deadline = time.monotonic() + 30
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline, f"workers {workers} outlive their parent"
        time.sleep(0.02)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as status:
        return status.read().rpartition(")")[2].split()[0] != "Z"


def test_a_run_killed_for_real_goes_on(small, lenet, tmp_path):
    model = lenet.float()
    given = {"settings": SETTINGS, "defense": DEFENSE, "workers": 2}
    resume = tmp_path / "progress.safetensors"
    hears, tells = multiprocessing.get_context("fork").Pipe(duplex=False)

    def doomed():
        small.train(model, **given, resume=resume, save_every_s=0, progress=lambda row: tells.send(row["round"]))

    process = multiprocessing.get_context("fork").Process(target=doomed)
    process.start()
    while hears.recv() < 2:
        pass
    process.kill()
    process.join()
    seen = []
    resumed = small.train(model, **given, resume=resume, progress=lambda row: seen.append(row["round"]))
    assert min(seen, default=5) > 2  # a row is told after its round was kept
    assert numbers(resumed) == numbers(small.train(model, settings=SETTINGS, defense=DEFENSE))
