"""What keys and values of a config became: the one table of old words and new ones.

A config with an old word is refused in a line that names the new one; published configs are read by `with_new_words`.
"""

from collections.abc import Iterator, Sequence
from typing import Any

# Where a key stands (`*`: any name, or any entry of a list) -> what it is called now.
KEYS = {
    "defenses.*.pruned": "prune",
    "defenses.*.train_scores": "norm_estimator",
    "engine.block": "targets_per_job",
    "engine.chunk": "problems_at_once",
}

# Where a value stands -> old values and what they are called now.
VALUES = {
    "partitions.*.method": {"classes": "label-skew"},
    "attacks.*.preset": {"strongest": "ensemble"},
}


def new_key(place: Sequence[object]) -> str | None:
    """What the key at a place is called now; None where it was not renamed.

    >>> new_key(("defenses", "soteria-80", "pruned"))
    'prune'
    """
    return next((new for old, new in KEYS.items() if _matches(old, place)), None)


def new_value(place: Sequence[object], value: object) -> str | None:
    """What a value at a place is called now; None where it was not renamed."""
    renamed = next((values for where, values in VALUES.items() if _matches(where, place)), {})
    return renamed.get(value) if isinstance(value, str) else None


def _matches(pattern: str, place: Sequence[object]) -> bool:
    parts = pattern.split(".")
    return len(parts) == len(place) and all(part in ("*", here) for part, here in zip(parts, place, strict=True))


def with_new_words(config: dict[str, Any]) -> dict[str, Any]:
    """A config as it is read from YAML, in today's words; what needs no new word stays as it is.

    >>> with_new_words({"engine": {"block": 8}, "partitions": {"two": {"method": "classes"}}})
    {'engine': {'targets_per_job': 8}, 'partitions': {'two': {'method': 'label-skew'}}}
    """
    return _renewed(config, ())


def _renewed(given: Any, place: tuple[object, ...]) -> Any:
    if isinstance(given, dict):
        return dict(_renewed_items(given, place))
    if isinstance(given, list):
        return [_renewed(value, (*place, number)) for number, value in enumerate(given)]
    return new_value(place, given) or given


def _renewed_items(given: dict[str, Any], place: tuple[object, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        here = (*place, key)
        yield new_key(here) or key, _renewed(value, here)
