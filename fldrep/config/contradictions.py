"""What two sections of a config may not say together."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from fldrep import registry
from fldrep.config.data import PHOTO, dataset_names
from fldrep.config.datasets import facts_of
from fldrep.config.grid import GridEntry
from fldrep.config.needs import Public, Sent, Structure, lacks
from fldrep.config.presets import ATTACK_PRESETS
from fldrep.config.threat import threat_of
from fldrep.config.updates import UpdateSettings

if TYPE_CHECKING:
    from fldrep.config.whole import Config


def _check_datasets(config: Config, names: list[str], where: str) -> None:
    """Refuse data sets that are neither registered nor a folder of the config."""
    known = dataset_names(config.data)
    for name in names:
        if name not in known:
            raise ValueError(f"{where}: {name!r} is no data set; known: {', '.join(sorted(known))}")


def _check_counts(config: Config, dataset: str, entry: GridEntry, where: str) -> None:
    """Refuse to attack more images than a data set has, or to deal them to more clients; a photo that is not given."""
    if dataset == PHOTO and config.data.photo is None:
        raise ValueError(f"{where}.datasets: {PHOTO!r} needs data.photo: {{path: ..., label: ...}}")
    images = facts_of(dataset, config.data).train_images
    if images is None:  # known once the arrays are there
        return
    looked_at = entry.attacks or "identifiability" in entry.theory
    if looked_at and entry.targets > images:
        raise ValueError(f"{where}.targets: {entry.targets}: expected at most {images}, the images of {dataset!r}")
    for name in entry.partitions:
        clients = config.partitions[name].clients
        if clients > images:
            most = f"expected at most {images}, the images of {dataset!r}"
            raise ValueError(f"{where}.partitions: {name!r} has {clients} clients: {most}")


def check_entry(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse a grid entry that names what is not there or asks for what contradicts another section."""
    for key in ("models", "partitions", "defenses", "updates", "attacks"):
        known = getattr(config, key)
        for name in getattr(entry, key):
            if name not in known:
                raise ValueError(f"{where}.{key}: {name!r} is not in {key}; known: {', '.join(sorted(known))}")
    _check_datasets(config, entry.datasets, f"{where}.datasets")
    for name in entry.datasets:
        _check_counts(config, name, entry, where)
    for model in entry.models:
        if model not in config.train:
            raise ValueError(
                f"{where}.models: {model!r} has no section in train; known: {', '.join(sorted(config.train))}"
            )
        kept = config.train[model].checkpoints
        missing = [number for number in entry.rounds if number not in kept]
        if (entry.attacks or {"leakage", "identifiability"} & set(entry.theory)) and missing:
            raise ValueError(f"{where}.rounds: {missing} not among train.{model}.checkpoints {kept}")
    if entry.attacks or "identifiability" in entry.theory:
        _check_targets(config, entry, where)
        _check_attacks(config, entry, where)
    _check_theory(config, entry, where)


def _check_targets(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse updates that do not fill targets and blocks."""
    for name in entry.updates:
        images = config.updates[name].images
        for key, value in (
            (f"{where}.targets", entry.targets),
            ("engine.targets_per_job", config.engine.targets_per_job),
        ):
            if value % images:
                raise ValueError(f"{key}: {value} is no multiple of the {images} images of update {name!r}")


def _check_attacks(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse attacks that an update, a defense or a network leaves nothing."""
    for name, *those in product(entry.attacks, entry.updates, entry.defenses, entry.models):
        update, defense, model = those
        known = Public.of(config.defenses[defense]), Sent.of(config.updates[update]), Structure.of(config.models[model])
        for whose, needed, instead in lacks(config.attacks[name].needs, *known):
            it = {"defense": defense, "update": update, "model": model}[whose]
            raise ValueError(f"{where}.attacks: {name!r} needs {needed}, but {whose} {it!r} {instead}")


def check_names(config: Config) -> None:
    """Refuse an attack of one's own that is called like a preset, variants of what is neither, and parts of an attack
    that say to know what there is no word for.
    """
    own = {name for name, attack in config.attacks.items() if attack.preset is None}
    for name in sorted(own & ATTACK_PRESETS.keys()):
        raise ValueError(f"attacks.{name}: an attack without preset may not be called like the preset {name!r}")
    known = {*ATTACK_PRESETS, *own}
    for name, attack in config.attacks.items():
        threat_of(attack)
        for one in attack.variant_of:
            if one not in known:
                listed = ", ".join(sorted(known))
                raise ValueError(f"attacks.{name}.variant_of: {one!r} is no preset and no attack; known: {listed}")


def _check_theory(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse analyses that contradict the rest of a grid entry."""
    if "certificate" in entry.theory:
        if not entry.attacks:
            raise ValueError(f"{where}.theory: certificate judges what attacks find, but attacks is empty")
        for name in entry.defenses:
            if registry.value("defense", config.defenses[name].method).zeros != "head":
                raise ValueError(
                    f"{where}.theory: certificate is of a pruned representation, but {name!r} prunes none; give it an"
                    " entry of its own"
                )
        for name in entry.updates:
            if config.updates[name] != UpdateSettings():
                raise ValueError(
                    f"{where}.theory: certificate is of one image and one gradient, not of update {name!r}; give it an"
                    " entry of its own"
                )
    delta = config.theory.accounting.delta
    for name in entry.partitions if "accounting" in entry.theory and delta is not None else []:
        clients = config.partitions[name].clients
        if delta >= 1 / max(clients, 2):
            raise ValueError(f"theory.accounting.delta: {delta} is not below 1/{clients}, the clients of {name!r}")


def check_convergence(config: Config) -> None:
    """Refuse a convergence section that names what is not there, or more clients than a partition has."""
    convergence = config.theory.convergence
    _check_datasets(config, convergence.datasets if convergence else [], "theory.convergence.datasets")
    for name in convergence.partitions if convergence else []:
        if name not in config.partitions:
            known = ", ".join(sorted(config.partitions))
            raise ValueError(f"theory.convergence.partitions: {name!r} is not in partitions; known: {known}")
        clients = config.partitions[name].clients
        if convergence.clients > clients:
            raise ValueError(f"theory.convergence.clients: {convergence.clients}, but {name!r} has {clients}")
