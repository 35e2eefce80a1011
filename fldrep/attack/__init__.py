"""Stage: attack. Presets of one engine, found by name and imported on use, so that one does not depend on another."""

from collections.abc import Callable, Mapping
from importlib import import_module

from pydantic import ValidationError
from torch import Tensor

from fldrep.attack.problem import Attack, Reconstruction
from fldrep.config.attacks import ATTACK_MODULES, AttackSettings
from fldrep.errors import ConfigError, named
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation, normalisation_for
from fldrep.models.updates import LocalSteps
from fldrep.seeds import generator


def attack_named(preset: str) -> Attack:
    """The attack of a preset: (model, seen, labels, settings, **setup) -> Reconstruction. Errors: `UnknownName`."""
    return import_module(named("attack", preset, ATTACK_MODULES)).PRESETS[preset]


def reconstruct(
    model: Model,
    shared: Mapping[str, Tensor],
    labels: Tensor | None = None,
    attack: str = "gs",
    iterations: int | None = None,
    seed: int = 0,
    normalisation: str | Normalisation | None = None,
    *,
    label_strategy: str | None = None,
    defended: str | None = None,
    shape: tuple[int, int, int] | None = None,
    batch: int | None = None,
    local: LocalSteps | None = None,
    chunk: int | str = 64,
    progress: Callable | None = None,
    compile: str = "auto",
    **settings,
) -> Reconstruction:
    """Reconstruct the images behind N updates.

    Args: shared: {parameter: (N, *shape)}; labels: (N,), or (N, B) for updates of B images, or None where the attack
    finds them; iterations: as the preset's optimiser counts them (GS: Adam steps; DLG: L-BFGS steps of 20 inner ones);
    normalisation: a data set's name, `none` or constants, those that fit the channels if not given; label_strategy:
    `known`, `inferred` or `optimised`, the preset's if not given; defended: what is known to be pruned (`none`, `head`,
    `all`) where the update does not say; shape: (C, H, W) where the model does not say; batch: images an update where
    labels do not tell; local: what a client did, if more than one step; chunk: problems (targets x restarts) worked at
    once, or `auto`: as many as fit into the memory free now; compile: `auto`, `always` or `never`; settings: any other
    key of `AttackSettings`.
    Initial points depend on seed, target and restart alone.
    Errors: `UnknownName`, `ConfigError` and `AttackRefused`, each naming the argument.
    """
    run = attack_named(attack)
    shape = shape or model.shape
    if shape is None:
        raise ConfigError("shape: the model does not say what images it takes; give shape=(C, H, W)")
    return run(
        model,
        shared,
        labels,
        attack_settings(attack, labels=label_strategy, iterations=iterations, **settings),
        defended=defended,
        shape=shape,
        normalisation=normalisation_for(shape[0], normalisation),
        draw=lambda target, restart: generator("initial point", seed, target, restart),
        chunk=chunk,
        batch=batch,
        local=local,
        progress=progress,
        compile=compile,
    )


def attack_settings(preset: str, **given) -> AttackSettings:
    """A preset with some keys changed. Errors: `ConfigError` naming the key."""
    try:
        return AttackSettings(preset=preset, **given)
    except ValidationError as error:
        faults = [".".join(map(str, one["loc"])) + ": " + one["msg"] for one in error.errors()]
        raise ConfigError("; ".join(fault.removeprefix(": ") for fault in faults)) from None
