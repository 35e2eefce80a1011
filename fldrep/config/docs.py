"""The config explained, from the settings: its JSON schema (workflow/schemas), its tables (config/README.md), and
whom its attacks assume (docs/attacks.md)."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic.fields import FieldInfo

from fldrep.config.attacks import attack_settings
from fldrep.config.entries import OneOf
from fldrep.config.presets import ATTACK_PRESETS, ATTACK_SOURCES
from fldrep.config.section import Section
from fldrep.config.threat import KNOWLEDGE, SERVERS, threat_of
from fldrep.config.whole import Config
from fldrep.registry import entries


def config_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the config, as stored in workflow/schemas."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def config_tables() -> str:
    """Every key of the config as Markdown tables: meaning, unit, default and source, one table a section.

    A section that depends on what is registered has a table of the keys that all its entries share, and one an entry.
    The built-in attacks come last.
    """
    return "\n".join([*dict.fromkeys(_tables(Config, "Top level")), _presets()])


def _presets() -> str:
    """The built-in attacks, a row each."""
    columns = ["preset", "objective", "compares", "optimiser", "iterations", "strengthens", "source"]
    told = "What `preset` of an attack may name, and what it is made of."
    rows = [_preset(name, one) for name, one in ATTACK_PRESETS.items()]
    return "\n".join(["## Attack presets", "", told, "", *_head(*columns), *rows, ""])


def attackers_table() -> str:
    """Whom the built-in attacks assume, and what the words mean, as Markdown: docs/attacks.md has it."""
    meanings = [f"| `{word}` | {meaning} |" for word, meaning in (SERVERS | KNOWLEDGE).items()]
    rows = [_attacker(name) for name in ATTACK_PRESETS]
    tables = [*_head("word", "meaning"), *meanings, "", *_head("preset", "server", "knows besides the update"), *rows]
    return "\n".join(tables)


def _attacker(preset: str) -> str:
    one = threat_of(attack_settings(preset))
    return f"| `{preset}` | {one.server} | {one.told} |"


def _head(*columns: str) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def _preset(name: str, one: dict[str, Any]) -> str:
    parts = [one["objective"], one.get("compares", "all"), one["optimiser"], one["iterations"]]
    cells = [f"`{name}`", *parts, ", ".join(one.get("variant_of", [])), ATTACK_SOURCES[name]]
    return f"| {' | '.join(map(str, cells))} |"


def _tables(kind: type[Section], title: str) -> Iterator[str]:
    """The table of a section, and those of the sections that its keys hold, in the order of the keys."""
    yield _table(title, kind, list(kind.model_fields))
    for field in kind.model_fields.values():
        for part in _types_in(field.annotation):
            if isinstance(part, type) and issubclass(part, Section):
                yield from _tables(part, _title(part))
            elif isinstance(part, OneOf):
                yield from (_entry_table(part, name) for name in entries(part.kind))


def _types_in(annotation: Any) -> Iterator[Any]:
    told = [one for one in getattr(annotation, "__metadata__", ()) if hasattr(one, "sections")]
    if told:  # what it holds depends on what is registered
        yield from told[0].sections()
        return
    yield annotation
    for part in get_args(annotation):
        yield from _types_in(part)


def _title(kind: type[Section]) -> str:
    return kind.__name__.removesuffix("Settings")


def _entry_table(one: OneOf, name: str) -> str:
    section = one.section(name)
    own = [key for key in section.model_fields if key not in one.base.model_fields]
    return _table(f"{_title(one.base)} with `{one.key}: {name}`", section, own)


def _table(title: str, kind: type[Section], keys: list[str]) -> str:
    head = ["| key | meaning | unit | default | source |", "|---|---|---|---|---|"]
    rows = [_row(key, kind.model_fields[key]) for key in keys]
    return "\n".join([f"## {title}", "", f"{kind.__doc__}", "", *([*head, *rows, ""] if rows else [])])


def _row(name: str, field: FieldInfo) -> str:
    extra = field.json_schema_extra or {}
    default = "required" if field.is_required() else _default(field.default)
    return f"| `{name}` | {field.description or ''} | {extra.get('unit', '')} | {default} | {extra.get('source', '')} |"


def _default(value: Any) -> str:
    if isinstance(value, Section):
        return "see its table"
    return "" if value is None else f"`{json.dumps(value)}`"
