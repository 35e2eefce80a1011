"""The workflow by its Slurm profile: what jobs ask for they get, and what goes wrong on a cluster loses nothing."""

import re
import time
from pathlib import Path

import psutil
import pytest

TINY = Path(__file__).parents[1] / "workflow/tiny.yaml"
TIME_LIMIT_S = 1500  # for the whole run
ATTACKS = 5

pytestmark = pytest.mark.long


def waited_for(run, what, found):
    """The first true thing that `found()` gives while the run lives."""
    deadline = time.monotonic() + TIME_LIMIT_S / 3
    while not (thing := found()):
        assert run.process.poll() is None, f"ended before {what}: {run.text[-3000:]}"
        assert time.monotonic() < deadline, f"no {what}: {run.text[-3000:]}"
        time.sleep(0.1)
    return thing


def of_rule(jobs: list[dict], rule: str, state: str = "") -> list[dict]:
    """Slurm's jobs of one rule, and in one state."""
    return [job for job in jobs if job["Comment"].startswith(f"rule_{rule}") and job["JobState"].startswith(state)]


def worker(folder: Path, command: str) -> psutil.Process | None:
    """A process of the package that works on this run."""
    for one in psutil.process_iter():
        try:
            words = one.cmdline()
            if words[1:5] == ["-m", "fldrep", "run", command] and Path(one.cwd()) == folder:
                return one
        except psutil.Error:
            continue
    return None


@pytest.fixture(scope="module")
def seen() -> dict:
    """What the run of the first test was seen to do; the tests after it look at this."""
    return {}


def test_a_cancelled_a_hanging_and_a_lost_job_cost_nothing(cluster, on_slurm, numbers, finished, tmp_path, seen):
    """One is cancelled, the node dies with all it runs, one hangs past its time limit: the tables are as ever."""
    folder = tmp_path / "run"
    folder.mkdir()
    run = on_slurm("--configfile", TINY, folder=folder, source=finished.source)

    cancelled = waited_for(run, "a training job", lambda: of_rule(cluster.jobs(), "train", "RUNNING"))[0]
    cluster.cancel(cancelled["JobId"])

    waited_for(run, "another training job", lambda: worker(folder, "train"))
    lost = {job["JobId"] for job in cluster.jobs() if job["JobState"] == "RUNNING"}
    cluster.kill_node()

    hanging = waited_for(run, "an attack", lambda: worker(folder, "attack"))
    hanging.suspend()
    job = hanging.environ()["SLURM_JOB_ID"]
    cluster.limit(job, minutes=1)

    run.succeeds(TIME_LIMIT_S)
    states = {one["JobId"]: one for one in cluster.jobs()}
    seen.update(jobs=states, text=run.text)
    assert states[cancelled["JobId"]]["JobState"].startswith("CANCELLED")
    assert lost
    for one in lost:
        assert (
            states[one]["JobState"].startswith("NODE_FAIL")
            or int(states[one]["Restarts"])
            or "FAILED" in str(states[one])
        )
    assert states[job]["JobState"] == "TIMEOUT"
    found, expected = numbers(folder), numbers(finished.folder)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    assert not hanging.is_running()


def test_attack_jobs_got_a_gpu_the_memory_and_the_time_they_asked_for(seen):
    attacks = of_rule(list(seen["jobs"].values()), "attack", "COMPLETED")
    assert len(attacks) == ATTACKS
    for job in attacks:
        assert re.fullmatch(r"gpu(:\w+)?:1", job["JOB_GRES"])
        assert 3400 <= int(job["Mem"]) < 3600, "MB"
        assert job["TimeLimit"] == "12:00:00"
    others = of_rule(list(seen["jobs"].values()), "train", "COMPLETED")
    assert others
    assert not any("gpu" in job["JOB_GRES"] for job in others)


def test_attack_jobs_are_sent_as_arrays(seen):
    arrays = [job for job in of_rule(list(seen["jobs"].values()), "attack") if "ArrayJobId" in job]
    assert len(arrays) >= 2
    assert "Submitted array job" in seen["text"]
