"""Sections read from JSON, and the line that says what is wrong with one."""

import json
import math
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from fldrep.config.renamed import new_key, new_value
from fldrep.config.section import Section
from fldrep.errors import ConfigError


def stable_json(section: Section) -> str:
    """A section as one line of JSON with sorted keys: equal sections give equal text.

    Keys without a value are left out, so that a new optional key does not make old results stale.
    """
    return json.dumps(section.model_dump(mode="json", exclude_none=True), sort_keys=True)


def parse_section(kind: type[Section], text: str) -> Section:
    """A section from JSON. Errors: `ConfigError`, as for the whole config."""
    return checked(lambda: kind.model_validate_json(text))


def checked(validate: Callable[[], Section]) -> Section:
    """What a validation gives. Errors: `ConfigError`, each fault with its key, its value and what would be right."""
    try:
        return validate()
    except ValidationError as error:
        raise ConfigError("; ".join(_fault(one) for one in error.errors())) from None


LONGEST_SHOWN = 120  # characters of a wrong value


def _fault(error: dict[str, Any]) -> str:
    where = ".".join(_plain(part) for part in error["loc"] if part != "[key]") or "config"
    if error["type"] in ("extra_forbidden", "unknown_key") and (new := new_key(error["loc"])):
        return f"{where}: renamed, write {new}"
    if error["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    if error["type"] == "missing":
        return f"{where}: missing"
    new = new_value(error["loc"], error.get("input"))
    if new:
        return f"{where}: {error['input']!r}: renamed, write {new}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{where}: {message}" if error["loc"] else message
    if error["type"] in ("int_type", "float_type") and _is_number(error["input"]):
        message += f"; this is text, write {_as_yaml(error['input'])}"
    return f"{where}: {shown(error['input'])}: {message}"


def _plain(key: object) -> str:
    """A key as it stands, or quoted where it would break the line."""
    return shown(key) if isinstance(key, str) and not key.isprintable() else str(key)


def shown(value: object) -> str:
    """A value as an error shows it: on one line, and not longer than one can read."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _as_yaml(text: str) -> str:
    """A number as YAML 1.1 reads one: without quotes, and with a point where there is an exponent.

    >>> _as_yaml("1e-4"), _as_yaml("12")
    ('1.0e-4', '12')
    """
    digits, mark, exponent = text.strip().lower().partition("e")
    if not mark:
        return digits
    return f"{digits if '.' in digits else digits + '.0'}e{exponent if exponent[:1] in '+-' else '+' + exponent}"
