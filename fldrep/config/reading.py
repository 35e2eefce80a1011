"""Whole configs, read from YAML with the plug-ins that they name."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fldrep.config.checking import checked, shown
from fldrep.config.documents import read_document
from fldrep.config.whole import Config
from fldrep.errors import ConfigError
from fldrep.registry import load_plugins


def parse_config(raw: dict[str, Any]) -> Config:
    """The whole config, checked. Errors: `ConfigError`, each fault with its key, its value and what would be right."""
    return checked(lambda: Config.model_validate(raw))


def read_config(path: Path | str) -> Config:
    """The config in a YAML file, after the plug-ins that it names are loaded.

    Errors: `ConfigError` naming the file, and the key at fault.
    """
    raw = read_document(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected sections with keys, found {type(raw).__name__}")
    load_plugins(plugin_files(raw, [Path(path).parent]))
    return parse_config(raw)


def plugin_files(config: Mapping[str, Any], beside: Sequence[Path]) -> list[Path]:
    """The files under `plugins`, as seen from the working directory, else from one of the config file's folders.

    A value that is no list of text is left to the check of the whole config. Errors: `ConfigError` for a missing file.
    """
    named = config.get("plugins")
    named = named if isinstance(named, list) and all(isinstance(one, str) for one in named) else []
    return [_found(name, [Path(), *beside]) for name in named]


def _found(name: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError(f"plugins: {shown(name)}: no such file in the working directory or beside the config")
