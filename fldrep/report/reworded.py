"""A YAML text in other words: what changes is replaced where it stands, comments and layout stay."""

from collections.abc import Iterator
from typing import Any

import yaml

Edit = tuple[int, int, str]


def reworded(text: str, new: dict[str, Any]) -> str:
    """A YAML text that says `new`, where keys and values may have other words but not other places.

    A text that cannot be edited so is written anew, without its comments.

    >>> reworded("a: {b: 1}  # why\\n", {"a": {"c": 2}})
    'a: {c: 2}  # why\\n'
    """
    edited = text
    try:
        edits = sorted(_edits(yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text), new), reverse=True)
    except _Moved:
        edits = []
    for start, end, word in edits:
        edited = edited[:start] + word + edited[end:]
    return edited if yaml.safe_load(edited) == new else yaml.safe_dump(new, sort_keys=False, allow_unicode=True)


class _Moved(Exception):
    """Something was added, taken away or moved."""


def _edits(node: yaml.Node, old: Any, new: Any) -> Iterator[Edit]:
    """From, to, and the new word, of each place that differs."""
    if old == new:
        return
    if isinstance(node, yaml.ScalarNode):
        yield node.start_mark.index, node.end_mark.index, _word(new)
        return
    if type(old) is not type(new) or not len(node.value) == len(old) == len(new):
        raise _Moved
    if isinstance(node, yaml.SequenceNode):
        for inner, one, other in zip(node.value, old, new, strict=True):
            yield from _edits(inner, one, other)
        return
    for (key, inner), (name, one), (new_name, other) in zip(node.value, old.items(), new.items(), strict=True):
        yield from _edits(key, name, new_name)
        yield from _edits(inner, one, other)


def _word(value: Any) -> str:
    """A value as it stands inside a YAML text."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).removesuffix("...\n").strip()
