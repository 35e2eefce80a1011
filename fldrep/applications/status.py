"""How far the run of a config has come: jobs done, running, failed and left, the time left, and why jobs failed.

All of it is read from files: nothing here asks Snakemake, takes a lock or imports torch.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from threading import Event, Thread
from typing import Literal

from fldrep.config.checking import stable_json
from fldrep.config.whole import Config
from fldrep.figures import figures_of
from fldrep.machine.progress import rough
from fldrep.plan.digest import code_digest
from fldrep.plan.estimate import Costing
from fldrep.plan.grid import grid_of
from fldrep.plan.job_list import jobs_of
from fldrep.plan.jobs import Job
from fldrep.plan.leftovers import LiveRun, live_run
from fldrep.plan.notes import begun, made
from fldrep.storage.places import OF_REPORTS, Identity

State = Literal["done", "running", "failed", "left"]
SERIAL_ON_A_GPU = ("attack", "identifiability")  # a GPU takes one of them at a time
TAIL_BYTES = 20_000  # the end of a log that is read

# Jobs that take about as long: they share these words of their identity. The first list that finds any decides.
ALIKE = (("dataset", "model", "attack", "defense", "round", "update_kind", "figure"), ("dataset", "model", "attack"))


@dataclass(frozen=True)
class JobStatus:
    """A job and its state.

    `done`: its files are there, made with today's settings and code; `running`; `failed`: it has written a log and no
    longer works, but its files are not there, so it failed or was stopped; `left`: all others.
    `outdated`: it is left although its files are there, because they are of other settings or code. `began` and `took`
    are seconds, the first since the epoch, None where they are not known.
    """

    job: Job
    where: Identity | None
    state: State
    log: Path
    began: float | None = None
    took: float | None = None
    outdated: bool = False

    @property
    def title(self) -> str:
        """The job in words."""
        return title_of(self.job.name, self.where)


@dataclass(frozen=True)
class Status:
    """A config's jobs, the run that works on them, if one does, and the seconds that each job left is expected to take.

    A job that nobody can say anything of has no entry in `ahead`.
    """

    name: str
    jobs: Sequence[JobStatus]
    run: LiveRun | None
    ahead: Mapping[str, float]
    serial: Sequence[str] = ()

    def of(self, state: State) -> list[JobStatus]:
        """The jobs in a state."""
        return [one for one in self.jobs if one.state == state]

    def sentence(self) -> str:
        """One line: how many jobs are done, run, failed and are left, and the time left."""
        counts = Counter(one.state for one in self.jobs)
        said = f"{self.name}: {counts['done']} of {len(self.jobs)} jobs done"
        return ", ".join([said, *_counts(counts), *self._time()])

    def _time(self) -> Iterator[str]:
        """The time left for what runs and is left, and how many jobs are not in it."""
        coming = [one for one in self.jobs if one.state in ("running", "left")]
        if not coming:
            return
        at_once = (self.run and self.run.at_once) or 1
        seconds = Counter()
        for one in coming:
            seconds[one.job.name in self.serial] += self.ahead.get(one.title, 0.0)
        unknown = sum(one.title not in self.ahead for one in coming)
        if unknown < len(coming):
            known = rough(seconds[True] + seconds[False] / at_once)
            yield f"{'at least' if unknown else 'about'} {known} with {at_once} at once"
        if unknown:
            yield f"{unknown} not timed yet"

    def lines(self, tail: int = 10) -> Iterator[str]:
        """The sentence; jobs by row; where running jobs are; and the last lines of each failed job's log."""
        yield self.sentence()
        yield _run_text(self.run)
        for name in dict.fromkeys(one.job.name for one in self.jobs):
            own = Counter(one.state for one in self.jobs if one.job.name == name)
            said = [f"{own['done']} of {own.total()} done", *_counts(own)]
            yield f"  {name:16}{', '.join(said)}"
        outdated = sum(one.outdated for one in self.jobs)
        if outdated:
            yield f"Of those left, {outdated} have files of other settings or code; the next run makes them anew."
        for one in self.of("running"):
            yield f"running: {one.title}: {' '.join(last_lines(one.log, 1)) or 'nothing said yet'}"
        for one in self.of("failed"):
            yield f"failed or stopped: {one.title}; {one.log} ends so:"
            yield from (f"    {line}" for line in last_lines(one.log, tail) or ["(empty: it was killed)"])


def _counts(states: Mapping[str, int]) -> list[str]:
    return [f"{states[state]} {state}" for state in ("running", "failed", "left") if states[state]]


