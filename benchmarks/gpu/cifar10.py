"""(d) A slice of CIFAR-10 on a ConvNet, untrained and after some rounds of FedAvg, with and without defenses."""

from dataclasses import replace
from pathlib import Path

from benchmarks.gpu.attacks import Defense, Victims, largest_that_fits
from benchmarks.gpu.inner import (
    CIFAR10,
    MEASURED,
    ImageSet,
    as_pixels,
    device_for,
    device_words,
    generator,
    normalisation_for,
    trained,
)
from benchmarks.gpu.sheet import Sheet
from benchmarks.gpu.task import Task
from benchmarks.measuring import network

SOTERIA = (Defense("soteria", "ratio", 0.6), Defense("soteria", "ratio", 0.8))
# Attacks and the defenses they meet: GS as published, and one that knows the public mask.
MET = {"gs": (Defense(), *SOTERIA, Defense("compression", "", 0.8)), "gs-masked": SOTERIA}
MOMENTS = ("untrained", "trained")
LR = 0.05
TRAINING_SHARE = 0.4  # of the time, at most


def measure(task: Task) -> dict:
    """The table `cifar10`. Returns rounds and seconds of the training."""
    if task.images is None:
        Sheet(CIFAR10, task.folder, [{"network": task.scale.convnet}]).fill({0: {"status": "not run: no images"}})
        return {}
    images, cells = ImageSet.read(task.images), [(attack, moment) for attack in MET for moment in MOMENTS]
    sheet = Sheet(CIFAR10, task.folder, [row for cell in cells for row in _planned(task, images, *cell)])
    with device_for(task.device) as device:
        run = _trained(task, images, device)
        rounds = {"untrained": 0, "trained": max(run.checkpoints)}
        victims = {moment: _victims(task, images, run.checkpoints[round], device) for moment, round in rounds.items()}
        step_s = sum(victims[moment].step_s(attack, MET[attack]) for attack, moment in cells)
        iterations = largest_that_fits(task.scale.cifar10_iterations, step_s, task.left())
        if iterations is None:
            fewest, left = min(task.scale.cifar10_iterations), max(0.0, task.left())
            reason = f"not run: {fewest} iterations need {fewest * step_s:.0f} s, {left:.0f} s were left"
            sheet.fill({number: {"status": reason} for number in range(len(sheet.rows))})
        first = 0
        for attack, moment in cells if iterations else []:
            found, _ = victims[moment].attack(attack, MET[attack], iterations)
            row = run.history[rounds[moment]]
            shared = {"round": row["round"], "test_accuracy": row["test_accuracy"], "iterations": iterations}
            shared |= {"device": device_words(device), "status": MEASURED}
            sheet.fill({first + number: one | shared for number, one in enumerate(found)})
            first += len(found)
    return {"rounds": rounds["trained"], "train_s": round(sum(row["train_s"] for row in run.history), 2)}


def _planned(task: Task, images: ImageSet, attack: str, moment: str) -> list[dict]:
    """Rows of an attack at a moment; which round the trained network comes to is not known yet."""
    known = {"network": task.scale.convnet, "attack": attack, "round": 0 if moment == "untrained" else None}
    return [
        {**known, **vars(defense), "target": target, "label": int(images.train_labels[target])}
        for defense in MET[attack]
        for target in range(task.scale.targets)
    ]


def _trained(task: Task, images: ImageSet, device: str):
    """As many rounds as fit into their share of the time, found out by one."""
    model, scale, before = network(task.scale.convnet, device=device), task.scale, task.left()
    run = trained(model, images, scale.clients, 1, LR)
    round_s = before - task.left()
    rounds = min(scale.rounds, int((TRAINING_SHARE * before - round_s) / round_s))
    return run if rounds <= 1 else trained(model, images, scale.clients, rounds, LR)


def _victims(task: Task, images: ImageSet, state: dict, device: str) -> Victims:
    """The first training images, at a checkpoint."""
    model = network(task.scale.convnet, device=device)
    model.load_state_dict(state)
    pixels = as_pixels(images.train_images[: task.scale.targets])
    return Victims(
        model,
        normalisation_for(3, "cifar10").to_input(pixels).to(device),
        images.train_labels[: task.scale.targets].to(device),
        lambda number: generator("initial", "cifar10", "evidence", number),
    )


def write_slice(source: Path, out: Path, train: int, tests: int) -> None:
    """The first training and test images of a data set as a file of their own; the class means are of the whole."""
    whole = ImageSet.read(source)
    part = replace(whole, train_images=whole.train_images[:train], train_labels=whole.train_labels[:train])
    part.with_tests(tests).write(out, {"slice": f"the first {train} training and {tests} test images"})
