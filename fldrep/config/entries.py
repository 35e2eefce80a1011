"""Sections that depend on what is registered: the settings of an entry, and a section whose kind a key tells."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal, get_type_hints

from pydantic import ConfigDict, Field, ValidationError, create_model
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from fldrep import registry
from fldrep.config.section import Section
from fldrep.errors import ConfigError

_SETTINGS: dict[tuple[object, ...], type[Section]] = {}


def settings_of(kind: str, name: str, key: str, base: type[Section] = Section) -> type[Section]:
    """The settings of an entry as a section; `key` holds the entry's name, and `base` the keys that all entries share.

    They are the class attribute `Settings` of a class, or the annotated keyword-only parameters of a function. Of an
    entry that is only told of, any keys: they were checked where the config was read.
    Errors: `UnknownName`; `ConfigError` for a key of its own that all entries have.
    """
    entry = registry.entry(kind, name)
    value = Told if entry.is_told else entry.value
    made = _SETTINGS.get((kind, name, value))
    if made is None:
        own = getattr(value, "Settings", None)
        said = base.model_fields.get(key)
        fields: dict[str, Any] = {key: (Literal[name], Field(name, description=said and said.description))}
        if own is None and not inspect.isclass(value):
            own_keys = keywords_of(value)
            if taken := sorted(own_keys.keys() & base.model_fields.keys()):
                raise ConfigError(f"{kind} {name!r}: every {kind} has a setting {taken[0]!r}; choose another name")
            fields |= own_keys
        bases = base if own is None or own is Section else (own, base)
        if entry.is_told:
            bases = Told if base is Section else (base, Told)  # the last one's `extra` counts
        title = "".join(part.capitalize() for part in name.split("-"))
        made = create_model(f"{title}Settings", __base__=bases, __doc__=inspect.getdoc(value), **fields)
        _SETTINGS[kind, name, value] = made
    return made


class Told(Section):
    """Settings that another process has checked."""

    model_config = ConfigDict(extra="allow")


def keywords_of(function: Callable) -> dict[str, tuple[Any, Any]]:
    """The annotated keyword-only parameters of a function with their defaults, as pydantic takes fields.

    No other annotation is looked at, so what only these need may be imported inside the function.
    Errors: `ConfigError` naming one without an annotation.
    """
    keywords = [one for one in inspect.signature(function).parameters.values() if one.kind is one.KEYWORD_ONLY]
    for one in keywords:
        if one.annotation is one.empty:
            raise ConfigError(f"{function.__name__}: setting {one.name!r} has no type; write {one.name}: int, say")
    said = SimpleNamespace(__annotations__={one.name: one.annotation for one in keywords})
    types = get_type_hints(said, inspect.unwrap(function).__globals__, include_extras=True)
    return {one.name: (types[one.name], ... if one.default is one.empty else one.default) for one in keywords}


class OneOf:
    """Annotates a section that is one of a kind's entries, which its key tells: a union of what is registered now.

    `default` is the entry meant where the key is absent; None: the key is required.
    """

    def __init__(self, kind: str, key: str, base: type[Section], default: str | None = None):
        self.kind, self.key, self.base, self.default = kind, key, base, default

    def section(self, name: str) -> type[Section]:
        """The settings of the entry of a name."""
        return settings_of(self.kind, name, self.key, self.base)

    def validate(self, given: Any) -> Section:
        """A section of the entry that `given` names. Errors: `ValidationError` with the place of each fault."""
        if isinstance(given, self.base):
            return given
        if not isinstance(given, dict):
            raise PydanticCustomError("dict_type", "Input should be a section with keys")
        name = given.get(self.key, self.default)
        known = registry.entries(self.kind)
        if not isinstance(name, str) or name not in known:
            raise ValidationError.from_exception_data(self.kind, [self._unknown(given, [*known])])
        section = self.section(name)
        try:
            return section.model_validate(given)
        except ValidationError as error:
            told = [self._told(one, section) for one in error.errors()]
            raise ValidationError.from_exception_data(self.kind, told) from None

    def _told(self, error: Any, section: type[Section]) -> InitErrorDetails:
        """A fault as it was, but for an unknown key, which is told what the entry takes."""
        told = {key: error[key] for key in ("type", "loc", "input", "ctx") if key in error}
        if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
            keys = ", ".join(one for one in section.model_fields if one != self.key) or "no other key"
            name = section.model_fields[self.key].default
            told["type"] = PydanticCustomError("unknown_key", f"unknown key; {self.key} {name!r} takes {keys}")
        return InitErrorDetails(**told)

    def _unknown(self, given: dict, known: list[str]) -> InitErrorDetails:
        if self.key not in given:
            return InitErrorDetails(type="missing", loc=(self.key,), input=given)
        *first, last = (repr(one) for one in known)
        expected = f"{', '.join(first)} or {last}" if first else last
        return InitErrorDetails(
            type="literal_error", loc=(self.key,), input=given[self.key], ctx={"expected": expected}
        )

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:  # noqa: D105
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda section, info: section.model_dump(mode=info.mode, exclude_none=info.exclude_none), info_arg=True
            ),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:  # noqa: D105
        return {"oneOf": [self.schema_of(name, handler) for name in registry.entries(self.kind)]}

    def schema_of(self, name: str, handler: Any) -> dict[str, Any]:
        """The JSON schema of an entry's section, as a config may say it."""
        made = handler.resolve_ref_schema(handler(self.section(name).__pydantic_core_schema__))
        required = made.get("required", [])
        return made if name == self.default else {**made, "required": [self.key, *required]}
