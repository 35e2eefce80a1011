"""A defense at several rates in one section: `rate` is a list, and the section stands for one defense a rate."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

KEY = "rate"


def with_series(raw: Any) -> Any:
    """A config as it is read, with a defense for each rate of a list, and the grid's names of the list for all of them.

    >>> with_series({"defenses": {"soteria": {"method": "soteria", "rate": [0.4, 0.125]}}, "grid": []})["defenses"]
    {'soteria-40': {'method': 'soteria', 'rate': 0.4}, 'soteria-12p5': {'method': 'soteria', 'rate': 0.125}}

    Errors: `ValueError` naming the key, for a rate out of range and for a name that is taken.
    """
    defenses = raw.get("defenses") if isinstance(raw, Mapping) else None
    if not isinstance(defenses, Mapping):
        return raw
    names = {name: _names(name, section[KEY]) for name, section in defenses.items() if _is_series(section)}
    _check_free(names, [name for name in defenses if name not in names])
    expanded = {one: own for name, section in defenses.items() for one, own in _sections(name, section, names)}
    found = {**raw, "defenses": expanded}
    return {**found, "grid": _grid(raw["grid"], names)} if "grid" in raw else found


def _is_series(section: Any) -> bool:
    rates = section.get(KEY) if isinstance(section, Mapping) else None
    return bool(rates) and isinstance(rates, list) and all(type(rate) in (int, float) for rate in rates)


def _names(name: str, rates: list[float]) -> list[str]:
    wrong = [rate for rate in rates if not 0 <= rate <= 1]
    if wrong:
        raise ValueError(f"defenses.{name}.{KEY}: {wrong[0]}: expected rates from 0 to 1")
    return [f"{name}-{_percent(rate)}" for rate in rates]


def _percent(rate: float) -> str:
    """A rate in percent, as a part of a name: `.` is `p`."""
    return f"{(Decimal(str(rate)) * 100).normalize():f}".replace(".", "p")


def _check_free(names: Mapping[str, list[str]], others: list[str]) -> None:
    taken = set(others)
    for name, own in names.items():
        for one in own:
            if one in taken:
                raise ValueError(
                    f"defenses.{name}.{KEY}: {one!r} would be two defenses; rename one, or leave a rate out"
                )
            taken.add(one)


def _sections(name: str, section: Any, names: Mapping[str, list[str]]) -> Iterator[tuple[str, Any]]:
    if name not in names:
        yield name, section
        return
    yield from ((one, {**section, KEY: rate}) for one, rate in zip(names[name], section[KEY], strict=True))


def _grid(grid: Any, names: Mapping[str, list[str]]) -> Any:
    if not isinstance(grid, list):
        return grid
    return [_entry(entry, names) if isinstance(entry, Mapping) else entry for entry in grid]


def _entry(entry: Mapping[str, Any], names: Mapping[str, list[str]]) -> Mapping[str, Any]:
    asked = entry.get("defenses")
    if not isinstance(asked, list) or not all(isinstance(name, str) for name in asked):
        return entry
    return {**entry, "defenses": [one for name in asked for one in names.get(name, [name])]}
