"""Any config, drawn from the settings' own models, is refused by name or makes jobs that Snakemake can plan."""

import re
import types
import typing
from collections import Counter

import annotated_types
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from fldrep import registry
from fldrep.config.checking import parse_section, stable_json
from fldrep.config.docs import config_schema
from fldrep.config.jobs import AttackJob, MetricsJob, TrainJob
from fldrep.config.reading import parse_config
from fldrep.config.section import Section
from fldrep.config.whole import Config
from fldrep.errors import ConfigError
from fldrep.plan.grid import grid_of
from fldrep.plan.jobs import attack_job, metrics_job, train_job

NAMES = st.sampled_from(["a", "b"])
SCHEMA = Draft202012Validator(config_schema())
SAME_EVERY_TIME = {"derandomize": True, "database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
JUNK = st.sampled_from([None, True, -1, 10**12, 0.5, float("nan"), "", "$(x)", "a\nb", [], {}, ["x"], {"x\n": 1}])


def values(kind, limits=()) -> st.SearchStrategy:
    """What a field of this type may hold: small numbers, the words it knows, names of which there are but two."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        chosen = next((one for one in inner[1:] if hasattr(one, "validate")), None)
        if chosen is not None:
            return st.one_of(*(sections(one, chosen) for one in sections_of(chosen)))
        return values(inner[0], [*limits, *inner[1:]])
    if origin is typing.Literal:
        return st.sampled_from(inner)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(values(one, limits) for one in inner))
    if origin is list:
        return st.lists(values(inner[0]), min_size=1, max_size=2)
    if origin is dict:
        return st.fixed_dictionaries({name: values(inner[1]) for name in ("a", "b")})
    if isinstance(kind, type) and issubclass(kind, Section):
        return sections(kind)
    if kind is int:
        return st.integers(_least(limits, 0), _least(limits, 0) + 2)
    if kind is float:
        return st.sampled_from([0.001, 0.5, 1.0])
    return {bool: st.booleans(), str: NAMES, type(None): st.none(), typing.Any: JUNK}[kind]


def sections_of(chosen) -> list[type[Section]]:
    """The sections of what is registered: attacks as one, else one an entry."""
    if hasattr(chosen, "sections"):
        return chosen.sections()
    return [chosen.section(name) for name in registry.entries(chosen.kind)]


def _least(limits, otherwise: int) -> int:
    held = [one for limit in limits for one in (limit, *getattr(limit, "metadata", ()))]
    return max([one.ge for one in held if isinstance(one, annotated_types.Ge)], default=otherwise)


@st.composite
def sections(draw, kind: type[Section], chosen=None) -> dict:
    """A section: the keys it needs and a few that it may have; of some tries the first that is accepted alone."""
    fields, key = kind.model_fields, getattr(chosen, "key", None)
    for _ in range(5):
        optional = [name for name, field in fields.items() if not field.is_required()]
        picked = draw(st.lists(st.sampled_from(optional), max_size=3, unique=True)) if optional else []
        wanted = [name for name, field in fields.items() if field.is_required() or name in (*picked, key)]
        raw = {
            name: draw(values(typing.Annotated[fields[name].annotation, *fields[name].metadata, 0])) for name in wanted
        }
        if kind is Config or _accepted(chosen.validate if chosen else kind.model_validate, raw):
            break
    return raw


def _accepted(validate, raw: dict) -> bool:
    try:
        validate(raw)
    except ValidationError:
        return False
    return True


@st.composite
def configs(draw) -> dict:
    """A config; one in three has a value put in place of another somewhere."""
    raw = draw(sections(Config))
    for entry in raw["grid"]:
        entry |= {"rounds": [0], "datasets": [draw(st.sampled_from(["mnist", "cifar10"]))]}
    for trained in raw["train"].values():
        trained["checkpoints"] = [0]
    if draw(st.integers(0, 2)) == 0:
        *parents, last = draw(st.sampled_from(sorted(_paths(raw), key=str)))
        at = raw
        for part in parents:
            at = at[part]
        at[last] = draw(JUNK)
    return raw


def _paths(at, before=()):
    items = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
    for key, value in items:
        yield (*before, key)
        yield from _paths(value, (*before, key))


def refusal(raw: dict) -> str | None:
    """The message of a refused config; None for an accepted one, all of whose jobs survive the way to JSON."""
    try:
        config = parse_config(raw)
        jobs = grid_of(config)
    except ConfigError as refused:
        return str(refused)
    SCHEMA.validate(raw)
    assert parse_section(Config, stable_json(config)) == config
    assert jobs.runs
    for kind, job in [
        *((TrainJob, train_job(config, jobs, run)) for run in jobs.runs),
        *((AttackJob, attack_job(config, jobs, block)) for block in jobs.blocks()),
        (MetricsJob, metrics_job(config, jobs, None)),
    ]:
        assert parse_section(kind, stable_json(job)) == job
    return None


def names_a_key(told: str, raw: dict) -> bool:
    """Whether a message begins with a key of the config, or with one that it lacks."""
    first = re.split(r"[.:\[]", told)[0]
    return "\n" not in told and (first in raw or first in Config.model_fields)


def check_many(examples: int) -> Counter:
    outcomes = Counter()

    @settings(max_examples=examples, **SAME_EVERY_TIME)
    @given(configs())
    def check(raw):
        told = refusal(raw)
        outcomes["accepted" if told is None else "refused"] += 1
        assert told is None or names_a_key(told, raw), told

    check()
    return outcomes


def test_any_config_is_refused_by_name_or_makes_jobs(record_property):
    outcomes = check_many(60)
    assert min(outcomes["accepted"], outcomes["refused"]) >= 5, outcomes
    record_property("cases", outcomes.total())


@pytest.mark.long
def test_many_configs_are_refused_by_name_or_make_jobs(record_property):
    record_property("cases", check_many(1500).total())


@pytest.mark.long
def test_snakemake_plans_what_is_accepted_and_refuses_what_is_not(snakemake, tmp_path, record_property):
    outcomes = Counter()

    @settings(max_examples=12, **SAME_EVERY_TIME)
    @given(configs())
    def check(raw):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(raw))
        told = refusal(raw)
        done = snakemake("-n", "--quiet", "--configfile", path, folder=tmp_path / "run")
        assert (done.code == 0) == (told is None), done.text
        assert "Traceback" not in done.text
        outcomes["accepted" if told is None else "refused"] += 1

    check()
    record_property("cases", outcomes.total())
