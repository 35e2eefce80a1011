"""An attack as data: objective x what it compares x optimiser x regularisers x labels x start.

A preset names such a combination; without one, a config combines its own. Which keys an attack takes depends on its
parts, which are looked up in the registry. What a config leaves out is completed here, so that a job is told every
value it uses.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from functools import cache
from typing import Annotated, Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from fldrep import registry
from fldrep.config.entries import Told
from fldrep.config.needs import NEEDS
from fldrep.config.parts import (
    NEEDS_BELOW_LINEAR,
    NEEDS_OF_COMPARED,
    NEEDS_THROUGH_MASK,
    are_told,
    every_key,
    objective_fields,
    optimiser_section,
    regulariser_keys,
    weight_fields,
    words,
)
from fldrep.config.presets import ATTACK_PRESETS, OLD_ATTACKS
from fldrep.config.section import Name, Natural, Positive, Section, option
from fldrep.errors import ConfigError, UnknownName, named


class AttackSettings(Section):
    """An attack: a preset and what differs from it, or an objective, an optimiser and regularisers of one's own."""

    preset: str | None = option(
        None, "built-in attack whose values the other keys change; `gs` if neither it nor a part of one's own is given"
    )
    objective: str = option(..., "how far the gradient of a trial image is from the one observed")
    compares: Literal["all", "surviving", "without-head", "representation"] = option(
        "all",
        "which entries of the two: `all`, those `surviving` a public mask, all `without-head`, or the surviving ones"
        " and besides the `representation` that the last layer's gradient tells",
    )
    optimiser: str = option(..., "what moves the trial image")
    labels: Literal["known", "inferred", "optimised"] = option(
        "known", "whether the attacker is given the label, reads it from the gradient, or optimises a soft one"
    )
    iterations: Natural = option(
        ...,
        "steps of the optimiser; for an ensemble evaluations of the gradient by each member that descends",
        source="gs 24,000 and dlg 300: the reference code (S)",
    )
    restarts: Positive = option(1, "initial points tried; the smallest gradient distance is chosen")
    start: float = option(
        1.0, "standard deviation of the random initial image, in the space in which the optimiser moves it", ge=0
    )
    repeats: Positive | None = option(
        None, "updates of the same images, each with its own noise, whose mean is attacked"
    )
    feature_weight: float | None = option(
        None, "weight of the distance between representations, 1 if not given (compares: representation)", ge=0
    )
    through_mask: bool = option(False, "whether the trial image is pruned as the client's was, by the public mask")
    below_linear: bool | None = option(
        None,
        "whether only what lies below the lowest linear layer with a bias is attacked, whose gradient tells what it was"
        " given and what came back to it",
    )
    members: dict[Name, dict[str, Any]] | None = option(
        None, "an ensemble: attacks of which the nearest result is kept; names of presets, or sections by name"
    )
    variant_of: list[Name] = option([], "published attacks that this one strengthens, the nearest first")
    needs: list[Literal[tuple(NEEDS)]] = option(
        [], "what it asks of a defense and of an update; what its parts ask if not given"
    )

    @model_validator(mode="after")
    def _check(self):
        if self.labels == "optimised" and not words("optimiser", self.optimiser).get("soft_labels"):
            raise ValueError(f"labels: 'optimised': optimiser {self.optimiser!r} takes known or inferred labels")
        if words("optimiser", self.optimiser).get("least_squares"):
            self._require_squares()
        if self.through_mask and (self.compares != "surviving" or self.members):
            raise ValueError("through_mask: True: expected compares: surviving, and no members")
        if self.below_linear and (self.compares != "all" or self.members or self.labels == "optimised"):
            raise ValueError("below_linear: True: expected compares: all, labels known or inferred, and no members")
        return self

    def _require_squares(self) -> None:
        if not words("objective", self.objective).get("squares"):
            known = ", ".join(name for name in registry.entries("objective") if words("objective", name).get("squares"))
            told = f"optimiser {self.optimiser!r} takes a sum of squares: {known}"
            raise ValueError(f"objective: {self.objective!r}: {told}")
        if self.compares == "representation":
            raise ValueError(f"compares: 'representation': optimiser {self.optimiser!r} compares gradients alone")
        if weighted := [key for key in regulariser_keys() if getattr(self, key, None)]:
            raise ValueError(f"{weighted[0]}: optimiser {self.optimiser!r} takes no regularisers")

    @property
    def title(self) -> str:
        """The preset's name, or the parts of an attack of one's own."""
        return self.preset or f"{self.objective} by {self.optimiser}"


KINDS = ("objective", "optimiser")  # parts that every attack names, entries of the registry
# What makes an attack the one it is: a preset fixes it.
FIXED = ("objective", "compares", "optimiser", "through_mask", "below_linear", "members", "variant_of", "needs")
# What an ensemble says for all its members; `iterations` only for those that descend.
OF_ALL = ("labels", "iterations", "restarts", "repeats")


