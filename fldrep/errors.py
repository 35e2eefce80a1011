"""Errors that a user can act on: one line that names the key or file, the value, and what would be right."""

from collections.abc import Hashable


class FLDRepError(Exception):
    """A mistake in what was asked for or given; the command line prints it as one line, without a traceback."""


class ConfigError(FLDRepError):
    """A setting that is unknown, out of range, or contradicts another."""


class DataError(FLDRepError):
    """A data set, archive, photo, table or checkpoint that is missing, damaged or not what it claims to be."""


class UnknownName(ConfigError):
    """A name that no registry holds."""


class AttackRefused(ConfigError):
    """An attack that makes no sense against the update it was given; `reasons` by target, where only some refuse it."""

    def __init__(self, text: str, reasons: dict[int, str] | None = None):
        super().__init__(text)
        self.reasons = reasons


def lacking(error: ModuleNotFoundError, package: str, extra: str) -> Exception:
    """What to raise where a package of an extra cannot be imported; the error itself where another one is missing.

    >>> lacking(ModuleNotFoundError(name="flwr"), "flwr", extra="flower")
    ConfigError("flwr: not installed: expected FLDRep with its extra, such as by pip install -e '.[flower]'")
    """
    if (error.name or "").partition(".")[0] != package:
        return error
    return ConfigError(
        f"{package}: not installed: expected FLDRep with its extra, such as by pip install -e '.[{extra}]'"
    )


def named(kind: str, name: str, registry):
    """The entry of a registry, or one honest error.

    >>> named("colour", "red", {"red": 1})
    1
    """
    if not isinstance(name, Hashable) or name not in registry:
        raise UnknownName(f"unknown {kind} {name!r}; known: {', '.join(sorted(map(str, registry)))}")
    return registry[name]


def told(path: object) -> str:
    """A path as an error names it: as it is, or quoted where it would break the line.

    >>> told("a b.png"), told("a\\nb.png")
    ('a b.png', "'a\\\\nb.png'")
    """
    text = str(path)
    return text if text.isprintable() else ascii(text)
