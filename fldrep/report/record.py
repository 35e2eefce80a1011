"""What a page tells of its making, read back from it: the page is the record of the run that made it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import yaml

from fldrep.config.reading import parse_config
from fldrep.config.whole import Config
from fldrep.errors import ConfigError, DataError

MADE, VERSIONS, ORIGIN, SETTINGS = "made", "Versions", "Origin", "Settings"  # a section of the page, and its heads


@dataclass(frozen=True)
class Record:
    """A page's config with its defaults, the facts of its origin, the versions of packages, and its whole text."""

    config: Config
    facts: dict[str, str]
    versions: dict[str, str]
    text: str = field(repr=False)


def record_of(page: Path) -> Record:
    """The record on a page written by `report.page`. Errors: `DataError` naming the page and what it lacks."""
    try:
        text = page.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{page}: no readable page: {error}") from None
    made = _Made(text)
    missing = {ORIGIN, VERSIONS} - set(made.pairs) | {SETTINGS} - set(made.texts)
    if missing:
        raise DataError(f"{page}: not a page of this workflow: it has no part {', '.join(sorted(missing))}")
    try:
        config = parse_config(yaml.safe_load(made.texts[SETTINGS]))
    except (yaml.YAMLError, ConfigError) as error:
        raise DataError(f"{page}: its settings are not a config of this version: {error}") from None
    return Record(config, made.pairs[ORIGIN], made.pairs[VERSIONS], text)


class _Made(HTMLParser):
    """The section on how a page was made: tables of pairs and preformatted texts, each by the heading above it."""

    def __init__(self, text: str):
        super().__init__()
        self.pairs: dict[str, dict[str, str]] = {}
        self.texts: dict[str, str] = {}
        self._section = self._heading = self._key = ""
        self._words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag == "section":
            self._section = dict(attrs).get("id") or ""
        self._words = []

    def handle_data(self, data):
        self._words.append(data)

    def handle_endtag(self, tag):
        words, self._words = "".join(self._words), []
        if self._section != MADE:
            return
        if tag == "h3":
            self._heading = words
        elif tag == "th":
            self._key = words
        elif tag == "td":
            self.pairs.setdefault(self._heading, {})[self._key] = words
        elif tag == "pre":
            self.texts[self._heading] = words