class Attack:
    """Annotates a section that is an attack, with the keys of what is registered now."""

    def validate(self, given: Any) -> AttackSettings:
        """A complete section. Errors: `ValidationError` with the place of each fault."""
        if isinstance(given, AttackSettings):
            return given
        if not isinstance(given, dict):
            raise PydanticCustomError("dict_type", "Input should be a section with keys")
        said = {key: value for key, value in given.items() if value is not None}
        preset = said.get("preset", None if said.keys() & KINDS else "gs")
        fixed = {} if preset is None else _values_of(preset)
        for kind in KINDS:
            _require(kind, {**fixed, **said}.get(kind))
        faults = [*_contradicting(said, fixed)]
        if not are_told(*({**fixed, **said}[kind] for kind in ("optimiser", "objective"))):
            faults += [*_not_taken(said, fixed), *_unknown(given, _takes(said, fixed))]
        wrong = {fault["loc"][0] for fault in faults}
        try:
            settings = _completed({**fixed, **{key: value for key, value in said.items() if key not in wrong}})
        except ValidationError as error:
            faults += [_detail(one) for one in error.errors()]
        if faults:
            raise ValidationError.from_exception_data("attack", faults)
        return settings

    def sections(self) -> list[type[Section]]:
        """One section with every key that some attack takes, none required: what a reader and a schema see."""
        return [create_model("AttackSettings", __base__=Section, __doc__=AttackSettings.__doc__, **_every_field())]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:  # noqa: D105
        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda section, info: section.model_dump(mode=info.mode, exclude_none=info.exclude_none), info_arg=True
            ),
        )

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:  # noqa: D105
        return handler(self.sections()[0].__pydantic_core_schema__)


ATTACKS = Attack()
ChosenAttack = Annotated[AttackSettings, ATTACKS]


def attack_settings(preset: str | None = None, **keys: Any) -> AttackSettings:
    """The settings of an attack: a preset with some keys changed, or one of your own.

    Errors: `UnknownName` for the preset; `ConfigError` naming the key.
    """
    from fldrep.config.checking import checked

    if preset in OLD_ATTACKS:
        raise UnknownName(f"unknown attack {preset!r}: it is called {OLD_ATTACKS[preset]!r} now")
    if preset is not None:
        named("attack", preset, ATTACK_PRESETS)
    return checked(lambda: ATTACKS.validate({"preset": preset, **keys}))


# What an attack runs --------------------------------------------------------------------------------------------------


def weights_of(settings: AttackSettings) -> dict[str, float]:
    """The weights of the regularisers that an attack uses, by name."""
    weights = {name: getattr(settings, key, None) for key, name in regulariser_keys().items()}
    return {name: weight for name, weight in weights.items() if weight}


def evaluations_of(settings: AttackSettings) -> int:
    """How often one step of an attack's optimiser may evaluate the gradient."""
    key = words("optimiser", settings.optimiser).get("evaluations")
    return 1 if key is None else getattr(settings, key)


def way_of(settings: AttackSettings) -> str:
    """The module whose function `run` carries an attack out."""
    if settings.members:
        return "fldrep.attack.ensemble"
    if settings.below_linear:
        return "fldrep.attack.below_linear"
    return "fldrep.attack.pruned" if settings.through_mask else "fldrep.attack.engine"


def modules_of(settings: AttackSettings) -> list[str]:
    """The modules whose code an attack runs, by name: a job depends on these and on what they import."""
    found = {way_of(settings)}.union(*map(modules_of, members_of(settings).values()))
    return sorted(found | {registry.entry(*one).module for one in parts_of(settings)})


def parts_of(settings: AttackSettings) -> list[tuple[str, str]]:
    """The kinds and names of the entries that an attack is made of; of an ensemble, without its members."""
    used = [("objective", settings.objective), ("optimiser", settings.optimiser)]
    return used + [("regulariser", name) for name in weights_of(settings)]


def _needs_of(settings: AttackSettings) -> list[str]:
    """What the parts of an attack ask for. An ensemble asks for nothing: a member that is refused is left out.

    What an attack below a linear layer asks for besides, it asks of the part of the network that it attacks.
    """
    if settings.below_linear:
        return NEEDS_BELOW_LINEAR
    found = NEEDS_THROUGH_MASK if settings.through_mask else NEEDS_OF_COMPARED[settings.compares]
    found = [*found, *(need for one in parts_of(settings) for need in registry.entry(*one).words.get("needs", []))]
    return list(dict.fromkeys(found if settings.repeats is None else [*found, "noise"]))


# Completion -----------------------------------------------------------------------------------------------------------


