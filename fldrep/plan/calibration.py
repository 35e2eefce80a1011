"""Unit costs of this machine: measured once, with the package's public Python face, and kept in the user's cache."""

import contextlib
import hashlib
import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from fldrep import registry
from fldrep.atomic import atomic_write
from fldrep.config.attacks import ATTACKS, AttackSettings, attack_settings, modules_of
from fldrep.config.checking import stable_json
from fldrep.config.models import NETWORKS
from fldrep.config.parts import words
from fldrep.config.presets import ATTACK_PRESETS
from fldrep.config.updates import UpdateSettings
from fldrep.errors import AttackRefused
from fldrep.machine.origin import machine, versions
from fldrep.plan.digest import code_digest

PROBLEMS, STEPS = 2, 2  # updates attacked in the calibration, and optimiser steps that are timed
BATCH = 32  # images of a timed training step


@dataclass(frozen=True, order=True)
class Unit:
    """A cost to be measured. Sections are JSON, so that what a unit depends on is its identity.

    Kinds: `start` (seconds until a job computes), `attack` (seconds of one optimiser step of one problem), `solve`
    (seconds of a whole attack on one problem, or until it is refused), `local` and `test` (seconds an image of training
    and of evaluation), `parameters` (weights of the model), `push` (seconds of the derivative of one update along one
    direction), `product` (seconds of 10^9 multiplications in float64).
    """

    kind: str
    shape: tuple[int, int, int] = (3, 32, 32)
    classes: int = 10
    model: str = "{}"
    attack: str = "{}"
    update: str = "{}"
    device: str = "cpu"
    threads: int = 1


def calibrated(units: Iterable[Unit], within_s: float = math.inf, measure: Callable | None = None) -> dict[Unit, float]:
    """The costs of units: those known, and those measured anew until `within_s` seconds have passed (0: none).

    What was measured is kept by machine, versions and code, so that the next call finds it.
    """
    path = cache_file()
    known = json.loads(path.read_text()) if path.is_file() else {}
    began, costs = time.monotonic(), {}
    for unit in sorted(units):
        name = json.dumps(asdict(unit), sort_keys=True)
        if name not in known:
            if time.monotonic() - began >= within_s:
                continue
            known[name] = (measure or measured)(unit)
            with atomic_write(path) as beside:
                beside.write_text(json.dumps(known, indent=1) + "\n")
        costs[unit] = known[name]
    return costs


def cache_file() -> Path:
    """Where the costs of this machine, these versions and this code are kept."""
    attacks = {module for preset in ATTACK_PRESETS for module in modules_of(attack_settings(preset))}
    parts = {entry.module for kind in ("defense", "model") for entry in registry.built_in(kind).values()}
    modules = {"fldrep.plan.calibration", "fldrep.train.client", "fldrep.derivatives.update_jacobian", *attacks, *parts}
    identity = json.dumps([machine(), versions(), code_digest(*sorted(modules))])
    folder = Path(os.environ.get("FLDREP_CACHE") or platformdirs.user_cache_dir("fldrep")).expanduser()
    return folder / "calibration" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def measured(unit: Unit) -> float:
    """The cost of a unit, measured now on this machine."""
    if unit.kind == "start":
        command = [sys.executable, "-c", "import torch, fldrep.attack.engine"]
        return _seconds(unit, lambda: subprocess.run(command, check=True))
    import torch

    torch.set_num_threads(unit.threads)
    return MEASURES[unit.kind](unit)


def _attack(unit: Unit) -> float:
    attack = _attacker(unit, PROBLEMS)
    attack(1)  # the first call pays for what later ones find ready
    once = _seconds(unit, lambda: attack(1))
    return max(_seconds(unit, lambda: attack(1 + STEPS)) - once, once / 100) / STEPS / PROBLEMS


def _solve(unit: Unit) -> float:
    attack, steps = _attacker(unit, 1), json.loads(unit.attack)["iterations"]
    return _seconds(unit, lambda: attack(steps))


