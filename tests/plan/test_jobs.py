"""The table of jobs: a row for each rule of the workflow, and an entry that takes what the row gives."""

import inspect
import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import pytest

from fldrep.cli.run import parser_of
from fldrep.config.reading import parse_config
from fldrep.errors import ConfigError
from fldrep.plan.jobs import JOBS, TABLES, flag, without_places
from fldrep.storage import places
from fldrep.tables.attack_runs import ATTACK_RUNS

RULES = Path(__file__).parents[2] / "workflow/rules"
NAMES = {value: name for name, value in vars(places).items() if name.isupper() and isinstance(value, str)}


def rules() -> dict[str, str]:
    """The text of each rule."""
    texts = [path.read_text() for path in sorted(RULES.glob("*.smk"))]
    parts = [
        re.match(r"rule (\w+):\n", part) and part for text in texts for part in re.split(r"^(?=\S)", text, flags=re.M)
    ]
    return {re.match(r"rule (\w+):", part)[1]: part for part in parts if part}


def block(rule: str, name: str) -> str:
    """A directive of a rule, such as `input`."""
    found = re.search(rf"^    {name}:(.*?)(?=^    \w|\Z)", rules()[rule], re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def names_in(rule: str, directive: str) -> dict[str, str]:
    """The names of a rule's files, each with what it is set to; all final tables under `**`."""
    text = block(rule, directive)
    text = re.sub(r"=report\(\s*", "=", text)
    found = dict(re.findall(r"^        (\w+)=(.*)", text, re.MULTILINE))
    tables = re.findall(r"^        \*\*(.*)", text, re.MULTILINE)
    return found | ({"**": tables[0]} if tables else {})


def row_and_entry(name: str):
    module, _, function = JOBS[name].entry.partition(":")
    return JOBS[name], getattr(import_module(module), function)


def test_every_rule_has_its_row_and_every_row_its_rule():
    assert set(rules()) == set(JOBS)


@pytest.mark.parametrize("name", JOBS)
def test_a_rule_takes_its_command_settings_and_digest_from_its_row(name):
    job = JOBS[name]
    assert block(name, "shell").strip() == f'command("{name}")'
    assert block(name, "conda").strip() == f'"../envs/{job.environment}.yaml"'
    params = names_in(name, "params")
    assert params["code"] == f'code_of("{name}"),'
    assert params.get("settings") == (f'settings_of("{name}"),' if job.section else None)
    assert params["plugins"] == ("PLUGIN_FILES," if job.environment == "torch" else "plugin_words,")
    filled = set(re.findall(r"\{params\.(\w+)", job.command()))
    assert filled <= set(params)


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("directive", ["input", "output"])
def test_a_rule_shows_the_files_of_its_row(name, directive):
    job = JOBS[name]
    files = {**job.inputs, **job.found} if directive == "input" else job.outputs
    shown = names_in(name, directive)
    analyses = set(TABLES) - {"attacks", "training"}
    expanded = {None: set(), "FINAL_TABLES,": set(TABLES), "{": analyses}
    assert expanded[shown.pop("**", None)] | set(shown) == set(files)
    for file, said in shown.items():
        for pattern in files[file] if isinstance(files[file], list) else [files[file]]:
            assert re.search(rf"\b{NAMES[pattern]}S?\b", said), f"{file}={said}"


@pytest.mark.parametrize("name", JOBS)
def test_a_rule_logs_where_its_row_says(name):
    said = re.search(r'f"(.*)"', block(name, "log"))[1]
    shown = re.sub(r"\{places\.(\w+)\}", lambda found: getattr(places, found[1]), said)
    assert shown.replace("{{", "{").replace("}}", "}") == f"{{LOGS}}/{JOBS[name].log}"


def test_the_files_of_reports_are_those_of_the_rules():
    """What the rules place under REPORTS, and nothing else."""
    below = re.findall(r'^(\w+) = f"\{REPORTS\}/\{places\.(\w+)\}"', (RULES / "common.smk").read_text(), re.MULTILINE)
    assert {getattr(places, pattern) for _, pattern in below} == places.OF_REPORTS


def test_what_a_job_reads_another_makes():
    made = {pattern for job in JOBS.values() for pattern in job.outputs.values()}
    for job in JOBS.values():
        for pattern in {**job.inputs, **job.found}.values():
            assert {pattern} if isinstance(pattern, str) else {*pattern} <= made


@pytest.mark.parametrize("name", JOBS)
def test_a_row_names_an_entry_that_takes_what_it_gives(name):
    job, entry = row_and_entry(name)
    first = [object()] * ((job.of is not None) + (job.section is not None))
    inspect.signature(entry).bind(*first, **dict.fromkeys([*job.files, *job.told]))
    assert inspect.getdoc(entry)
    types = list(get_type_hints(entry).values())[: len(first)]
    assert types == [one for one in (job.of, job.section) if one is not None]


@pytest.mark.parametrize("name", JOBS)
def test_every_argument_has_a_name_of_its_own(name):
    job = JOBS[name]
    words = [*(job.of.names() if job.of else []), "settings", *job.inputs, *job.outputs, *job.told, "plugins"]
    assert len(words) == len(set(words))


def test_identities_are_columns_of_the_tables():
    columns = {column.name for column in ATTACK_RUNS.columns}
    words = {word for job in JOBS.values() if job.of for word in job.of.names()}
    assert words - columns == {"figure"}


@pytest.mark.parametrize("name", JOBS)
def test_a_command_is_what_its_own_parser_reads(name):
    job = JOBS[name]
    command, _, log = job.command().partition(" > ")
    assert log == "{log:q} 2>&1"
    several = {file for file, pattern in job.files.items() if isinstance(pattern, list)}

    def filled(found: re.Match) -> str:
        kind, _, word = found[1].partition(":")[0].partition(".")
        if word == "plugins":
            return "--plugins 'a b.py' c.py" if job.environment == "torch" else "--plugins '[]'"
        if kind == "wildcards":
            return "7" if job.of.names()[word] is int else word
        return "'a b' c" if word in several else "3" if kind == "threads" else f"'{word} of it'"

    words = shlex.split(re.sub(r"\{([^}]*)\}", filled, command))
    assert words[:5] == ["python", "-m", "fldrep", "run", name]
    given = vars(parser_of(job).parse_args(words[5:]))
    for file in job.files:
        assert given[file] == ([Path("a b"), Path("c")] if file in several else Path(f"{file} of it"))
    assert given["plugins"] == (["a b.py", "c.py"] if job.environment == "torch" else [])
    if job.of:
        expected = {word: 7 if kind is int else word for word, kind in job.of.names().items()}
        assert job.where(given).words() == expected


@pytest.mark.parametrize("name", JOBS)
def test_what_is_missing_is_named_in_one_line(name):
    job = JOBS[name]
    with pytest.raises(ConfigError) as told:
        parser_of(job).parse_args([])
    assert str(told.value).startswith(f"run {name}: ")
    needed = [*(job.of.names() if job.of else []), *job.files, *job.told, *(["settings"] if job.section else [])]
    assert all(flag(word) in str(told.value) for word in needed)
    assert "\n" not in str(told.value)


# ---- what the user's own files may be called


def config(**changes):
    entry = {"datasets": ["mnist"], "models": ["a"], "partitions": ["iid"], "defenses": ["none"]}
    sections = {"partitions": {"iid": {}}, "models": {"a": {}}, "train": {"a": {}}, "defenses": {"none": {}}}
    return parse_config({"name": "x", **sections, "grid": [entry], **changes})


def test_pages_tell_which_plug_ins_were_used_and_not_where_they_lay():
    assert without_places(config(plugins=["elsewhere/sign.py", "b.py"])).plugins == ["sign.py", "b.py"]
