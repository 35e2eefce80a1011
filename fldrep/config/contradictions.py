"""What two sections of a config may not say together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fldrep import registry
from fldrep.config.attacks import THROUGH_THE_MASK
from fldrep.config.data import PHOTO
from fldrep.config.defenses import DefenseSettings
from fldrep.config.grid import GridEntry
from fldrep.config.updates import UpdateSettings

if TYPE_CHECKING:
    from fldrep.config.whole import Config


def _check_photo(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse to attack a photo that is not given, or more images or clients than the one it is."""
    if config.data.photo is None:
        raise ValueError(f"{where}.datasets: {PHOTO!r} needs data.photo: {{path: ..., label: ...}}")
    if entry.attacks and entry.targets != 1:
        raise ValueError(f"{where}.targets: {entry.targets}, but data set {PHOTO!r} is one image: expected 1")
    for name in entry.partitions:
        clients = config.partitions[name].clients
        if clients != 1:
            raise ValueError(f"{where}.partitions: {name!r} deals the one image of {PHOTO!r} to {clients}: expected 1")


def check_entry(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse a grid entry that names what is not there or asks for what contradicts another section."""
    for key in ("models", "partitions", "defenses", "updates", "attacks"):
        known = getattr(config, key)
        for name in getattr(entry, key):
            if name not in known:
                raise ValueError(f"{where}.{key}: {name!r} is not in {key}; known: {', '.join(sorted(known))}")
    if PHOTO in entry.datasets:
        _check_photo(config, entry, where)
    for model in entry.models:
        if model not in config.train:
            raise ValueError(
                f"{where}.models: {model!r} has no section in train; known: {', '.join(sorted(config.train))}"
            )
        kept = config.train[model].checkpoints
        missing = [number for number in entry.rounds if number not in kept]
        if (entry.attacks or "leakage" in entry.theory) and missing:
            raise ValueError(f"{where}.rounds: {missing} not among train.{model}.checkpoints {kept}")
    if entry.attacks:
        _check_attacks(config, entry, where)
    _check_theory(config, entry, where)


def _check_attacks(config: Config, entry: GridEntry, where: str) -> None:
    """Refuse updates that do not fill targets and blocks, and attacks that an update or a defense leaves nothing."""
    for name in entry.updates:
        images = config.updates[name].images
        for key, value in (
            (f"{where}.targets", entry.targets),
            ("engine.targets_per_job", config.engine.targets_per_job),
        ):
            if value % images:
                raise ValueError(f"{key}: {value} is no multiple of the {images} images of update {name!r}")
    for name in entry.attacks:
        preset = config.attacks[name].preset
        for update in entry.updates:
            fault = fault_of_update(preset, config.updates[update])
            if fault:
                raise ValueError(f"{where}.attacks: {name!r} {fault} of update {update!r}")
        for defense in entry.defenses:
            fault = fault_of_defense(preset, config.defenses[defense])
            if fault:
                raise ValueError(f"{where}.attacks: {name!r} {fault[0]}, but {defense!r} {fault[1]}")


def fault_of_update(preset: str, update: UpdateSettings) -> str:
    """Why an attack cannot be run on an update, empty where it can."""
    if preset == "r-matching" and (update.images > 1 or update.local_epochs is not None):
        steps = "" if update.local_epochs is None else f" and {update.local_steps} local steps"
        return f"reads the representation of one image off one gradient, not of the {update.images} images{steps}"
    if preset in THROUGH_THE_MASK and update.local_epochs is not None:
        return f"knows one mask an update, not one for each of the {update.local_steps} local steps"
    return ""


def fault_of_defense(preset: str, defense: DefenseSettings) -> tuple[str, str] | None:
    """What an attack that adapts to a defense needs, and what this defense lacks of it; None where it lacks nothing."""
    public = registry.value("defense", defense.method)(defense)
    layers = public.zeros
    if preset == "gs-drop" and layers != "head":
        return "drops the defended layer", "defends none"
    if preset in ("gs-masked", "dlg-masked") and layers == "none":
        return "needs a public mask", "leaves none"
    if preset in THROUGH_THE_MASK and getattr(defense, "prune", "") != "representation":
        return "prunes the representation as the client did", "does not (prune: representation)"
    if preset == "gs-averaged" and not public.std:
        return "averages noise away", "adds none"
    if preset == "dlg-scaled" and public.clip is None:
        return "estimates the scale of clipping", "does not clip"
    return None


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
    """Refuse a convergence section that names a partition that is not there, or more clients than it has."""
    convergence = config.theory.convergence
    for name in convergence.partitions if convergence else []:
        if name not in config.partitions:
            known = ", ".join(sorted(config.partitions))
            raise ValueError(f"theory.convergence.partitions: {name!r} is not in partitions; known: {known}")
        clients = config.partitions[name].clients
        if convergence.clients > clients:
            raise ValueError(f"theory.convergence.clients: {convergence.clients}, but {name!r} has {clients}")