def _completed(values: dict[str, Any]) -> AttackSettings:
    """A section with what it leaves out. Errors: `ValidationError`."""
    section = _section(values["optimiser"], values["objective"])
    settings = section.model_validate({**values, "members": None})
    found: dict[str, Any] = {}
    if settings.compares == "representation" and settings.feature_weight is None:
        found["feature_weight"] = 1.0
    if "members" in values:
        found["members"] = _members(settings, values["members"])
    elif "needs" not in values:
        found["needs"] = _needs_of(settings)
    return settings.model_copy(update=found)


def _section(optimiser: str, objective: str) -> type[AttackSettings]:
    """The section of attacks with this optimiser and this objective. Errors: `ConfigError` for a key of two"""
    own = Told if are_told(optimiser, objective) else optimiser_section(optimiser)
    return _combined(own, tuple(objective_fields(objective).items()), tuple(regulariser_keys().items()))


@cache
def _combined(
    own: type[Section], objective: tuple[tuple[str, tuple[Any, Any]], ...], weights: tuple[tuple[str, str], ...]
) -> type[AttackSettings]:
    fields = [AttackSettings.model_fields, own.model_fields, dict(objective), weight_fields(dict(weights))]
    keys = [key for some in fields for key in some]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)}: a key of two parts of one attack; one of them needs another name")
    bases = AttackSettings if own is Section else (own, AttackSettings)
    bases = (AttackSettings, Told) if own is Told else bases  # the last one's `extra` counts
    return create_model("Attack", __base__=bases, **fields[2], **fields[3])


def _every_field() -> dict[str, tuple[Any, Any]]:
    """Every key that some attack takes, as pydantic takes fields, none required."""
    found: dict[str, FieldInfo] = dict(AttackSettings.model_fields)
    for optimiser in registry.entries("optimiser"):
        for objective in registry.entries("objective"):
            found = {**_section(optimiser, objective).model_fields, **found}
    ordered = sorted(found, key=[*AttackSettings.model_fields, *found].index)
    types = {key: found[key].annotation for key in ordered}
    types["members"] = list[Name] | dict[Name, dict[str, Any]]
    for key, names in (("preset", ATTACK_PRESETS), *((kind, registry.entries(kind)) for kind in KINDS)):
        types[key] = Literal[tuple(names)]
    return {key: (types[key] | None, _optional(found[key])) for key in ordered}


def _optional(field: FieldInfo) -> FieldInfo:
    made = copy(field)
    made.default = None
    return made


# Faults ---------------------------------------------------------------------------------------------------------------


def _values_of(preset: Any) -> dict[str, Any]:
    """What a preset says. Errors: `ValidationError` where there is none of this name."""
    if isinstance(preset, str) and preset in ATTACK_PRESETS:
        return {"preset": preset, **ATTACK_PRESETS[preset]}
    if isinstance(preset, str) and preset in OLD_ATTACKS:
        raise _refusal("preset", preset, f"it is called {OLD_ATTACKS[preset]!r} now")
    raise _refusal("preset", preset, f"Input should be {_any_of(ATTACK_PRESETS)}")


def _require(kind: str, name: Any) -> None:
    """Errors: `ValidationError` where no entry of the kind has the name."""
    known = registry.entries(kind)
    if name is None:
        raise ValidationError.from_exception_data("attack", [InitErrorDetails(type="missing", loc=(kind,), input=name)])
    if not isinstance(name, str) or name not in known:
        raise _refusal(kind, name, f"Input should be {_any_of(known)}")


def _any_of(names: Mapping[str, Any]) -> str:
    *first, last = map(repr, names)
    return f"{', '.join(first)} or {last}" if first else last


def _contradicting(said: dict[str, Any], fixed: dict[str, Any]) -> Iterator[InitErrorDetails]:
    """Parts that are not those of the preset."""
    if not fixed or not said.keys() & FIXED:
        return
    whole = _completed(fixed)
    for key in (one for one in FIXED if one in said):
        own = getattr(whole, key)
        allowed = [own, [*own]] if isinstance(own, dict) else [own]
        if said[key] not in allowed:
            told = f"preset {fixed['preset']!r} has {allowed[-1]!r}; leave preset out for an attack of your own"
            yield _told(key, said[key], told)


def _not_taken(said: dict[str, Any], fixed: dict[str, Any]) -> Iterator[InitErrorDetails]:
    """Keys of other attacks than this one."""
    who, takes = _takes(said, fixed)
    others = every_key(AttackSettings.model_fields) - {*takes, *FIXED, "preset"}
    for key in (one for one in said if one in others):
        yield _told(key, said[key], f"not used by {who}, which takes {', '.join(takes)}")