def _attacker(unit: Unit, problems: int) -> Callable[[int], None]:
    """An attack on so many random updates, to be called with its steps; nothing happens where it is refused."""
    import torch

    import fldrep
    from fldrep.models.updates import HEAD_WEIGHT, LocalSteps, Update

    settings, sent = ATTACKS.validate(json.loads(unit.attack)), UpdateSettings.model_validate_json(unit.update)
    images, labels = _random_images(unit, problems * sent.images)
    images, labels = images.unflatten(0, (problems, sent.images)), labels.view(problems, sent.images)
    model, local = _model(unit), LocalSteps.of(sent)
    update = Update(fldrep.client_update(model, images, labels, local), "head")
    last = next(name for name, here in model.own_names().items() if here == HEAD_WEIGHT)
    update[last] = update[last] * (torch.arange(update[last].shape[-1]) % 2).to(images.device)
    known = None if settings.labels == "optimised" else labels

    def attack(steps: int) -> None:
        with contextlib.suppress(AttackRefused):
            fldrep.reconstruct(model, update, known, settings, steps, batch=sent.images, local=local)

    return attack


def _local(unit: Unit) -> float:
    from torch.nn.functional import cross_entropy

    model, (images, labels) = _model(unit), _random_images(unit, BATCH)

    def step() -> None:
        cross_entropy(model(images), labels).backward()

    step()
    return _seconds(unit, step) / BATCH


def _test(unit: Unit) -> float:
    import torch

    model, (images, _) = _model(unit), _random_images(unit, BATCH)
    with torch.no_grad():
        model(images)
        return _seconds(unit, lambda: model(images)) / BATCH


def _parameters(unit: Unit) -> float:
    return sum(value.numel() for value in _model(unit).parameters())


def _push(unit: Unit) -> float:
    import torch

    from fldrep.derivatives.layerwise import gradient_map
    from fldrep.derivatives.update_jacobian import PUSHED_AT_ONCE, SentGradient
    from fldrep.models.updates import LocalSteps

    sent, model = UpdateSettings.model_validate_json(unit.update), _model(unit).double()
    images, labels = _random_images(unit, sent.images)
    shapes = {name: value.shape for name, value in model.named_parameters()}
    soft = torch.nn.functional.one_hot(labels, unit.classes).double()
    gradients = gradient_map(model, unit.shape, LocalSteps.of(sent))
    one = SentGradient.of(gradients, images.double(), soft, shapes)

    def push(times: int) -> None:
        for _ in one.pushed(images.new_ones(times * PUSHED_AT_ONCE, images.numel()).double()):
            pass

    push(1)
    once = _seconds(unit, lambda: push(1))
    return max(_seconds(unit, lambda: push(3)) - once, once / 10) / 2 / PUSHED_AT_ONCE


def _product(unit: Unit) -> float:
    import torch

    matrix = torch.ones(1000, 1000, dtype=torch.float64, device=unit.device)
    matrix @ matrix
    return _seconds(unit, lambda: (matrix @ matrix).sum().item())


MEASURES = {
    "attack": _attack,
    "solve": _solve,
    "local": _local,
    "test": _test,
    "parameters": _parameters,
    "push": _push,
    "product": _product,
}


def _model(unit: Unit):
    from fldrep.models.building import network_of

    settings = NETWORKS.validate(json.loads(unit.model))
    return network_of(settings, unit.shape, unit.classes).eval().to(unit.device)


def _random_images(unit: Unit, count: int):
    import torch

    images = torch.randn(count, *unit.shape, generator=torch.Generator().manual_seed(0))
    return images.to(unit.device), torch.arange(count, device=unit.device) % unit.classes


def _seconds(unit: Unit, work: Callable[[], object]) -> float:
    """Seconds of a piece of work: on a CPU those it computes in, so that a busy machine does not look slow."""
    clock = time.perf_counter if unit.device == "cuda" else _cpu_seconds
    began = clock()
    work()
    return (clock() - began) / (1 if unit.device == "cuda" else unit.threads)


def _cpu_seconds() -> float:
    """CPU seconds of this process, all threads, and of its finished children."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def cost_of(settings: AttackSettings) -> tuple[str, str, int]:
    """The kind of unit of an attack, its section as a unit knows it, and how many units a problem takes.

    Of an attack that moves an image a step is measured; restarts and steps multiply. One that says `whole=True` is
    measured from end to end.
    """
    parts = settings.model_copy(update={"preset": None, "variant_of": [], "restarts": 1})  # a name costs nothing
    if words("optimiser", settings.optimiser).get("whole"):
        return "solve", stable_json(parts), 1
    return "attack", stable_json(parts.model_copy(update={"iterations": 1})), settings.iterations
