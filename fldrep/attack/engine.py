"""The loop every attack shares: targets x restarts as independent problems, worked in chunks of a fixed size.

A preset's module gives the solver; nothing here knows which. A problem has its own loss, optimiser state and end, so
its result does not depend on the problems beside it. A chunk that does not fit into memory is halved and worked again.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from fldrep.attack.comparisons import Aim, Comparison
from fldrep.attack.compilation import Compile, hastening
from fldrep.attack.labels import labels_for
from fldrep.attack.layerwise import layerwise
from fldrep.attack.pullback import GradientMap, by_autodiff
from fldrep.attack.resume import Keeper, State
from fldrep.errors import ConfigError
from fldrep.gradients import LocalSteps, require_fixed_statistics
from fldrep.memory import fitting_chunk, halved, ran_out
from fldrep.models import Model
from fldrep.normalisation import Normalisation
from fldrep.settings import AttackSettings

Draw = Callable[[int, int], torch.Generator]
Tick = Callable[[int], None]
Numbers = list[tuple[int, int]]  # target and restart of each problem
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problems:
    """P problems for a solver: where to start, what is fixed, and how far a trial is from what was seen.

    `match` takes images (P, B, C, H, W) and soft labels (P, B, classes), and returns the distance of their update
    from the one seen, (P,), and its slopes by both. `images` and `logits` (P, B, classes) are initial points of the
    images and of the soft labels' logits; `labels` is (P, B), or None where the soft label is to be found. `hasten`
    may compile a function of tensors that is called at each step. All on the model's device and in its dtype.
    """

    match: Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    images: Tensor
    logits: Tensor
    labels: Tensor | None
    normalisation: Normalisation
    hasten: Callable[[Callable], Callable]

    @property
    def soft_labels(self) -> Tensor:
        """The fixed labels as probabilities, (P, B, classes)."""
        return torch.nn.functional.one_hot(self.labels, self.logits.shape[-1]).to(self.images.dtype)


@dataclass(frozen=True)
class Course:
    """What a solver tells of its steps: they drive the progress bar, and are kept, so that a killed job can go on."""

    tick: Tick
    keeper: Keeper

    def begin(self, state: State) -> tuple[int, State]:
        """The steps already done and the tensors after them; 0 and `state` unless a killed job had come further."""
        done, state = self.keeper.begin(state)
        self.tick(done)
        return done, state

    def step(self, state: State) -> None:
        """One more step is done; `state`, all that the next one depends on, has the names and shapes of the first."""
        self.tick(1)
        self.keeper.step(1, state)


@dataclass(frozen=True)
class Outcome:
    """What a solver found for P problems: images (P, B, C, H, W), labels (P, B), and one number a problem.

    A problem that became not finite holds its last finite image and distance, and `finite` is False.
    """

    images: Tensor
    labels: Tensor
    initial_distance: Tensor
    final_distance: Tensor
    finite: Tensor
    iterations: Tensor


@dataclass(frozen=True)
class Reconstruction:
    """What an attack found for N targets with R restarts, on the CPU, in the network's input space and dtype.

    `images` (N, C, H, W) and `distance` (N,) are the chosen restart's; `chosen` (N,) says which: the smallest gradient
    distance among those that did not diverge (among all, where all did). For updates of B images an axis B comes
    after N (and R). `initial_distance`, `final_distance`, `diverged`, `iterations` and `chunk`, how many problems were
    worked at once, are (N, R); `labels_found` is (N, R), or (N, R, B); `all_images` is (N, R, C, H, W). Diverged: not
    finite, or ended above the initial distance.
    `members`, for an ensemble, names the attack that each restart is from.
    """

    images: Tensor
    distance: Tensor
    chosen: Tensor
    all_images: Tensor
    labels_found: Tensor
    initial_distance: Tensor
    final_distance: Tensor
    diverged: Tensor
    iterations: Tensor
    chunk: Tensor
    members: list[list[str]] | None = None


Solve = Callable[[Problems, AttackSettings, Course], Outcome]
Attack = Callable[..., Reconstruction]


def solve_all(
    model: Model,
    seen: Mapping[str, Tensor],
    labels: Tensor | None,
    settings: AttackSettings,
    comparison: Comparison,
    solve: Solve,
    *,
    shape: tuple[int, int, int],
    normalisation: Normalisation,
    draw: Draw,
    chunk: int | Literal["auto"] = 64,
    batch: int | None = None,
    local: LocalSteps | None = None,
    progress: Callable | None = None,
    compile: Compile = "auto",
    keeper: Keeper | None = None,
) -> Reconstruction:
    """Run one attack on N updates; computed on the model's device.

    Args: seen: {parameter: (N, *shape)}; labels (N,), (N, B) or None; shape: (C, H, W) of an image; draw(target,
    restart): the CPU generator of an initial point; chunk: problems worked at once, part of what makes a float32
    result, or `auto`: as many as fit into the memory free now; batch: images an update where labels do not tell; local:
    what a client did, if more than one step; progress: like `tqdm.tqdm`, called with total and desc; compile: `auto`,
    `always` or `never`, see `compilation`; keeper: holds how far a killed job had come, and keeps how far this one
    does.
    Errors: `ConfigError` naming the tensor that does not fit the model, or the labels.
    """
    require_fixed_statistics(model)
    count = _checked_count(model, seen)
    batch = labels.shape[1] if labels is not None and labels.ndim == 2 else batch
    found = labels_for(settings.labels, model, seen, labels, batch or 1, local)
    if found is not None and found.shape != (count, batch or 1):
        raise ConfigError(f"labels: shape {tuple(found.shape)}, expected ({count},) or ({count}, images an update)")
    numbers = [(target, restart) for target in range(count) for restart in range(settings.restarts)]
    gradients, device = gradient_map(model, shape, local), model.head.weight.device
    match = matching(gradients, comparison)

    def problems_of(some: Numbers, match: Callable, hasten: Callable) -> Problems:
        targets = [target for target, _ in some]
        aim = comparison.prepare(gradients.arrange(_rows(model, seen, targets)))
        images, logits = _starts(model, some, (batch or 1, *shape), draw)
        labels = None if found is None else found[targets].to(images.device)
        return Problems(partial(match, aim), images, logits, labels, normalisation, hasten)

    if chunk == "auto":
        once = settings.model_copy(update={"iterations": min(1, settings.iterations)})
        unkept = Course(lambda steps: None, Keeper())

        def work(some: int) -> Outcome:
            return solve(problems_of((numbers * some)[:some], match, as_it_is), once, unkept)

        chunk = fitting_chunk(work, len(numbers), device)
    hasten = hastening(
        compile, settings.iterations * (settings.inner_iterations or 1) * -(-len(numbers) // chunk), device.type
    )
    match = match if hasten is None else hasten(match)

    def worked(some: Numbers, size: int, course: Course) -> Outcome:
        # a smaller last chunk would be compiled once more: fill it, and drop what that gives
        filled = some if hasten is None else some + some[-1:] * (size - len(some))
        whole = solve(problems_of(filled, match, hasten or as_it_is), settings, course)
        return Outcome(**{name: value[: len(some)].cpu() for name, value in vars(whole).items()})

    with ticking(progress, settings, len(numbers)) as tick:
        outcomes, sizes = in_chunks(worked, numbers, min(chunk, len(numbers)), tick, keeper or Keeper())
    return _assembled(outcomes, sizes, settings.restarts, single=batch is None)


def in_chunks(
    worked: Callable[[Numbers, int, Course], Outcome],
    numbers: Numbers,
    chunk: int,
    tick: Callable[[int, int], None],
    keeper: Keeper,
) -> tuple[list[Outcome], list[int]]:
    """Work all problems, `chunk` at once; returns the outcomes, and for each problem how many were worked at once.

    Where memory runs out, the chunk is halved and worked again; what was done before, by this job or by a killed one,
    is kept. Errors: `ConfigError` where a single problem does not fit.
    """
    outcomes, sizes = [], []
    while len(sizes) < len(numbers):
        if (kept := keeper.finished()) is not None:
            sizes += kept["chunk"].tolist()
            outcomes.append(Outcome(**{field.name: kept[field.name] for field in fields(Outcome)}))
            tick(int(outcomes[-1].iterations.max()), len(outcomes[-1].iterations))
            continue
        some, steps = numbers[len(sizes) : len(sizes) + chunk], []

        def counted(done: int, some: Numbers = some, steps: list[int] = steps) -> None:
            steps.append(done)
            tick(done, len(some))

        try:
            outcomes.append(worked(some, chunk, Course(counted, keeper)))
            sizes += [chunk] * len(some)
            keeper.finish(vars(outcomes[-1]) | {"chunk": torch.full((len(some),), chunk)})
            continue
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            if chunk == 1:
                raise ConfigError(f"engine.chunk: not even one problem fits into memory: {_line(error)}") from None
        tick(-sum(steps), len(some))  # out of the handler, whose error holds on to the chunk's tensors
        logger.warning("a chunk of %d problems does not fit into memory; going on with %d", chunk, halved(chunk))
        chunk = halved(chunk)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    return outcomes, sizes


def as_it_is(function: Callable) -> Callable:
    """What hastens nothing."""
    return function


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def distances_at(
    model: Model,
    seen: Mapping[str, Tensor],
    images: Tensor,
    labels: Tensor,
    comparison: Comparison,
    *,
    shape: tuple[int, int, int],
    local: LocalSteps | None = None,
    chunk: int = 64,
) -> Tensor:
    """The distance of given reconstructions. Shapes: images (N, R, [B,] C, H, W), labels (N, R[, B]) -> (N, R)."""
    gradients = gradient_map(model, shape, local)
    match, like = matching(gradients, comparison), model.head.weight
    flat = images.reshape(images.shape[0] * images.shape[1], -1, *shape)
    soft = torch.nn.functional.one_hot(labels.reshape(len(flat), -1), model.head.out_features).to(like)
    found = []
    for start in range(0, len(flat), chunk):
        part = slice(start, start + chunk)
        targets = [number // images.shape[1] for number in range(len(flat))[part]]
        aim = comparison.prepare(gradients.arrange(_rows(model, seen, targets)))
        found.append(match(aim, flat[part].to(like), soft[part])[0].cpu())
    return torch.cat(found).view(images.shape[:2])


def gradient_map(model: Model, shape: tuple[int, int, int], local: LocalSteps | None = None) -> GradientMap:
    """The fastest map there is for a model and what its clients do."""
    plain = layerwise(model, shape) if local is None else None
    return plain or by_autodiff(model, local)


def matching(gradients: GradientMap, comparison: Comparison) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """The function that every attack descends: (aim, images, soft labels) -> distance and its slopes by both."""

    def match(aim: Aim, images: Tensor, soft: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        trial, pull = gradients.run(images, soft)
        distance, slope = comparison.compare(trial, aim)
        return distance, *pull(slope)

    return match


@contextmanager
def ticking(progress: Callable | None, settings: AttackSettings, problems: int) -> Iterator[Callable[[int, int], None]]:
    """A function to call with the optimiser steps just done and the problems they were done on.

    It drives the progress bar, if there is one, whose unit is one step of one problem.
    """
    if progress is None:
        yield lambda steps, problems: None
        return
    with progress(total=settings.iterations * problems, desc=settings.preset) as bar:
        yield lambda steps, problems: bar.update(steps * problems)


def _checked_count(model: Model, seen: Mapping[str, Tensor]) -> int:
    """The number of updates, N. Errors: `ConfigError` naming a tensor that is missing or of another shape."""
    for name, parameter in model.named_parameters():
        if name not in seen:
            raise ConfigError(f"update: tensor {name!r} is missing; it holds {', '.join(seen) or 'nothing'}")
        expected = (len(seen[name]), *parameter.shape)
        if seen[name].shape != expected or len(seen[name]) != len(next(iter(seen.values()))):
            raise ConfigError(f"update: {name!r} has shape {tuple(seen[name].shape)}, expected (N, *{expected[1:]})")
    return len(seen[name])


def _rows(model: Model, seen: Mapping[str, Tensor], targets: list[int]) -> dict[str, Tensor]:
    like = model.head.weight
    return {name: seen[name][targets].detach().to(like) for name, _ in model.named_parameters()}


def _starts(model: Model, numbers: list[tuple[int, int]], shape: tuple[int, ...], draw: Draw) -> list[Tensor]:
    """Initial images and logits of the problems of one chunk: (P, B, C, H, W), (P, B, classes)."""
    like = model.head.weight
    starts = [initial_point(draw(*number), shape, (shape[0], model.head.out_features)) for number in numbers]
    return [torch.stack(parts).to(like) for parts in zip(*starts, strict=True)]


def initial_point(generator: torch.Generator, *shapes: tuple[int, ...]) -> list[Tensor]:
    """One float64 tensor of standard normal numbers for each shape, drawn on the CPU in this order.

    The image comes first, so attacks with and without a soft label start from the same image.
    """
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def freeze(alive: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """`new` for the problems alive, `old` for the others. Shapes: (P,), (P, ...), (P, ...)."""
    return torch.where(alive.view(-1, *[1] * (new.ndim - 1)), new, old)


def finite(*tensors: Tensor) -> Tensor:
    """Whether each problem's entries are finite, and not so large that their sum is not. Shapes: (P, ...) -> (P,)."""
    flags = [one.reshape(len(one), -1).sum(1).isfinite() for one in tensors]
    return torch.stack(flags).all(0)


