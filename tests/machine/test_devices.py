"""A job claims a free device by a lock that the kernel drops when the job ends, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch

from fldrep.errors import ConfigError
from fldrep.machine import devices
from fldrep.machine.devices import claimed, device_for, device_words, gpus_visible

HOLD = """
import sys
from pathlib import Path
from fldrep.machine.devices import claimed
with claimed(sys.argv[2].split(","), Path(sys.argv[1])) as name:
    print(name, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_job(folder: Path, names: str = "0,1"):
    """A process that holds a device until it is told to end; yields it and the device's name."""
    command = [sys.executable, "-c", HOLD, str(folder), names]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        if process.poll() is None:
            process.communicate("\n", timeout=30)
        process.stdin.close()
        process.stdout.close()


def free_for_us(folder: Path, names: Sequence[str] = ("0", "1")) -> str:
    with claimed(list(names), folder) as name:
        return name


def test_jobs_take_different_devices_and_give_them_back(tmp_path):
    with another_job(tmp_path) as (_, first):
        assert first == "0"
        with another_job(tmp_path) as (_, second):
            assert second == "1"
        assert free_for_us(tmp_path) == "1"
    assert free_for_us(tmp_path) == "0"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_gives_its_device_back(tmp_path, how):
    with another_job(tmp_path) as (process, name):
        assert name == "0"
        assert free_for_us(tmp_path) == "1"
        os.kill(process.pid, how)
        process.wait(30)
        assert free_for_us(tmp_path) == "0"


def test_more_jobs_than_devices_share_the_first(tmp_path):
    with ExitStack() as jobs:
        names = [jobs.enter_context(another_job(tmp_path))[1] for _ in range(3)]
    assert names == ["0", "1", "0"]


def test_one_process_may_hold_several_and_gives_back_also_after_an_error(tmp_path):
    names = ["0", "1", "2"]
    with claimed(names, tmp_path) as one, claimed(names, tmp_path) as other:
        assert (one, other) == ("0", "1")
    assert free_for_us(tmp_path, names) == "0"
    with pytest.raises(RuntimeError, match="own"), claimed(names, tmp_path):
        raise RuntimeError("own mistake")
    assert free_for_us(tmp_path, names) == "0"


def test_names_with_slashes_stay_in_the_folder(tmp_path):
    with claimed(["GPU-1/MIG 3/0"], tmp_path) as name:
        assert name == "GPU-1/MIG 3/0"
    assert [path.parent for path in tmp_path.rglob("*.lock")] == [tmp_path]


def test_lock_files_lie_in_one_private_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    folder = devices.lock_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert devices.lock_folder() == folder


@pytest.mark.parametrize(
    ("listed", "expected"), [("", []), ("0", ["0"]), ("1,3", ["1", "3"]), ("GPU-ab", ["GPU-ab"]), (" ", [])]
)
def test_visible_gpus_are_those_of_the_environment(monkeypatch, listed, expected):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert gpus_visible() == expected


def test_the_device_asked_for_is_the_device_given(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "lock_folder", lambda: tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for asked in ("cpu", "auto"):
        with device_for(asked) as device:
            assert device == "cpu"
    with pytest.raises(ConfigError, match=r"engine.device: 'cuda' .* use auto or cpu"), device_for("cuda"):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with device_for("cpu") as device:
        assert device == "cpu"
    with device_for("auto") as one, device_for("cuda") as other:
        assert (one, other) == ("cuda:0", "cuda:1")


@pytest.mark.parametrize("tf32", [True, False])
def test_tf32_is_off_unless_asked_for(tf32):
    with device_for("cpu", tf32):
        assert torch.backends.cuda.matmul.allow_tf32 is tf32
        assert torch.backends.cudnn.allow_tf32 is tf32
    with device_for("cpu"):
        assert torch.backends.cuda.matmul.allow_tf32 is False


def test_the_words_of_a_cpu_say_precision_and_threads():
    assert device_words("cpu") == f"cpu float32 {torch.get_num_threads()} thread" + (
        "s" if torch.get_num_threads() > 1 else ""
    )
