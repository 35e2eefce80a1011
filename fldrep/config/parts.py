"""The parts an attack is made of, as the registry has them: objectives, optimisers and regularisers, and their keys."""

from collections.abc import Iterable, Mapping
from typing import Any

from fldrep import registry
from fldrep.config.entries import keywords_of
from fldrep.config.section import Section, option

NEEDS_OF_COMPARED: dict[str, list[str]] = {
    "all": [],
    "surviving": ["mask"],
    "without-head": ["head-mask"],
    "representation": ["one-image", "one-step", "head-bias"],
}
KNOWN_OF_COMPARED: dict[str, list[str]] = {
    "all": [],
    "surviving": ["mask"],
    "without-head": ["mask"],
    "representation": ["mask"],
}
NEEDS_THROUGH_MASK = ["head-mask", "pruned-representation", "one-step"]
NEEDS_BELOW_LINEAR = ["one-image", "one-step", "inner-linear", "whole-body", "exact"]


def are_told(optimiser: str, objective: str) -> bool:
    """Whether not all keys of an attack are known, as one of its parts is only told of (`registry.tell`)."""
    return registry.entry("optimiser", optimiser).is_told or registry.entry("objective", objective).is_told


def words(kind: str, name: str) -> Mapping[str, Any]:
    """What the file of a part says of it.

    An optimiser may say `soft_labels=True`: it can optimise labels too; `evaluations="KEY"`: its key that tells how
    often a step may evaluate the gradient, else once; `least_squares=True`: it takes residuals, so the objective must
    say `squares=True`: it is a sum of weighted squared differences, weighted by what the observed gradient alone tells;
    `float64=True`: it computes in float64, whatever the network's dtype; `whole=True`: its steps do not tell what it
    costs, so an estimate measures a whole attack; `learns=True`: it passes over the public images, `iterations` times
    and once a job, however many problems there are; `server="active"`: the server changes the network that it sends.
    A regulariser may say `observes=True`: it is given the observation of the problems' updates as a keyword.
    Any part may say `needs=[...]`, words of `needs.NEEDS`, and `knows=[...]`, words of `threat.KNOWLEDGE`: what an
    attacker with it knows besides the update.
    """
    return registry.entry(kind, name).words


def optimiser_section(name: str) -> type[Section]:
    """The keys of an optimiser: its class attribute `Settings`."""
    return getattr(registry.value("optimiser", name), "Settings", Section)


def objective_fields(name: str) -> dict[str, tuple[Any, Any]]:
    """The keys of an objective, as pydantic takes fields: its annotated keyword-only parameters.

    Those of one that is only told of are not known.
    """
    entry = registry.entry("objective", name)
    return {} if entry.is_told else keywords_of(entry.value)


def regulariser_keys() -> dict[str, str]:
    """The regularisers by the key of their weight, which is their name with `_` for `-`."""
    return {name.replace("-", "_"): name for name in registry.entries("regulariser")}


def weight_fields(keys: Mapping[str, str]) -> dict[str, tuple[Any, Any]]:
    """The weights of regularisers, as pydantic takes fields."""
    return {key: (float | None, option(None, f"weight of the regulariser {name}", ge=0)) for key, name in keys.items()}


def every_key(common: Iterable[str]) -> set[str]:
    """All keys that some attack takes. Args: common: those that every attack has."""
    optimisers = (optimiser_section(name).model_fields for name in registry.entries("optimiser"))
    objectives = (objective_fields(name) for name in registry.entries("objective"))
    return {*common, *regulariser_keys()}.union(*optimisers, *objectives)
