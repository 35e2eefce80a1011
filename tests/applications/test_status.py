"""How far a run has come, read from files that Snakemake and its jobs leave."""

import base64
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from fldrep.applications import status as module
from fldrep.applications.status import last_lines, status, tell_now_and_then
from fldrep.config.checking import stable_json
from fldrep.config.reading import read_config
from fldrep.figures import figures_of
from fldrep.plan.digest import code_digest
from fldrep.plan.grid import grid_of
from fldrep.plan.job_list import jobs_of
from fldrep.storage.places import OF_REPORTS

TINY = Path(__file__).parents[1] / "workflow/tiny.yaml"
NOW = 1_000_000.0


@pytest.fixture(scope="module")
def config():
    return read_config(TINY)


@pytest.fixture(scope="module")
def jobs(config):
    """The jobs of tiny.yaml in their order."""
    return list(jobs_of(grid_of(config), figures_of(config)))


class Folder:
    """A working folder in which jobs are made to look done, begun or failed."""

    def __init__(self, path: Path, config):
        self.path, self.config = path, config

    def files(self, job, where) -> list[str]:
        found = []
        for pattern in job.outputs.values():
            under = "reports" if pattern in OF_REPORTS else "results"
            found.append(f"{under}/tiny/{where.path(pattern) if where else pattern}")
        return found

    def log(self, job, where) -> Path:
        return self.path / "logs/tiny" / (where.path(job.log) if where else job.log)

    def note(self, kind: str, of: str, said: dict, cut: int = 200) -> Path:
        """A note of Snakemake's; its name in base64, cut as on a disk of short names."""
        name = base64.urlsafe_b64encode(of.encode()).decode()
        parts = [name[start : start + cut] for start in range(0, len(name), cut)]
        path = self.path.joinpath(".snakemake", kind, *(f"@{part}" for part in parts[:-1]), parts[-1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said))
        return path

    def done(self, job, where, took: float = 10.0, code: str = "", cut: int = 200) -> None:
        settings = [stable_json(job.settings(self.config, grid_of(self.config), where))] if job.settings else []
        params = [repr(code or code_digest(*job.code(self.config, where))), *map(repr, settings)]
        for file in self.files(job, where):
            (self.path / file).parent.mkdir(parents=True, exist_ok=True)
            (self.path / file).touch()
            said = {"starttime": NOW, "endtime": NOW + took, "params": params}
            self.note("metadata", file, said, cut)

    def begun(self, job, where, since: float) -> None:
        for file in self.files(job, where):
            note = self.note("incomplete", file, {"external_jobid": None})
            os.utime(note, (since, since))

    def said(self, job, where, text: str) -> None:
        self.log(job, where).parent.mkdir(parents=True, exist_ok=True)
        self.log(job, where).write_text(text)

    def status(self, now: float = NOW):
        return status(self.config, self.path, now)


@pytest.fixture
def folder(tmp_path, config, monkeypatch):
    monkeypatch.setenv("FLDREP_CACHE", str(tmp_path / "cache"))
    return Folder(tmp_path, config)


@pytest.fixture
def alive(folder):
    """A run that works in the folder, two jobs at once."""
    lock = folder.path / ".snakemake/fldrep.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "at_once": 2}))
    with lock.open():
        yield lock


def of(jobs, name: str):
    return [one for one in jobs if one[0].name == name]


def test_before_a_run_everything_is_left_and_nothing_is_timed(folder, jobs):
    found = folder.status()
    assert len(found.jobs) == len(jobs) == len(found.of("left"))
    assert found.sentence() == f"tiny: 0 of {len(jobs)} jobs done, {len(jobs)} left, {len(jobs)} not timed yet"
    assert "No run is working in this folder." in found.lines()


def test_jobs_whose_files_are_there_are_done_whatever_their_notes_are_called(folder, jobs):
    for cut, one in zip((200, 50), of(jobs, "train"), strict=False):
        folder.done(*one, cut=cut)
    assert [one.where for one in folder.status().of("done")] == [where for _, where in of(jobs, "train")[:2]]


def test_files_without_a_note_count_as_snakemake_counts_them(folder, jobs):
    (job, where), *_ = of(jobs, "data")
    folder.done(job, where)
    for note in (folder.path / ".snakemake/metadata").iterdir():
        note.unlink()
    (done,) = folder.status().of("done")
    assert done.took is None


def test_files_of_other_code_are_left_and_said_to_be_outdated(folder, jobs):
    folder.done(*of(jobs, "train")[0], code="0123456789abcdef")
    found = folder.status()
    assert not found.of("done")
    assert [one.title for one in found.jobs if one.outdated] == ["train/mnist/lenet/iid/none/0"]
    assert any("1 have files of other settings or code" in line for line in found.lines())


def test_files_of_other_settings_are_left(folder, jobs):
    folder.done(*of(jobs, "attack")[0])
    changed = folder.config.model_copy(update={"engine": folder.config.engine.model_copy(update={"threads": 2})})
    assert status(changed, folder.path).of("done") == []


def test_a_job_under_way_runs_while_its_run_lives_and_has_failed_after(folder, jobs, alive):
    (job, where), *_ = of(jobs, "attack")
    folder.begun(job, where, NOW - 4)
    folder.said(job, where, "a bar: 1\ra bar: 2\n")
    (running,) = folder.status().of("running")
    assert (running.where, running.began) == (where, NOW - 4)
    assert any(line == f"running: {running.title}: a bar: 2" for line in folder.status().lines())
    alive.write_text("")
    assert [one.where for one in folder.status().of("failed")] == [where]


def test_a_run_elsewhere_counts_until_it_has_said_its_end(folder, alive):
    alive.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert "A run on elsewhere is working in this folder." in folder.status().lines()


