"""What a client does to an update before it leaves: one of the defenses registered, and its keys."""

from typing import Annotated, Any

from fldrep import registry
from fldrep.config.entries import OneOf
from fldrep.config.section import Section, option


class DefenseSettings(Section):
    """What a client does to an update before it leaves; `method` names it, and it says what other keys it takes."""

    method: str = option(..., "name of the defense")


METHODS = OneOf("defense", "method", DefenseSettings, default="none")
ChosenDefense = Annotated[DefenseSettings, METHODS]


def defense_settings(method: str = "none", **keys: Any) -> DefenseSettings:
    """The settings of a defense. Errors: `UnknownName` for the method; `ConfigError` naming the key."""
    from fldrep.config.checking import checked

    registry.entry("defense", method)
    return checked(lambda: METHODS.validate({"method": method, **keys}))
