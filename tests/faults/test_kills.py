"""A run killed at random moments of every stage: the same command finishes, with the tables of an undisturbed one.

Each case begins with the outputs before one stage, starts the command, waits for a job of that stage, lets it work for
a random time, and kills Snakemake with SIGKILL, which leaves its lock and its living jobs behind; or interrupts all of
it, as Ctrl-C does.
"""

import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from fldrep.plan.leftovers import MARK

ROOT = Path(__file__).parents[2]
KILLED = Path(__file__).parent / "killed.yaml"
KILLS_A_STAGE = 3
# What each stage makes, under results/killed and reports/killed, in the order of the chain.
MADE = {
    "data": ("results/killed/data",),
    "train": ("results/killed/train",),
    "attack": ("results/killed/attack",),
    "theory": ("results/killed/theory",),
    "metrics": ("results/killed/metrics",),
    "figures": ("reports/killed/figures",),
    "report": ("reports/killed/report.html", "reports/killed/claims.parquet", "reports/killed/claims.html"),
}
RULES = {stage: ROOT / f"workflow/rules/{stage}.smk" for stage in MADE}
TIME_LIMIT_S = 900

pytestmark = pytest.mark.long


def arguments(folder: Path, source: Path) -> tuple[tuple, dict]:
    """How every case calls Snakemake."""
    return ("--cores", 2, "--configfile", KILLED), {"folder": folder, "source": source}


def marked(folder: Path) -> list[psutil.Process]:
    """Every living process of a folder's runs."""
    mark, found = str(folder.resolve() / ".snakemake/fldrep.lock"), []
    for one in psutil.process_iter():
        try:
            if one.environ().get(MARK) == mark and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
        except psutil.Error:
            continue
    return found


def jobs_of(stage: str, folder: Path) -> list[psutil.Process]:
    """Processes of a folder's run that work for a stage."""
    commands = set(re.findall(r"^rule (\w+):", RULES[stage].read_text(), re.MULTILINE))
    found = []
    for one in marked(folder):
        try:
            words = one.cmdline()
        except psutil.Error:
            continue
        if len(words) > 4 and words[1:4] == ["-m", "fldrep", "run"] and words[4] in commands:
            found.append(one)
    return found


def disturbed_in(stage: str, run, folder: Path, sent: int, rng: random.Random) -> bool:
    """Send the command a signal while a job of the stage works; False if the job was faster."""
    deadline = time.monotonic() + TIME_LIMIT_S
    while not (jobs := jobs_of(stage, folder)):
        assert run.process.poll() is None, run.text[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    job, delay = rng.choice(jobs), rng.uniform(0, 6)
    job_ended = not psutil.wait_procs([job], timeout=delay)[1]
    if run.process.poll() is None:
        os.killpg(run.process.pid, sent) if sent == signal.SIGINT else run.process.send_signal(sent)
    run.process.wait(TIME_LIMIT_S)
    return not job_ended


@pytest.fixture(scope="session")
def finished(finished_run):
    """A finished run of killed.yaml."""
    return finished_run(KILLED)


@pytest.fixture
def folder(tmp_path):
    """The folder of one case, taken away afterwards."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path, ignore_errors=True)


def begun_again_from(stage: str, finished, folder: Path) -> None:
    """A copy of the finished folder without what the stage and those after it made."""
    shutil.copytree(finished.folder, folder)
    for later in list(MADE)[list(MADE).index(stage) :]:
        for made in MADE[later]:
            path = folder / made
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def finishes_as_undisturbed(start, numbers, finished, folder: Path) -> None:
    given, where = arguments(folder, finished.source)
    start(*given, **where).succeeds()
    found, expected = numbers(folder), numbers(finished.folder)
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
    pages = [one.relative_to(finished.folder) for one in (finished.folder / "reports").rglob("*") if one.is_file()]
    cut = [page for page in pages if (folder / page).stat().st_size < 0.9 * (finished.folder / page).stat().st_size]
    assert cut == []
    assert marked(folder) == []
    assert not list((folder / ".snakemake/locks").glob("*"))
    left = [path for part in ("results", "reports") for path in (folder / part).rglob("*") if path.is_file()]
    assert [path.name for path in left if path.name.startswith(".") or "resume" in path.name] == []


def test_the_run_has_jobs_in_every_stage(finished):
    ran = set(re.findall(r"^(?:local)?rule (\w+):", finished.text, re.MULTILINE))
    for stage, path in RULES.items():
        assert ran & set(re.findall(r"^rule (\w+):", path.read_text(), re.MULTILINE)), stage


@pytest.mark.parametrize("number", range(KILLS_A_STAGE))
@pytest.mark.parametrize("stage", MADE)
def test_a_run_killed_in_a_stage_is_finished_by_the_same_command(start, numbers, finished, folder, stage, number):
    rng = random.Random(f"{stage} {number}")
    for _ in range(5):
        shutil.rmtree(folder, ignore_errors=True)
        begun_again_from(stage, finished, folder)
        given, where = arguments(folder, finished.source)
        if disturbed_in(stage, start(*given, **where), folder, signal.SIGKILL, rng):
            break
    else:
        pytest.fail(f"no job of stage {stage} lived long enough to be killed")
    finishes_as_undisturbed(start, numbers, finished, folder)


@pytest.mark.parametrize("stage", ["train", "attack"])
def test_a_run_interrupted_by_the_keyboard_is_finished_by_the_same_command(start, numbers, finished, folder, stage):
    rng = random.Random(f"interrupted {stage}")
    begun_again_from(stage, finished, folder)
    given, where = arguments(folder, finished.source)
    disturbed_in(stage, start(*given, **where), folder, signal.SIGINT, rng)
    finishes_as_undisturbed(start, numbers, finished, folder)
