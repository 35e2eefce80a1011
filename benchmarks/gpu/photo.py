"""(c) The reference's own figure: one photo on the untrained ConvNet-64 under GS, undefended and by nominal rate.

All are one batch of problems of one network, with the weights and the initial point of config/photo.yaml.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch

import fldrep
from benchmarks.gpu.attacks import MARGIN, Defense, Victims, largest_that_fits
from benchmarks.gpu.inner import (
    MEASURED,
    PHOTO,
    PHOTO_MSE,
    PICTURES,
    SPEED,
    DataError,
    device_for,
    device_words,
    generator,
    job_seed,
    normalisation_for,
    write_tensors,
)
from benchmarks.gpu.sheet import Sheet
from benchmarks.gpu.speed import MODES, WARM
from benchmarks.gpu.task import Task
from benchmarks.measuring import network

LABEL = 1  # automobile
RATES = (0.4, 0.5, 0.6, 0.7, 0.8)
DEFENSES = (
    Defense(),
    *(Defense("soteria", "reference-script", rate) for rate in RATES),
    *(Defense("compression", "", rate) for rate in RATES),
)
NAMES = ("photo", "convnet-64", "alone")  # of config/photo.yaml: weights and start are drawn from them
EAGER = "eager"
Costs = Mapping[str, tuple[float, float]]  # of a mode: seconds once, and seconds a step


def measure(task: Task) -> dict:
    """The table `photo` and the reconstructions. Returns the most iterations that were run, and their mode.

    The fewest iterations come first, and tell the rate; then the most that fit the time left, in the mode that `speed`
    found fastest where its compiling pays. So a run that is stopped has a whole figure, if of fewer iterations.
    """
    fewest, *more = sorted(task.scale.photo_iterations)
    runs = Runs(task)
    with device_for(task.device) as device:
        victims = _victims(task, device)
        step_s = victims.step_s("gs", DEFENSES)
        if largest_that_fits([fewest], step_s, task.left()) is None:
            runs.leave([fewest, *more], {EAGER: (0.0, step_s)})
            return {"iterations": 0}
        step_s = runs.run(victims, fewest, EAGER, device)
        costs = costs_of_modes(task, step_s)
        mode, most = choose(costs, more, task.left())
        runs.leave([one for one in more if one > (most or fewest)], costs)
        runs.pass_over([one for one in more if one < (most or 0)], most)
        if most is not None:
            runs.run(victims, most, mode, device)
    return {"iterations": most or fewest, "mode": mode}


class Runs:
    """The rows of each number of iterations, a row a defense."""

    def __init__(self, task: Task):
        self.task, self.choices = task, sorted(task.scale.photo_iterations)
        rows = [
            {"network": task.scale.convnet, "iterations": iterations, "mode": "", **vars(defense)}
            | {"reference_mse": PHOTO_MSE.get(defense.method, {}).get(defense.rate)}
            for iterations in self.choices
            for defense in DEFENSES
        ]
        self.sheet = Sheet(PHOTO, task.folder, rows)

    def _numbers(self, iterations: int) -> range:
        first = self.choices.index(iterations) * len(DEFENSES)
        return range(first, first + len(DEFENSES))

    def run(self, victims: Victims, iterations: int, mode: str, device: str) -> float:
        """Attack; write the rows, and the pictures in the place of earlier ones; returns the seconds of a step."""
        warm = min(WARM[mode], iterations - 1)
        rows, images = victims.attack("gs", DEFENSES, iterations, MODES[mode], warm)
        shared = {"mode": mode, "device": device_words(device), "status": MEASURED}
        self.sheet.fill({number: row | shared for number, row in zip(self._numbers(iterations), rows, strict=True)})
        pixels = normalisation_for(3).to_pixels(torch.cat([victims.images.cpu(), images]))
        told = {"iterations": str(iterations), "order": "the photo itself, then as the rows of the table photo"}
        whole = pixels.nan_to_num().clamp(0, 1).mul(255).round().to(torch.uint8)
        write_tensors(self.task.folder / PICTURES, {"photo": whole}, told)
        return rows[0]["step_s"]

    def leave(self, choices: Iterable[int], costs: Costs) -> None:
        """Say that some numbers of iterations take too long."""
        left = max(0.0, self.task.left())
        for one in choices:
            mode, needed = soonest(costs, one)
            self._say(one, f"not run: {one} iterations, {mode}, need {needed:.0f} s, {left:.0f} s were left")

    def pass_over(self, choices: Iterable[int], most: int) -> None:
        """Say that some numbers of iterations are not needed."""
        for one in choices:
            self._say(one, f"not run: there was time for {most}")

    def _say(self, iterations: int, status: str) -> None:
        self.sheet.fill({number: {"status": status} for number in self._numbers(iterations)})


def costs_of_modes(task: Task, step_s: float) -> Costs:
    """What each mode costs that `speed` ran on this network, in proportion to this batch's eager step.

    Only eager where `speed` came to no other, or left no table.
    """
    found = {EAGER: (0.0, step_s)}
    try:
        rows = SPEED.read(task.folder / f"{SPEED.name}.parquet")
    except DataError:
        return found
    several = (rows["targets"] > 1) & (rows["status"] == MEASURED)  # one target is bound by other things
    rows = rows[several & (rows["attack"] == "gs") & (rows["network"] == task.scale.convnet)]
    eager = rows[rows["mode"] == EAGER].set_index("targets")["target_steps_per_s"]
    for row in rows[rows["mode"].isin(["compiled", "graphs"])].itertuples():
        cost = row.warm_up_s, step_s * eager.get(row.targets, float("nan")) / row.target_steps_per_s
        if cost[1] < found.get(row.mode, (0.0, float("inf")))[1]:
            found[row.mode] = cost
    return found


def choose(costs: Costs, choices: Sequence[int], left_s: float) -> tuple[str, int | None]:
    """The mode that allows the most iterations, the sooner done where several do; and how many they are.

    >>> choose({"eager": (0, 0.01), "graphs": (60, 0.004)}, [24_000, 6_000], 220.0)
    ('graphs', 24000)
    >>> choose({"eager": (0, 0.01), "graphs": (60, 0.004)}, [6_000], 220.0)
    ('eager', 6000)
    >>> choose({"eager": (0, 0.01)}, [6_000], 20.0)
    ('eager', None)
    """
    for count in sorted(choices, reverse=True):
        mode, needed = soonest(costs, count)
        if needed <= left_s:
            return mode, count
    return EAGER, None


def soonest(costs: Costs, count: int) -> tuple[str, float]:
    """The mode that is first done with so many iterations, and the seconds to leave for it."""
    needed = {mode: MARGIN * (once + count * step_s) for mode, (once, step_s) in costs.items()}
    mode = min(needed, key=needed.get)
    return mode, needed[mode]


def _victims(task: Task, device: str) -> Victims:
    """The photo as a client's only image."""
    return Victims(
        network(task.scale.convnet, device=device, seed=job_seed("weights", *NAMES[:2], 0)),
        normalisation_for(3).to_input(fldrep.read_photo(task.photo).unsqueeze(0)).to(device),
        torch.tensor([LABEL], device=device),
        lambda number: generator("initial", *NAMES, number, 0, 0),
    )
