"""What a page is made from, as a file beside it: the run's config, its origin, and the figures that the page shows."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fldrep.atomic import atomic_write
from fldrep.config.reading import parse_config
from fldrep.config.whole import Config
from fldrep.errors import ConfigError, DataError

PARTS = ("config", "facts", "versions", "figures")


@dataclass(frozen=True)
class Record:
    """A run's config with its defaults, the facts of its origin in words, the versions of packages, and the sha256 of
    each figure by name.
    """

    config: Config
    facts: Mapping[str, str]
    versions: Mapping[str, str]
    figures: Mapping[str, str]

    def shows(self, figure: str, content: bytes) -> bool:
        """Whether the page shows this content as its figure of a name."""
        return self.figures.get(figure) == digest(content)


def digest(content: bytes) -> str:
    """The sha256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def write_record(record: Record, path: Path) -> None:
    """Write a record as JSON."""
    told = {**vars(record), "config": record.config.model_dump(mode="json")}
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_record(path: Path) -> Record:
    """A record written by `write_record`. Errors: `DataError` naming the file and what it lacks."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: no readable record of a run; run snakemake: {error}") from None
    missing = [part for part in PARTS if not isinstance(told, dict) or not isinstance(told.get(part), dict)]
    if missing:
        raise DataError(f"{path}: not the record of a run: it has no {', '.join(missing)}")
    try:
        config = parse_config(told["config"])
    except ConfigError as error:
        raise DataError(f"{path}: its settings are not a config of this version; run snakemake: {error}") from None
    return Record(config, *(told[part] for part in PARTS[1:]))


def read_json(path: Path) -> dict:
    """A JSON file. Errors: `DataError` naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a readable JSON file: {error}") from None
