"""What a client does to an update before it leaves: one of the defenses registered, and its keys."""

from typing import Annotated, Any

from fldrep import registry
from fldrep.config.entries import OneOf
from fldrep.config.section import Section, option
from fldrep.config.series import KEY


class DefenseSettings(Section):
    """What a client does to an update before it leaves; `method` names it, and it says what other keys it takes."""

    method: str = option(..., "name of the defense")


class Methods(OneOf):
    """The defenses registered; in a config each may have several rates, which `series` makes sections of their own."""

    def schema_of(self, name: str, handler: Any) -> dict[str, Any]:
        """With a list of rates wherever there is one rate."""
        made = super().schema_of(name, handler)
        keys = made["properties"]
        if KEY in keys:
            rates = {"type": "array", "items": keys[KEY], "minItems": 1}
            keys = {**keys, KEY: {"anyOf": [keys[KEY], rates]}}
        return {**made, "properties": keys}


METHODS = Methods("defense", "method", DefenseSettings, default="none")
ChosenDefense = Annotated[DefenseSettings, METHODS]


def defense_settings(method: str = "none", **keys: Any) -> DefenseSettings:
    """The settings of a defense. Errors: `UnknownName` for the method; `ConfigError` naming the key."""
    from fldrep.config.checking import checked

    registry.entry("defense", method)
    return checked(lambda: METHODS.validate({"method": method, **keys}))
