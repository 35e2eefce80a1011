"""YAML files read as their writers mean them: a key that stands twice is refused; YAML itself lets the last one win."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from fldrep.errors import ConfigError

MERGE = "tag:yaml.org,2002:merge"  # what `<<` is; it may stand more than once


class KeyTwice(ConfigError):
    """A key that stands twice in one section of a document."""


def read_document(path: Path | str) -> Any:
    """What a YAML file holds. Errors: `ConfigError` naming the file, and `KeyTwice` the key and its two lines."""
    try:
        return parse_document(Path(path).read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a readable YAML file: {error}") from None


def parse_document(text: str, where: str) -> Any:
    """What a YAML text holds; `where` is what errors call it. Errors: as `read_document`."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_twice(node, where, "", set())
        return loader.construct_document(node)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{where}: not a readable YAML file: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()


def refuse_keys_given_twice(paths: Iterable[Path | str]) -> None:
    """Look for nothing else in files that another program reads. Errors: `KeyTwice`."""
    for path in paths:
        try:
            read_document(path)
        except KeyTwice:
            raise
        except ConfigError:
            continue  # it is for that program to say


def _refuse_twice(node: yaml.Node, where: str, above: str, visited: set[int]) -> None:
    if id(node) in visited:  # an alias may name what it is in
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _refuse_twice(value, where, f"{above}{number}.", visited)
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name, line = (key.tag, str(key.value)), key.start_mark.line + 1
        if name in lines and key.tag != MERGE:
            raise KeyTwice(
                f"{where}: {above}{key.value}: stands twice, in lines {lines[name]} and {line}; take one out"
            )
        lines[name] = line
        _refuse_twice(value, where, f"{above}{key.value}.", visited)
