"""Values of a config that come from the command line (`snakemake --config KEY=VALUE ...`), with their types.

Snakemake reads a nested value, such as `'attacks={"gs": {"iterations": 24000}}'`, without types: what is in it arrives
as text. Text in a YAML file is text, and is refused where a number is wanted; so the two are told apart.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml


def with_types(config: Mapping[str, Any], given: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose nested values from the command line are typed as YAML types them; a new one.

    Args: given: what the command line said, as Snakemake read it: it is part of the config already, and what is not
    nested has its type; whole: the config of the workflow that was called, which another one's may be a section of.

    >>> config = {"name": "x", "engine": {"threads": "1", "block": "2"}}
    >>> with_types(config, {"engine": {"block": "2"}}, config)
    {'name': 'x', 'engine': {'threads': '1', 'block': 2}}
    """
    if config is not whole:
        section = _given_to(config, given, whole)
        return dict(config if section is None else _typed(config, section))
    nested = {key: value for key, value in given.items() if isinstance(value, Mapping | list) and key in config}
    return {**config, **{key: _typed(config[key], value) for key, value in nested.items()}}


def _given_to(section: Mapping[str, Any], given: Any, whole: Any) -> Any:
    """The part of what was given that is about a section; None where nothing is."""
    if whole is section:
        return given
    keys = given.keys() & whole.keys() if isinstance(given, Mapping) and isinstance(whole, Mapping) else ()
    found = (_given_to(section, given[key], whole[key]) for key in keys)
    return next((one for one in found if one is not None), None)


def _typed(value: Any, given: Any) -> Any:
    """A value, of which `given` came from the command line."""
    if isinstance(given, Mapping) and isinstance(value, Mapping):
        return {**value, **{key: _typed(value[key], one) for key, one in given.items() if key in value}}
    if isinstance(given, list):
        return [_typed(one, one) for one in given]
    return as_yaml(given) if isinstance(given, str) else given


def as_yaml(text: str) -> Any:
    """What a word of YAML stands for.

    >>> [as_yaml(text) for text in ("24000", "1.0e-4", "true", "gs")]
    [24000, 0.0001, True, 'gs']
    """
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    try:
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except (yaml.YAMLError, ValueError):  # such as a date that is none
        return text


def snakemake_command(target: str, files: Iterable[str], given: Mapping[str, Any]) -> str:
    """What a person types for a target, with config files and with values as `with_types` takes them.

    >>> snakemake_command("reports/x/report.html", ["my config.yaml"], {"name": "x", "seeds": ["0", "1"]})
    "snakemake --cores all reports/x/report.html --configfile 'my config.yaml' --config name=x 'seeds=[0, 1]'"
    """
    words = ["snakemake", "--cores", "all", str(target)]
    for option, values in (("--configfile", [*files]), ("--config", [*_pairs(given)])):
        words += [option, *values] if values else []
    return shlex.join(words)


def _pairs(given: Mapping[str, Any]) -> Iterator[str]:
    for key, value in given.items():
        text = json.dumps(_typed(value, value)) if isinstance(value, Mapping | list) else value
        yield f"{key}={'' if text is None else text}"
