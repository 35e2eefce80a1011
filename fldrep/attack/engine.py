"""The loop that every attack shares: targets x restarts as independent problems. Nothing here knows the optimiser."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from fldrep.attack.chunks import as_it_is, in_chunks, ticking
from fldrep.attack.labels import labels_for
from fldrep.attack.layerwise import layerwise
from fldrep.attack.objectives import Aim, Comparison
from fldrep.attack.problem import Course, Draw, Numbers, Outcome, Problems, Reconstruction, Solve, choose, initial_point
from fldrep.attack.pullback import GradientMap, by_autodiff
from fldrep.attack.resume import Keeper
from fldrep.config.attacks import AttackSettings
from fldrep.errors import ConfigError
from fldrep.machine.compilation import Compile, hastening
from fldrep.machine.memory import fitting_chunk
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import LocalSteps, require_fixed_statistics


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
