"""The config explained: its JSON schema (workflow/schemas) and its tables (config/README.md), from the settings."""

import json
from collections.abc import Iterator
from typing import Any, get_args

from fldrep import registry
from fldrep.config.entries import OneOf
from fldrep.config.section import Section
from fldrep.config.whole import Config


def config_schema() -> dict[str, Any]:
    """JSON schema (draft 2020-12) of the config, as stored in workflow/schemas."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Config.model_json_schema()}


def config_tables() -> str:
    """Every key of the config as Markdown tables: meaning, unit, default and source, one table a section."""
    return "\n".join(_section_table(kind) for kind in dict.fromkeys(_sections(Config)))


def _sections(kind: type[Section]) -> Iterator[type[Section]]:
    """A section and those that its keys hold, in the order of the keys."""
    yield kind
    for field in kind.model_fields.values():
        for part in _types_in(field.annotation):
            if isinstance(part, OneOf):
                yield from (part.section(name) for name in registry.entries(part.kind))
            elif isinstance(part, type) and issubclass(part, Section):
                yield from _sections(part)


def _types_in(annotation: Any) -> Iterator[Any]:
    told = [one for one in getattr(annotation, "__metadata__", ()) if hasattr(one, "sections")]
    if told:  # what it holds depends on what is registered
        yield from told[0].sections()
        return
    yield annotation
    for part in get_args(annotation):
        yield from _types_in(part)


def _section_table(kind: type[Section]) -> str:
    title = "Top level" if kind is Config else kind.__name__.removesuffix("Settings")
    lines = [
        f"## {title}",
        "",
        f"{kind.__doc__}",
        "",
        "| key | meaning | unit | default | source |",
        "|---|---|---|---|---|",
    ]
    for name, field in kind.model_fields.items():
        extra = field.json_schema_extra or {}
        default = "required" if field.is_required() else _default(field.default)
        lines.append(
            f"| `{name}` | {field.description} | {extra.get('unit', '')} | {default} | {extra.get('source', '')} |"
        )
    return "\n".join([*lines, ""])


def _default(value: Any) -> str:
    if isinstance(value, Section):
        return "see its table"
    return "" if value is None else f"`{json.dumps(value)}`"