def test_the_run_of_a_process_that_is_gone_is_none(folder, alive):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    alive.write_text(json.dumps({"host": socket.gethostname(), "pid": gone.pid}))
    assert folder.status().run is None


def test_a_failed_job_shows_the_last_lines_of_its_log(folder, jobs):
    job, where = of(jobs, "train")[0]
    folder.said(job, where, "\n".join(f"line {number}" for number in range(30)) + "\nValueError: no\n\n")
    (failed,) = folder.status().of("failed")
    lines = list(folder.status().lines(tail=3))
    assert f"failed or stopped: {failed.title}; {folder.log(job, where)} ends so:" in lines
    assert lines[-3:] == ["    line 28", "    line 29", "    ValueError: no"]


def test_a_job_killed_without_a_word_says_so(folder, jobs):
    folder.said(*of(jobs, "train")[0], "")
    assert list(folder.status().lines())[-1] == "    (empty: it was killed)"


def test_time_left_is_that_of_jobs_that_are_alike(folder, jobs, alive):
    (first, second, *_), blocks = of(jobs, "train"), of(jobs, "attack")
    dlg = [one for one in blocks if one[1].attack == "dlg"]
    gs = [one for one in blocks if one[1].attack == "gs"]
    folder.done(*first, took=100)
    folder.done(*dlg[0], took=8)
    folder.done(*gs[0], took=40)
    found = folder.status()
    ahead = {where: found.ahead.get(module.title_of(job.name, where)) for job, where in blocks}
    assert ahead[gs[1][1]] == 40, "the same attack on another defense"
    assert ahead[dlg[1][1]] == 8
    assert found.ahead[module.title_of("train", second[1])] == 100, "any training, where there is no better one"
    masked = [where for _, where in blocks if where.attack == "gs-masked"]
    assert [ahead[where] for where in masked] == [24] * len(masked), "the mean of all attacks, where none is alike"


def test_what_a_running_job_has_behind_it_is_not_ahead(folder, jobs, alive):
    done, running = of(jobs, "train")[:2]
    folder.done(*done, took=100)
    folder.begun(*running, NOW - 30)
    assert folder.status().ahead[module.title_of("train", running[1])] == 70
    assert folder.status(NOW + 1000).ahead[module.title_of("train", running[1])] == 0


def test_time_is_shared_by_the_jobs_at_once(folder, jobs, alive):
    for job, where in jobs:
        if job.name != "attack":
            folder.done(job, where)
    first, *others = of(jobs, "attack")
    folder.done(*first, took=600)
    seconds = 600 * len(others)
    assert f"about {seconds / 2 / 60:.0f} minutes with 2 at once" in folder.status().sentence()


def test_on_a_gpu_attacks_go_one_by_one(folder, jobs, alive, monkeypatch):
    monkeypatch.setattr(module.Costing, "of", lambda *a, **k: SimpleNamespace(device="cuda", seconds=list))
    for job, where in jobs:
        if job.name != "attack":
            folder.done(job, where)
    first, *others = of(jobs, "attack")
    folder.done(*first, took=600)
    assert f"about {600 * len(others) / 60:.0f} minutes with 2 at once" in folder.status().sentence()


def test_a_finished_run_is_told_as_done_by_its_own_code(finished):
    """On what Snakemake really writes; the code that ran is a copy, and so is the one that asks."""
    command = [sys.executable, "-m", "fldrep", "status", str(TINY), "--folder", str(finished.folder)]
    found = subprocess.run(command, cwd=finished.source, capture_output=True, text=True, check=True).stdout
    assert "jobs done" in found
    counted, total = found.partition("tiny: ")[2].partition(" jobs done")[0].split(" of ")
    assert counted == total, found
    assert "left" not in found


def test_asking_imports_neither_torch_nor_pandas(tmp_path):
    code = f"""
import sys
from pathlib import Path
from fldrep.cli.status import status_command
status_command(Path({str(TINY)!r}), Path({str(tmp_path)!r}), 10)
print([name for name in ("torch", "pandas", "pyarrow") if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines()[-1] == "[]"


def test_the_end_of_a_long_log_is_found_without_reading_it_whole(tmp_path):
    log = tmp_path / "long.log"
    log.write_bytes(b"\xff\xfe" * 200_000 + b"\nlast but one\r\nlast\n")
    assert last_lines(log, 2) == ["last but one", "last"]
    assert last_lines(tmp_path / "absent.log", 2) == []


def test_a_live_run_says_how_far_it_is_only_where_that_changed(folder, monkeypatch):
    said, sentences = [], ["1 of 3", "1 of 3", "2 of 3"]

    def next_one(config, where):
        text = sentences.pop(0)
        if not sentences:
            ended.set()
        return SimpleNamespace(sentence=lambda: text)

    monkeypatch.setattr(module, "status", next_one)
    ended = tell_now_and_then(folder.config, said.append, folder.path, first_s=0.2, most_s=0)
    (thread,) = [one for one in threading.enumerate() if one.name == "tells how far the run is"]
    thread.join(10)
    assert said == ["1 of 3", "2 of 3"]


def test_make_status_runs_the_command_that_tells_it(call, folder, jobs, monkeypatch):
    monkeypatch.chdir(folder.path)
    job, where = of(jobs, "train")[0]
    folder.said(job, where, "ValueError: no\n")
    code, out, _ = call("status", str(TINY))
    assert code == 0
    assert f"tiny: 0 of {len(jobs)} jobs done" in out
    assert "ValueError: no" in out
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert re.search(r"^status: env.*\n\t@\$\(BIN\)/python -m fldrep status \$\(CONFIG\)$", makefile, re.MULTILINE)