def tell_now_and_then(
    config: Config, say: Callable[[str], None], folder: Path = Path(), first_s: float = 15, most_s: float = 300
) -> Event:
    """Say the sentence of `Status`, where it has changed, while this process lives or until the event returned is set.

    That is after `first_s` seconds, then more and more seldom, but at least every `most_s` seconds.
    """
    ended = Event()

    def tell() -> None:
        wait, before = first_s, ""
        while not ended.wait(wait):
            now = status(config, folder).sentence()
            if now != before:
                say(now)
            wait, before = min(2 * wait, most_s), now

    Thread(target=tell, name="tells how far the run is", daemon=True).start()
    return ended


def _run_text(run: LiveRun | None) -> str:
    if run is None:
        return "No run is working in this folder."
    return f"A run on {run.host} is working in this folder{f', {run.at_once} jobs at once' if run.at_once else ''}."


def status(config: Config, folder: Path = Path(), now: float | None = None) -> Status:
    """The status of a config's jobs in a working folder.

    Args: now: seconds since the epoch, the clock's if not given.
    """
    place = _Place(config, folder)
    jobs = [place.status_of(job, where) for job, where in jobs_of(place.grid, figures_of(config))]
    costing = Costing.of(config, within_s=0, results=folder / "results")
    costs = {title_of(name, where): seconds for name, where, seconds in costing.seconds()}
    ahead = dict(_expected(jobs, costs, time.time() if now is None else now))
    return Status(config.name, jobs, place.run, ahead, SERIAL_ON_A_GPU if costing.device == "cuda" else ())


def title_of(job: str, where: Identity | None) -> str:
    """A job in words: its row and what tells it from others.

    >>> from fldrep.storage.places import Split
    >>> title_of("partition", Split("mnist", "iid", 0))
    'partition/mnist/iid/0'
    """
    return "/".join([job, *(map(str, where.words().values()) if where else ())])


class _Place:
    """A working folder as it is now: what a config asks for, what is noted there, and whether a run is at work."""

    def __init__(self, config: Config, folder: Path):
        self.config, self.folder, self.grid = config, folder, grid_of(config)
        self.run, self.notes, self.at_work = live_run(folder), made(folder), begun(folder)

    def status_of(self, job: Job, where: Identity | None) -> JobStatus:
        """One job."""
        log = self.folder / self._path(job.log, where, "logs")
        files = [self._path(one, where, "reports" if one in OF_REPORTS else "results") for one in job.outputs.values()]
        began = next((self.at_work[file] for file in files if file in self.at_work), None)
        if began is not None and self.run is not None:
            return JobStatus(job, where, "running", log, began)
        if began is not None or not all((self.folder / file).exists() for file in files):
            return JobStatus(job, where, "failed" if log.exists() else "left", log)
        noted = [self.notes[file] for file in files if file in self.notes]
        of_today = all(note.tells(*self._told(job, where)) for note in noted)
        took = noted[0].seconds if noted else None
        return JobStatus(job, where, "done" if of_today else "left", log, took=took, outdated=not of_today)

    def _path(self, pattern: str, where: Identity | None, under: str) -> str:
        return f"{under}/{self.config.name}/{where.path(pattern) if where else pattern}"

    def _told(self, job: Job, where: Identity | None) -> list[str]:
        """What a run would tell the job today: the digest of its code, and its settings."""
        settings = [stable_json(job.settings(self.config, self.grid, where))] if job.settings else []
        return [code_digest(*job.code(self.config, where)), *settings]


def _expected(jobs: Sequence[JobStatus], costs: Mapping[str, float], now: float) -> Iterator[tuple[str, float]]:
    """The seconds that each job ahead will still take, where that is known.

    Taken from jobs that are alike and done, else from the calibration of this machine, else from all jobs of its row.
    """
    *near, of_row = (_means(jobs, words) for words in (*ALIKE, ()))
    for one in jobs:
        if one.state in ("running", "left"):
            said = [*(means.get(_alike(one, words)) for means, words in zip(near, ALIKE, strict=True))]
            said += [costs.get(one.title), of_row.get(_alike(one, ()))]
            seconds = next((each for each in said if each is not None), None)
            if seconds is not None:
                yield one.title, max(0.0, seconds - (now - one.began if one.began else 0.0))


def _means(jobs: Sequence[JobStatus], words: Sequence[str]) -> dict[tuple, float]:
    """The mean seconds of the jobs that are done, by row and the values of some words."""
    took: dict[tuple, list[float]] = {}
    for one in jobs:
        if one.took is not None:
            took.setdefault(_alike(one, words), []).append(one.took)
    return {key: fmean(each) for key, each in took.items()}


def _alike(one: JobStatus, words: Sequence[str]) -> tuple:
    said = one.where.words() if one.where else {}
    return one.job.name, *(said.get(word) for word in words)


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log that say something; none where it cannot be read.

    A bar that was drawn again and again counts as one line, in its last state.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = [line.rpartition("\r")[2].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    return [line for line in lines if line][-count:]
