"""The plug-in files of a published config: copied beside it, so that it can be read from its folder alone."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fldrep.config.documents import read_document
from fldrep.config.reading import parse_config
from fldrep.config.renamed import with_new_words
from fldrep.config.whole import Config
from fldrep.errors import DataError
from fldrep.registry import load_plugins
from fldrep.syntax import local_files

Files = Mapping[Path, bytes]  # contents by the place in the folder


def beside(plugins: Iterable[Path]) -> Files:
    """What lies beside a config: the files themselves, and those of their folders that they import.

    Errors: `DataError` for two files of one place, and for one that lies outside the folder of what imports it.
    """
    found: dict[Path, bytes] = {}
    for plugin in plugins:
        path = plugin.resolve()
        for file in (path, *local_files(path)):
            if not file.is_relative_to(path.parent):
                raise DataError(f"plugins: {plugin.name}: it imports {file.name}, which lies outside its folder")
            place, content = file.relative_to(path.parent), file.read_bytes()
            if found.setdefault(place, content) != content:
                raise DataError(f"plugins: {plugin}: another file is published as {place} already; rename one of them")
    return found


def with_bare_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config whose plug-ins are named as they lie beside it."""
    names = config.get("plugins")
    return {**config, "plugins": [Path(name).name for name in names]} if names else dict(config)


def load_beside(folder: Path, config: Mapping[str, Any]) -> list[Path]:
    """Load the plug-ins of a published config, from its folder and no other; returns their files.

    Errors: `ConfigError` naming a file that is missing or does not run.
    """
    files = [folder / Path(name).name for name in config.get("plugins") or []]
    load_plugins(files)
    return files


def published_config(folder: Path) -> Config:
    """The config of a published folder, of any version, after the plug-ins that lie beside it are loaded.

    Errors: `ConfigError` naming the file or the key.
    """
    words = with_new_words(read_document(folder / "config.yaml"))
    load_beside(folder, words)
    return parse_config(words)
