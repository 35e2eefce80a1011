"""A defense at several rates in one section."""

import copy

import jsonschema
import pytest

from fldrep.config.docs import config_schema
from fldrep.config.reading import parse_config
from fldrep.config.series import with_series
from fldrep.errors import ConfigError

RAW = {
    "name": "series",
    "partitions": {"iid": {"clients": 4}},
    "models": {"lenet": {"architecture": "lenet"}},
    "train": {"lenet": {"rounds": 0, "checkpoints": [0]}},
    "defenses": {
        "none": {},
        "soteria": {"method": "soteria", "rule": "inverse", "rate": [0.4, 0.125, 1]},
        "compression": {"method": "compression", "rate": 0.8},
    },
    "grid": [
        {
            "datasets": ["mnist"],
            "models": ["lenet"],
            "partitions": ["iid"],
            "defenses": ["none", "soteria", "compression"],
        },
        {"datasets": ["mnist"], "models": ["lenet"], "partitions": ["iid"], "defenses": ["soteria-12p5"]},
    ],
}
NAMES = ["soteria-40", "soteria-12p5", "soteria-100"]


def changed(**sections) -> dict:
    raw = copy.deepcopy(RAW)
    for name, values in sections.items():
        raw["defenses"][name] = values
    return raw


def test_a_list_of_rates_is_a_defense_each_and_its_name_in_the_grid_means_all():
    config = parse_config(RAW)
    assert list(config.defenses) == ["none", *NAMES, "compression"]
    assert [config.defenses[name].rate for name in NAMES] == [0.4, 0.125, 1]
    assert {config.defenses[name].rule for name in NAMES} == {"inverse"}
    assert config.grid[0].defenses == ["none", *NAMES, "compression"]
    assert config.grid[1].defenses == ["soteria-12p5"]


def test_it_is_the_config_that_says_each_rate_by_itself():
    rates = dict(zip(NAMES, [0.4, 0.125, 1], strict=True))
    written = changed(**{name: {**RAW["defenses"]["soteria"], "rate": rate} for name, rate in rates.items()})
    del written["defenses"]["soteria"]
    written["grid"][0]["defenses"] = ["none", *NAMES, "compression"]
    short, long = parse_config(RAW), parse_config(written)
    assert short.defenses == long.defenses
    assert short.grid == long.grid


def test_what_was_read_is_read_alike_again_and_the_raw_config_stays_as_it_was():
    raw = copy.deepcopy(RAW)
    config = parse_config(raw)
    assert raw == RAW
    assert parse_config(config.model_dump(mode="json", exclude_none=True)) == config


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"soteria-40": {}}, "defenses.soteria.rate: 'soteria-40' would be two defenses"),
        ({"soteria": {"method": "soteria", "rate": [0.4, 0.4]}}, "defenses.soteria.rate: 'soteria-40' would be two"),
        (
            {"soteria": {"method": "soteria", "rate": [0.4, 1.5]}},
            "defenses.soteria.rate: 1.5: expected rates from 0 to 1",
        ),
        ({"soteria": {"method": "soteria", "rate": [0.4, -0.1]}}, "defenses.soteria.rate: -0.1: expected rates"),
        ({"soteria": {"method": "soteria", "rate": []}}, "defenses.soteria.*rate: .*number"),
        ({"soteria": {"method": "soteria", "rate": ["0.4"]}}, "defenses.soteria.*rate: .*number"),
        ({"soteria": {"method": "soteria", "rate": [True]}}, "defenses.soteria.*rate: .*number"),
        ({"none": {"rate": [0.1, 0.2]}}, "defenses.none-10.rate: .*unknown key"),
    ],
)
def test_a_wrong_list_is_refused_by_key(sections, told):
    with pytest.raises(ConfigError, match=told) as refused:
        parse_config(changed(**sections))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "raw",
    [None, [], "text", {"defenses": 3}, {"defenses": {}}, {"defenses": {}, "grid": 3}, {"defenses": {"a": 1}}],
)
def test_what_is_no_config_is_left_to_the_checks(raw):
    assert with_series(copy.deepcopy(raw)) == raw


def test_the_schema_takes_a_list_wherever_there_is_one_rate():
    jsonschema.validate(RAW, config_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed(soteria={"method": "soteria", "rate": [0.4, "0.8"]}), config_schema())
