"""The loop that every attack shares: targets x restarts as independent problems. Nothing here knows the optimiser."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from fldrep import registry
from fldrep.arguments import refuse
from fldrep.attack.chunks import Numbers, in_chunks, progress_bar
from fldrep.attack.compares import Comparison, Observed
from fldrep.attack.labels import labels_for
from fldrep.attack.observation import Observation
from fldrep.attack.problem import Outcome, Problems, Progress
from fldrep.attack.reconstruction import Reconstruction
from fldrep.attack.residuals import Residuals
from fldrep.attack.resume import Checkpointer
from fldrep.config.attacks import AttackSettings, evaluations_of, weights_of
from fldrep.config.parts import words
from fldrep.derivatives.layerwise import gradient_map
from fldrep.derivatives.pullback import GradientMap
from fldrep.errors import AttackRefused
from fldrep.machine.compilation import Compile, as_it_is, compiler
from fldrep.machine.memory import fitting_chunk


@dataclass(frozen=True)
class Work:
    """How an attack is computed.

    `problems_at_once` is part of what makes a float32 result, or `auto`: as many as fit into the memory free now;
    `compile`: `auto`, `always` or `never`, see `machine.compilation`; `progress`: like `tqdm.tqdm`, called with total
    and desc; `checkpointer` holds how far a killed job had come, and keeps how far this one does.
    """

    problems_at_once: int | Literal["auto"] = 64
    compile: Compile = "auto"
    progress: Callable | None = None
    checkpointer: Checkpointer = field(default_factory=Checkpointer)


def run(observation: Observation, settings: AttackSettings, work: Work) -> Reconstruction:
    """An attack by one optimiser on N updates, computed on the model's device.

    Errors: `ConfigError` naming the tensor that does not fit the model, or the labels; `AttackRefused` naming the
    targets whose updates are refused by the optimiser, before anything is worked.
    """
    numbers = [(target, restart) for target in range(observation.count()) for restart in range(settings.restarts)]
    dtype = observation.model.head.weight.dtype
    if words("optimiser", settings.optimiser).get("float64"):
        observation = observation.in_float64()
    problems = ProblemSet.of(observation, settings)
    optimiser = registry.value("optimiser", settings.optimiser)()
    _require_something(problems, optimiser, settings)
    at_once = work.problems_at_once
    if at_once == "auto":
        at_once = _fitting(problems, optimiser, numbers)
    evaluations = settings.iterations * evaluations_of(settings) * -(-len(numbers) // at_once)
    by_residuals = words("optimiser", settings.optimiser).get("least_squares")  # what is compiled, these do not call
    compile = None if by_residuals else compiler(work.compile, evaluations, observation.device.type)
    problems = problems if compile is None else problems.compiled(compile)

    def worked(some: Numbers, size: int, progress: Progress) -> Outcome:
        # a smaller last chunk would be compiled once more: fill it, and drop what that gives
        filled = some if compile is None else some + some[-1:] * (size - len(some))
        whole = optimiser.solve(problems.some(filled), settings, progress)
        if not isinstance(whole, Outcome):
            refuse(
                f"optimiser {settings.optimiser!r}: what solve returns", whole, "an Outcome of fldrep.attack.problem"
            )
        whole = replace(whole, images=whole.images.to(dtype))
        return Outcome(**{name: value[: len(some)].cpu() for name, value in vars(whole).items()})

    with progress_bar(work.progress, settings, len(numbers)) as advance:
        outcomes, sizes = in_chunks(worked, numbers, min(at_once, len(numbers)), advance, work.checkpointer)
    return Reconstruction.assembled(outcomes, sizes, settings.restarts, single=observation.images is None)


@dataclass(frozen=True)
class ProblemSet:
    """All problems of one attack on what was observed: any of them can be made for an optimiser."""

    observation: Observation
    settings: AttackSettings
    comparison: Comparison
    gradients: GradientMap
    labels: Tensor | None
    match: Callable[[Observed, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    compile: Callable[[Callable], Callable] = as_it_is

    @classmethod
    def of(cls, observation: Observation, settings: AttackSettings) -> "ProblemSet":
        """Errors: `ConfigError` for labels that do not fit, `AttackRefused` where they cannot be inferred."""
        comparison = Comparison.of(settings, observation.zeros)
        gradients = gradient_map(observation.model, observation.shape, observation.local)
        labels = labels_for(settings.labels, observation)
        return cls(observation, settings, comparison, gradients, labels, matching(gradients, comparison))

    def compiled(self, compile: Callable[[Callable], Callable]) -> "ProblemSet":
        """With compiled what is called at each step."""
        return replace(self, match=compile(self.match), compile=compile)

    def some(self, numbers: Numbers) -> Problems:
        """The problems of some numbers."""
        targets = [target for target, _ in numbers]
        observed = self.comparison.prepare(self.gradients.arrange(self.observation.rows(targets)))
        images, logits = self.observation.starts(numbers, self.settings.start)
        residuals = None
        if words("optimiser", self.settings.optimiser).get("least_squares"):
            weights = self.comparison.weights(observed)
            residuals = Residuals(self.gradients, observed.gradient, weights, self.observation.rounding)
        return Problems(
            match=partial(self.match, observed),
            regularisers=regularisers_of(self.settings, self.observation.some(targets)),
            images=images,
            logits=logits,
            labels=None if self.labels is None else self.labels[targets].to(images.device),
            normalisation=self.observation.normalisation,
            compile=self.compile,
            residuals=residuals,
            observation=self.observation.some(targets),
            fixed_soft=None if self.observation.soft is None else self.observation.soft[targets].to(images),
        )


def _require_something(problems: ProblemSet, optimiser: object, settings: AttackSettings) -> None:
    """Errors: `AttackRefused` naming the targets, if any, at which the optimiser says it cannot get anywhere."""
    if not hasattr(optimiser, "refusals"):
        return
    count = problems.observation.count()
    found = optimiser.refusals(problems.some([(target, 0) for target in range(count)]), settings)
    reasons = {target: reason for target, reason in enumerate(found) if reason}
    if reasons:
        target, reason = next(iter(reasons.items()))
        besides = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        raise AttackRefused(f"attack {settings.title!r}: target {target}{besides} {reason}", reasons)


def regularisers_of(settings: AttackSettings, observation: Observation) -> tuple[tuple[float, Callable], ...]:
    """The regularisers of an attack, each with its weight. Args: observation: of one update a problem."""

    def of_images(name: str) -> Callable:
        function = registry.value("regulariser", name)
        observes = words("regulariser", name).get("observes")
        return partial(function, observation=observation) if observes else function

    return tuple((weight, of_images(name)) for name, weight in weights_of(settings).items())


def _fitting(problems: ProblemSet, optimiser: object, numbers: Numbers) -> int:
    """How many problems fit into the memory free now."""
    once = problems.settings.model_copy(update={"iterations": min(1, problems.settings.iterations)})
    unkept = Progress(lambda steps: None, Checkpointer())

    def work(count: int) -> Outcome:
        return optimiser.solve(problems.some((numbers * count)[:count]), once, unkept)

    return fitting_chunk(work, len(numbers), problems.observation.device)


def distances_at(
    observation: Observation, images: Tensor, labels: Tensor, comparison: Comparison, problems_at_once: int = 64
) -> Tensor:
    """The distance of given reconstructions. Shapes: images (N, R, [B,] C, H, W), labels (N, R[, B]) -> (N, R)."""
    model, shape = observation.model, observation.shape
    gradients = gradient_map(model, shape, observation.local)
    match, like = matching(gradients, comparison), model.head.weight
    flat = images.reshape(images.shape[0] * images.shape[1], -1, *shape)
    soft = torch.nn.functional.one_hot(labels.reshape(len(flat), -1), model.head.out_features).to(like)
    found = []
    for start in range(0, len(flat), problems_at_once):
        part = slice(start, start + problems_at_once)
        targets = [number // images.shape[1] for number in range(len(flat))[part]]
        observed = comparison.prepare(gradients.arrange(observation.rows(targets)))
        found.append(match(observed, flat[part].to(like), soft[part])[0].cpu())
    return torch.cat(found).view(images.shape[:2])


def matching(gradients: GradientMap, comparison: Comparison) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """What every attack descends: (observed, images, soft labels) -> distance and its derivatives by both."""

    def match(observed: Observed, images: Tensor, soft: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        trial, pull = gradients.run(images, soft)
        distance, derivative = comparison.distance(trial, observed)
        return distance, *pull(derivative)

    return match
