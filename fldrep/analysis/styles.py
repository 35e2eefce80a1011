"""How each method of defense is shown, the same in all figures and tables: its place, colour, marker and line.

A table carries the styles of its methods (`attrs["styles"]`, as JSON), so that it is drawn without the plug-ins that
registered them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field

import pandas as pd

from fldrep import registry

GREY = "#949494"


@dataclass(frozen=True)
class MethodStyle:
    """How a method is shown; `rules`: the marker of each of its rules, and the colour where rules are told apart."""

    order: int = 1000
    colour: str = GREY
    marker: str = "*"
    line: str = "-"
    rules: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def of_rule(self, rule: str) -> tuple[str, str]:
        """Marker and colour of a rule; those of the method for another one, and for none."""
        marker, colour = self.rules.get(rule, (self.marker, self.colour))
        return marker, colour


OTHER = MethodStyle()  # of a method that is not known here


def style_of(method: str) -> MethodStyle:
    """The style of a method: what its class says of its looks.

    >>> style_of("soteria").of_rule("inverse"), style_of("compression").of_rule("")
    (('P', '#029e73'), ('s', '#de8f05'))
    """
    entry = registry.entries("defense").get(method)
    if entry is None:
        return OTHER
    said = {name: getattr(entry.value, name) for name in vars(OTHER) if hasattr(entry.value, name)} | entry.words
    return MethodStyle(**{name: said[name] for name in vars(OTHER) if name in said})


def styles_text(methods: Iterable[str]) -> str:
    """The styles of methods as a table carries them."""
    return json.dumps({method: asdict(style_of(method)) for method in sorted(set(methods))})


def styles_in(frame: pd.DataFrame) -> Mapping[str, MethodStyle]:
    """The styles that a table carries; of other methods those known here."""
    return _Styles({method: MethodStyle(**words) for method, words in _carried(frame).items()})


def carried_by(*frames: pd.DataFrame) -> str:
    """The styles that several tables carry, as one made of them carries them; the last table's count."""
    return json.dumps({method: words for frame in frames for method, words in _carried(frame).items()})


def _carried(frame: pd.DataFrame) -> dict[str, dict]:
    return json.loads(frame.attrs.get("styles", "{}"))


class _Styles(dict[str, MethodStyle]):
    def __missing__(self, method: str) -> MethodStyle:
        return style_of(method)