def _takes(said: dict[str, Any], fixed: dict[str, Any]) -> tuple[str, list[str]]:
    """What an attack is called, and the keys that change it."""
    if fixed:
        who, takes = f"preset {fixed['preset']!r}", _completed(fixed).model_dump(exclude_none=True).keys()
    else:
        who, takes = "this attack", _section(said["optimiser"], said["objective"]).model_fields.keys()
        if said.get("compares") != "representation" and "members" not in said:
            takes = takes - {"feature_weight"}
    return who, sorted(takes - {*FIXED, "preset"})


def _unknown(given: dict, taken: tuple[str, list[str]]) -> Iterator[InitErrorDetails]:
    """Keys of no attack. Args: taken: as `_takes` tells."""
    who, takes = taken
    known = every_key(AttackSettings.model_fields)
    for key in (one for one in given if one not in known):
        place = key if isinstance(key, int) else str(key)
        told = PydanticCustomError("unknown_key", f"unknown key; {who} takes {', '.join(takes)}")
        yield InitErrorDetails(type=told, loc=(place,), input=given[key])


def _told(key: str, value: Any, message: str) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("wrong_for_attack", message), loc=(key,), input=value)


def _refusal(key: str, value: Any, message: str) -> ValidationError:
    return ValidationError.from_exception_data("attack", [_told(key, value, message)])


def _detail(error: Mapping[str, Any], *place: str) -> InitErrorDetails:
    """A fault found deeper, as a fault here."""
    details = {key: error[key] for key in ("input", "ctx") if key in error}
    known = error["type"] in get_args(core_schema.ErrorType)
    kind = error["type"] if known else PydanticCustomError(error["type"], error["msg"])
    return InitErrorDetails(**details, type=kind, loc=(*place, *error["loc"]))


# Ensembles ------------------------------------------------------------------------------------------------------------


def members_of(settings: AttackSettings) -> dict[str, AttackSettings]:
    """The attacks of an ensemble by name; empty for any other attack.

    Those that descend may evaluate the gradient equally often; those that solve for the image take their own steps.
    """
    return {
        name: _member(settings, own).model_copy(update={"preset": name})
        for name, own in (settings.members or {}).items()
    }


def _member(settings: AttackSettings, own: dict[str, Any]) -> AttackSettings:
    whole = ATTACKS.validate({**_shared(settings, own), **own})
    if "iterations" not in _of_all(own):
        return whole
    return whole.model_copy(update={"iterations": settings.iterations // evaluations_of(whole)})


def _of_all(own: dict[str, Any]) -> tuple[str, ...]:
    """The keys that an ensemble says for this member whatever its parts are."""
    solves = words("optimiser", own["optimiser"]).get("least_squares")
    return tuple(key for key in OF_ALL if key != "iterations" or not solves)


def _shared(settings: AttackSettings, own: dict[str, Any]) -> dict[str, Any]:
    """What an ensemble says for a member; if it is by the same optimiser, also its keys, start and weights."""
    keys = {*_of_all(own)}
    if own["optimiser"] == settings.optimiser:
        keys |= {"start", *optimiser_section(settings.optimiser).model_fields, *regulariser_keys()}
        keys |= {"feature_weight"} if own.get("compares") == "representation" else set()
    said = {key: getattr(settings, key) for key in keys}
    return {key: value for key, value in said.items() if value is not None}


def _members(settings: AttackSettings, given: Any) -> dict[str, dict[str, Any]]:
    """The members as a section holds them: all that the ensemble does not say for them. Errors: `ValidationError`."""
    if not isinstance(given, list | dict) or not given:
        raise _refusal("members", given, "Input should be names of presets, or sections by name")
    named = given if isinstance(given, dict) else {str(preset): {"preset": preset} for preset in given}
    found, faults = {}, []
    for name, own in named.items():
        try:
            found[NAMES.validate_python(name)] = _as_member(settings, SECTIONS.validate_python(own))
        except ValidationError as error:
            faults += [_detail(one, "members", str(name)) for one in error.errors()]
    if faults:
        raise ValidationError.from_exception_data("attack", faults)
    return found


NAMES, SECTIONS = TypeAdapter(Name), TypeAdapter(dict[str, Any])


def _as_member(settings: AttackSettings, own: dict[str, Any]) -> dict[str, Any]:
    values = {**(_values_of(own["preset"]) if "preset" in own else {}), **own}
    for kind in KINDS:
        _require(kind, values.get(kind))
    of_all = _of_all(values)
    for key in (*of_all, "members"):
        if key in own:
            raise _refusal(key, own[key], "the ensemble says it for all its members")
    shared = _shared(settings, values)
    whole = _member(settings, {**values, **shared, **own, "preset": None})
    told = shared.keys() - own.keys() | {*of_all, "preset", "variant_of"}
    return {key: value for key, value in whole.model_dump(exclude_none=True).items() if key not in told}