def _assembled(outcomes: list[Outcome], sizes: list[int], restarts: int, single: bool) -> Reconstruction:
    whole = {
        field.name: torch.cat([getattr(one, field.name) for one in outcomes]).unflatten(0, (-1, restarts))
        for field in fields(Outcome)
    }
    if single:
        whole["images"], whole["labels"] = whole["images"].squeeze(2), whole["labels"].squeeze(2)
    diverged = ~whole["finite"] | ~(whole["final_distance"] <= whole["initial_distance"])
    chosen = choose(whole["final_distance"], diverged)
    rows = torch.arange(len(chosen))
    return Reconstruction(
        images=whole["images"][rows, chosen],
        distance=whole["final_distance"][rows, chosen],
        chosen=chosen,
        all_images=whole["images"],
        labels_found=whole["labels"],
        initial_distance=whole["initial_distance"],
        final_distance=whole["final_distance"],
        diverged=diverged,
        iterations=whole["iterations"],
        chunk=torch.tensor(sizes).view(-1, restarts),
    )


def choose(distance: Tensor, diverged: Tensor) -> Tensor:
    """The restart of smallest gradient distance, diverged ones last, ties to the first. Shapes: (N, R) twice -> (N,).

    >>> choose(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[False, True, False]]))
    tensor([2])
    """
    distance = distance.nan_to_num(nan=torch.inf)
    worst = torch.finfo(distance.dtype).max
    order = torch.where(diverged, torch.inf, distance.clamp_max(worst))
    return torch.where(diverged.all(1), distance.argmin(1), order.argmin(1))
