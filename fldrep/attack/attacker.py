"""An attacker: what one makes of what one observed, and the Python face of that."""

from collections.abc import Callable, Mapping
from importlib import import_module

from torch import Tensor, nn

from fldrep.arguments import check_keywords, check_one_of, check_seed, check_text, check_whole
from fldrep.attack.engine import Work
from fldrep.attack.observation import Observation, public_zeros
from fldrep.attack.reconstruction import Reconstruction
from fldrep.attack.surrogate import Surrogate
from fldrep.config.attacks import AttackSettings, attack_settings, way_of
from fldrep.config.needs import lacks
from fldrep.errors import AttackRefused
from fldrep.models.face import (
    check_known_labels,
    check_local,
    constants_for,
    require_evidence,
    steady,
    with_inner_names,
)
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import LocalSteps
from fldrep.seeds import generator


def carry_out(observation: Observation, settings: AttackSettings, work: Work) -> Reconstruction:
    """Run an attack on what was observed.

    Errors: `AttackRefused` where what it needs is not there; those of `engine.run`.
    """
    for whose, needed, instead in lacks(settings.needs, observation.public, observation.sent, observation.structure):
        naive = f"; use {settings.variant_of[0]!r}" if settings.variant_of else ""
        it = "network" if whose == "model" else "update"
        raise AttackRefused(f"attack {settings.title!r} needs {needed}, but this {it} {instead}{naive}")
    return import_module(way_of(settings)).run(observation, settings, work)


def reconstruct(
    model: nn.Module,
    shared: Mapping[str, Tensor],
    labels: Tensor | None = None,
    attack: str | Mapping | AttackSettings | None = None,
    iterations: int | None = None,
    seed: int = 0,
    normalisation: str | Normalisation | None = None,
    *,
    label_strategy: str | None = None,
    defended: str | None = None,
    shape: tuple[int, int, int] | None = None,
    batch: int | None = None,
    local: LocalSteps | None = None,
    surrogate: Surrogate | None = None,
    problems_at_once: int | str = 64,
    progress: Callable | None = None,
    compile: str = "auto",
    **settings,
) -> Reconstruction:
    """Reconstruct the images behind N updates.

    Args: model: as for `client_update`; shared: {parameter: (N, *shape)}, the model's own names; labels: (N,), or
    (N, B) for updates of B images, or None where the attack finds them; attack: a preset's name, or an attack of one's
    own as the config's section `attacks` has it; None: what `settings` say, `gs` where they name no objective and no
    optimiser; iterations: as the attack's optimiser counts them (GS: Adam steps; DLG: L-BFGS steps of 20 inner ones);
    normalisation: a data set's name, `none` or constants, those that fit the channels if not given; label_strategy:
    `known`, `inferred` or `optimised`, the attack's if not given; defended: what is known to be pruned (`none`, `head`,
    `all`) where the update does not say; shape: (C, H, W) where the model does not say; batch: images an update where
    labels do not tell; local: what a client did, if more than one step; surrogate: the attacker's own images, and what
    clients would send of them; problems_at_once (targets x restarts), progress and compile as in `engine.Work`;
    settings: any other key of the config's section.
    Initial points depend on seed, target and restart alone.
    Errors: `UnknownName`, `ConfigError` and `AttackRefused`, each naming the argument.
    """
    check_keywords(settings, {"chunk": "problems_at_once"})
    chosen = asked(attack, **settings, labels=label_strategy, iterations=iterations)
    model = steady(model, shape)
    shape = model.shape if shape is None else tuple(shape)
    shared = with_inner_names(model, shared)
    require_evidence(model, shared, chosen.labels)
    seed = check_seed(seed)
    if defended is not None:
        check_one_of("defended", defended, ("none", "head", "all"))
    observation = Observation(
        model=model,
        update=shared,
        labels=check_known_labels(labels, shared, batch, model),
        shape=shape,
        normalisation=constants_for(shape[0], normalisation),
        draw=lambda target, restart: generator("initial point", seed, target, restart),
        zeros=public_zeros(shared, defended),
        batch=batch,
        local=check_local(local),
        distorted=getattr(shared, "distorted", None),
        surrogate=surrogate,
        statistics=getattr(shared, "statistics", None),
    )
    if problems_at_once != "auto":
        check_whole("problems_at_once", problems_at_once, 1)
    check_one_of("compile", compile, ("auto", "always", "never", "graphs"))
    return carry_out(observation, chosen, Work(problems_at_once, compile, progress))


def asked(attack: str | Mapping | AttackSettings | None, **given) -> AttackSettings:
    """The settings of an attack with some keys changed; those that are None stay. Errors: as for `attack_settings`."""
    if attack is None:
        return attack_settings(**given)
    if not isinstance(attack, Mapping | AttackSettings):
        return attack_settings(check_text("attack", attack), **given)
    said = attack.model_dump(exclude_none=True) if isinstance(attack, AttackSettings) else attack
    return attack_settings(**{**said, **{key: value for key, value in given.items() if value is not None}})
