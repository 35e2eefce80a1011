"""(b) Steps a second of GS and DLG, many targets at once: eager, compiled and as CUDA graphs, against a loop."""

from functools import partial
from itertools import product

import torch

from benchmarks import twins
from benchmarks.gpu.clock import Stopwatch, now
from benchmarks.gpu.inner import SPEED, device_for, device_words, reconstruct
from benchmarks.gpu.scale import Case, Scale
from benchmarks.gpu.sheet import Sheet, outcome
from benchmarks.gpu.task import Task
from benchmarks.measuring import counting_flops, network, targets

MODES = {"eager": "never", "compiled": "always", "graphs": "graphs"}
WARM = {"eager": 1, "compiled": 2, "graphs": 4}  # steps before it runs at its pace: a graph is recorded at the second
MOST_STEPS = {"gs": 200, "dlg": 5}  # L-BFGS ends by itself where nothing moves any more
MOST_SEEDS = 8  # of initial points: from some DLG diverges at once


def rows_of(scale: Scale) -> list[tuple[str, Case]]:
    """(mode, case) of every row, in the order they are measured: the loops, the cheap cases, then what compiles."""
    attacks, networks = ("gs", "dlg"), ("lenet", scale.convnet)
    loops = [("loop", (*pair, scale.loop_targets)) for pair in product(attacks, networks)]
    cases = [(attack, name, count) for count in scale.counts for attack, name in product(attacks, networks)]
    others = [case for case in cases if case not in scale.compiled] if scale.compile_all else []
    tried = [(mode, case) for case in (*scale.compiled, *others) for mode in ("graphs", "compiled")]
    return [*loops, *(("eager", case) for case in cases), *tried]


def measure(task: Task) -> dict:
    """The table `speed`. Returns the device's peak."""
    rows = rows_of(task.scale)
    planned = [dict(zip(("attack", "network", "targets"), case, strict=True), mode=mode) for mode, case in rows]
    sheet = Sheet(SPEED, task.folder, planned)
    with device_for(task.device) as name:
        device = torch.device(name)
        peak = peak_tflop_s(device, task.scale.matrix)
        speed = Speed(device, task, peak)
        for number, (mode, case) in enumerate(rows):
            if task.left() <= 0:
                break
            sheet.fill({number: outcome(partial(speed.row, mode, case), device_words(name))})
    return {"peak_tflop_s": peak}


def peak_tflop_s(device: torch.device, side: int) -> float:
    """What a float32 product of square matrices reaches, best of 5."""
    a, b = (torch.rand(side, side, device=device) for _ in range(2))
    a @ b
    seconds = []
    for _ in range(5):
        began = now(device)
        a @ b
        seconds.append(now(device) - began)
    return 2 * side**3 / min(seconds) / 1e12


class Speed:
    """Measures rows; remembers the loop's rate and the arithmetic of each attack and network, which others refer to."""

    def __init__(self, device: torch.device, task: Task, peak: float):
        self.device, self.task, self.peak = device, task, peak
        self.loops: dict[tuple[str, str], float] = {}
        self.work: dict[tuple[str, str, bool], float] = {}
        self.eager_s: dict[Case, float] = {}
        self.seeds: dict[Case, int] = {}

    def row(self, mode: str, case: Case) -> dict:
        """The columns of a row."""
        attack, name, count = case
        if mode == "loop":
            found = self._loop(attack, name, count)
            self.loops[attack, name] = found["target_steps_per_s"]
        else:
            found = self._together(mode, case)
        gflop = self._gflop(attack, name, mode == "loop")
        tflop_s = gflop * found["target_steps_per_s"] / 1e3
        loop = self.loops.get((attack, name))
        return {
            **found,
            "against_loop": None if loop is None else found["target_steps_per_s"] / loop,
            "gflop": gflop,
            "tflop_s": tflop_s,
            "peak_tflop_s": self.peak,
            "peak_share": tflop_s / self.peak,
        }

    def _loop(self, attack: str, name: str, count: int) -> dict:
        """Steps of one target after the other, as the reference does them."""
        began, model = now(self.device), network(name, device=str(self.device))
        loop_over(model, attack, targets(model, 1), 1, self.device)
        warm_up_s = now(self.device) - began
        steps = 1 if attack == "dlg" else 5
        step_s = loop_over(model, attack, targets(model, count), steps, self.device)
        return {
            "steps": steps,
            "problems": 1,
            "steps_per_s": 1 / step_s,
            "target_steps_per_s": count / step_s,
            "warm_up_s": warm_up_s,
        }

    def _together(self, mode: str, case: Case) -> dict:
        """Steps of all targets at once: of a first look as many as fill the time, where one does not."""
        attack, _, count = case
        aim_s, most = self.task.scale.timed_s, MOST_STEPS[attack]
        if mode == "eager":
            watch = self._watched(mode, case, 1)
            self.eager_s[case] = watch.step_s
        if mode != "eager" or watch.step_s < aim_s:
            steps = min(most, max(1, round(aim_s / self.eager_s.get(case, aim_s))))
            watch = self._watched(mode, case, steps)
        return {
            "steps": watch.steps,
            "problems": watch.problems,
            "steps_per_s": watch.problems / watch.step_s / count,
            "target_steps_per_s": watch.problems / watch.step_s,
            "warm_up_s": watch.warm_up_s,
        }

    def _watched(self, mode: str, case: Case, steps: int) -> Stopwatch:
        """An attack under the clock, from the first seed from which a target still moves at the end."""
        attack, name, count = case
        model = network(name, device=str(self.device))
        update, labels = targets(model, count)
        steps += WARM[mode]
        for seed in range(self.seeds.get(case, 0), MOST_SEEDS):
            torch.compiler.reset()  # torch stops compiling a function after a few variants
            watch = Stopwatch(self.device, WARM[mode], steps - WARM[mode])
            found = reconstruct(model, update, labels, attack, steps, seed=seed, progress=watch, compile=MODES[mode])
            if found.iterations.max() == steps:
                self.seeds[case] = seed
                return watch
        raise RuntimeError(f"every target ended within {steps} steps, from {MOST_SEEDS} initial points")

    def _gflop(self, attack: str, name: str, loop: bool) -> float:
        """Of the first step of one target; what is done without a step does not count."""
        if (attack, name, loop) not in self.work:
            model = network(name, device=str(self.device))
            self._flops(model, attack, 0, loop)  # what is asked of a network once is no part of a step
            counted = [self._flops(model, attack, steps, loop) for steps in (0, 1)]
            self.work[attack, name, loop] = (counted[1] - counted[0]) / 1e9
        return self.work[attack, name, loop]

    def _flops(self, model, attack: str, steps: int, loop: bool) -> int:
        with counting_flops() as counter:
            update, labels = targets(model, 1)
            if not loop:
                reconstruct(model, update, labels, attack, steps)
            elif steps:
                loop_over(model, attack, (update, labels), steps, self.device)
        return counter.get_total_flops()


def loop_over(model, attack: str, given: tuple, steps: int, device: torch.device) -> float:
    """Seconds of a step of all targets, one after the other. Args: given: of `measuring.targets`."""
    (update, labels), generator, spent = given, torch.Generator().manual_seed(0), 0.0
    clock = partial(now, device)
    for number in range(len(labels)):
        sent = [value[number] for value in update.values()]
        start, logits = (torch.randn(shape, generator=generator).to(device) for shape in ((3, 32, 32), (10,)))
        if attack == "gs":
            spent += twins.gs_steps(model, sent, labels[number], start, steps, clock)
        else:
            spent += twins.dlg_steps(model, sent, start, logits, steps, now=clock)
    return spent
