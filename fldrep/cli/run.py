"""`python -m fldrep run JOB ...`: a job of the workflow, by its row in `fldrep.plan.jobs`.

Any command of a log can be pasted and run alone, in the folder where the workflow ran.
"""

import argparse
import gc
import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn

import typer

from fldrep import registry
from fldrep.config.checking import parse_section
from fldrep.errors import ConfigError, named
from fldrep.plan.jobs import JOBS, Job, flag
from fldrep.tables.attack_runs import ATTACK_RUNS

MEANINGS = {column.name: column.meaning.replace("%", "%%") for column in ATTACK_RUNS.columns}


def run_command(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(help=f"one of {', '.join(JOBS)}; none: what each does")] = None,
) -> None:
    """Run a job of the workflow, as its rule does; `run JOB --help` lists its arguments."""
    if job is None:
        print("\n".join(job_lines()))
    else:
        run_job(named("job", job, JOBS), context.args)


def job_lines() -> Iterator[str]:
    """What each job does, in words."""
    width = max(map(len, JOBS))
    for job in JOBS.values():
        yield f"{job.name:{width}}  {job.does}"


def run_job(job: Job, words: Sequence[str]) -> None:
    """Call a job's entry with the arguments of its command. Errors: `ConfigError` for what is missing or unknown."""
    given = vars(parser_of(job).parse_args(words))
    know_plugins(job, given.pop("plugins"))
    first: list[Any] = [job.where(given)] if job.of else []
    if job.section:
        first.append(parse_section(job.section, given.pop("settings")))
    module, _, function = job.entry.partition(":")
    rest = {name: given[name] for name in (*job.files, *job.told)}
    getattr(imported(module), function)(*first, **rest)


def imported(name: str) -> ModuleType:
    """A module whose imports are not searched for garbage, now or later: that would be a quarter of a job's start."""
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()


def know_plugins(job: Job, given: Any) -> None:
    """Load plug-ins, or, where what they import is not at hand, know the words of their entries."""
    if job.environment == "torch":
        registry.load_plugins(given)
    else:
        registry.tell(given)


def parser_of(job: Job) -> argparse.ArgumentParser:
    """The arguments of a job's command."""
    parser = _Parser(prog=f"python -m fldrep run {job.name}", description=job.does, allow_abbrev=False)
    for name, kind in (job.of.names() if job.of else {}).items():
        parser.add_argument(
            flag(name), type=kind, required=True, metavar=kind.__name__.upper(), help=MEANINGS.get(name)
        )
    if job.section:
        meaning = f"what the job depends on, as JSON: {job.section.__name__}"
        parser.add_argument("--settings", required=True, metavar="JSON", help=meaning)
    for files, meaning in ((job.inputs, "read"), (job.outputs, "written")):
        for name, pattern in files.items():
            several = {"nargs": "+"} if isinstance(pattern, list) else {}
            parser.add_argument(flag(name), type=Path, required=True, metavar="FILE", help=meaning, **several)
    for name, told in job.told.items():
        parser.add_argument(
            flag(name), type=told.type, required=True, metavar=told.type.__name__.upper(), help=told.meaning
        )
    if job.environment == "torch":
        parser.add_argument("--plugins", nargs="*", default=[], metavar="FILE", help="Python files that add entries")
    else:
        meaning = "what is known of the entries that plug-ins add, as JSON"
        parser.add_argument("--plugins", type=_json, default=[], metavar="JSON", help=meaning)
    return parser


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"no JSON: {text!r}") from None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog.partition('fldrep ')[2]}: {message}")
