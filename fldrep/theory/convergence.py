"""Theorem 2 of the paper on a problem where everything in it can be computed: softmax regression with L2.

The bound is that of Li et al. 2020, arXiv:1907.02189 (theorems 1 and 3, read there). Assumptions: every client's F_k
is L-smooth and mu-strongly convex; stochastic gradients are unbiased, with variance at most sigma_k^2 and mean square
at most G^2. With kappa = L / mu, E local *steps*, gamma = max(8 kappa, E) and 2 / (mu (gamma + t)) the size of step t:

    E F(w_T) - F* <= kappa / (gamma + T - 1) * (2 (B + C) / mu + mu gamma / 2 * ||w_1 - w*||^2)
    B = sum p_k^2 sigma_k^2 + 6 L Gamma + 8 (E - 1)^2 G^2,   Gamma = F* - sum p_k F_k*
    C = 0 with all N clients, (N - K) / (N - 1) * 4 E^2 G^2 / K with K of them, uniform, without replacement, p_k = 1/N

w_1 is the start, so after s steps T = s + 1.

What the paper adds (as we recall it, its text was not at hand): the same bound with constants enlarged by what the
defense changes. That is a theorem for a perturbation that is unbiased, such as a random mask divided by the share it
keeps (`random`): it only enlarges sigma_k and G. It is none for Soteria: the columns pruned are those of the largest
features, the same ones again and again, so E of the masked gradient is not the gradient, and the step of the proof
that uses it fails. What the enlarged bound then says is computed all the same (`bound_defended`); it falls as
1 / T, while the gap cannot: columns pruned in every step of every client never leave their start, and the best loss
without them (less F*: `floor`) is a proven lower limit of the gap.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from fldrep.errors import ConfigError, named
from fldrep.models.model import Model

# The theorem ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constants:
    """What the bound is made of.

    smoothness L and convexity mu of every F_k; weights p_k and variances sigma_k^2, (N,); gradient_square G^2;
    heterogeneity Gamma; distance_square ||w_1 - w*||^2; local_steps E; sampled K of the N clients.
    Errors: `ConfigError` where an assumption of the theorem does not hold.
    """

    smoothness: float
    convexity: float
    weights: tuple[float, ...]
    variances: tuple[float, ...]
    gradient_square: float
    heterogeneity: float
    distance_square: float
    local_steps: int = 1
    sampled: int | None = None

    def __post_init__(self):  # noqa: D105
        if not self.convexity > 0:
            raise ConfigError(f"mu={self.convexity}: the theorem needs strong convexity, mu > 0")
        if self.smoothness < self.convexity:
            raise ConfigError(f"L={self.smoothness} is below mu={self.convexity}, which no function allows")
        if self.local_steps < 1:
            raise ConfigError(f"local_steps={self.local_steps}: at least 1")
        clients = len(self.weights)
        if self.sampled is not None and not 1 <= self.sampled <= clients:
            raise ConfigError(f"sampled={self.sampled}: between 1 and the {clients} clients")
        if self.sampled not in (None, clients) and max(self.weights) - min(self.weights) > 1e-9:
            raise ConfigError("drawing clients without replacement is covered for equal weights p_k = 1/N only")

    @property
    def condition(self) -> float:
        """Kappa = L / mu."""
        return self.smoothness / self.convexity

    @property
    def shift(self) -> float:
        """Gamma in the step size: max(8 kappa, E)."""
        return max(8 * self.condition, self.local_steps)

    @property
    def local_term(self) -> float:
        """B: variance, heterogeneity, and the drift of local steps."""
        variance = sum(p**2 * v for p, v in zip(self.weights, self.variances, strict=True))
        drift = 8 * (self.local_steps - 1) ** 2 * self.gradient_square
        return variance + 6 * self.smoothness * self.heterogeneity + drift

    @property
    def sampling_term(self) -> float:
        """C: what drawing K of N clients without replacement adds."""
        clients = len(self.weights)
        if self.sampled in (None, clients):
            return 0.0
        share = (clients - self.sampled) / (clients - 1)
        return share * 4 / self.sampled * self.local_steps**2 * self.gradient_square

    def learning_rate(self, step: int) -> float:
        """Step size of local step 0, 1, ... of the whole run."""
        return 2 / (self.convexity * (self.shift + step))

    def gap_bound(self, steps: int) -> float:
        """The theorem's bound on E F - F* after so many local steps."""
        noise = 2 * (self.local_term + self.sampling_term) / self.convexity
        return self.condition / (self.shift + steps) * (noise + self.convexity * self.shift / 2 * self.distance_square)

    def crossing(self, gap: float) -> float:
        """Steps after which the bound lies below a gap > 0."""
        return max(0.0, self.gap_bound(0) * self.shift / gap - self.shift)

    def unbiased_mask(self, rate: float) -> "Constants":
        """With each column of a gradient kept with probability 1 - rate and divided by it: larger, and no bias."""
        growth = 1 / (1 - rate)
        variances = tuple(v + (growth - 1) * self.gradient_square for v in self.variances)
        return replace(self, variances=variances, gradient_square=growth * self.gradient_square)

    def perturbed(self, change: float) -> "Constants":
        """Sigma_k enlarged by the root mean square of what a mask takes off a gradient; G stays, as nothing grows.

        As we recall the paper. That the mean gradient changes too, a bias, is not covered by the proof.
        """
        return replace(self, variances=tuple((math.sqrt(v) + change) ** 2 for v in self.variances))


# The problem ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """N clients of n images each: inputs (N, n, D), the last column 1 for the bias, labels (N, n), in float64.

    F_k(W) = mean cross entropy of client k's images + mu / 2 ||W||^2, W (classes, D), bias included; F is their mean.
    """

    inputs: Tensor
    labels: Tensor
    classes: int
    mu: float

    def __post_init__(self):  # noqa: D105
        if not self.mu > 0:
            raise ConfigError(f"mu={self.mu}: the theorem needs strong convexity, mu > 0")

    @property
    def radius(self) -> float:
        """A ball that holds every minimiser: mu / 2 ||w*||^2 <= F(0) = ln(classes)."""
        return math.sqrt(2 * math.log(self.classes) / self.mu)

    def losses(self, weights: Tensor) -> Tensor:
        """F_k of every client. Shape: (..., classes, D) -> (..., N)."""
        logits = torch.einsum("knd,...cd->...knc", self.inputs, weights)
        targets = self.labels.expand(logits.shape[:-1]).reshape(-1)
        entropy = nn.functional.cross_entropy(logits.reshape(-1, self.classes), targets, reduction="none")
        return entropy.view(logits.shape[:-1]).mean(-1) + self.mu / 2 * weights.square().sum((-2, -1)).unsqueeze(-1)


def problem_of(model: Model, images: Tensor, labels: Tensor, mu: float) -> Problem:
    """The problem of training a softmax regression, images scaled by one constant so that the largest input has norm 1.

    Shapes: images (N, n, C, H, W), labels (N, n). The scale leaves the problem what it is and makes L at most 1/2 + mu.
    Errors: `ConfigError` for any other model (its loss is not convex in the weights) or mu = 0.
    """
    if any(True for _ in model.body.parameters()):
        kinds = {type(module).__name__ for module in model.body.modules() if list(module.parameters(recurse=False))}
        raise ConfigError(
            f"the loss is not convex in the weights of {', '.join(sorted(kinds))}; the theorem needs softmax"
        )
    with torch.no_grad():
        features = model.double().features(images.double().flatten(0, 1))
    inputs = nn.functional.pad(features, (0, 1), value=1.0).view(*images.shape[:2], -1)
    return Problem(inputs / inputs.norm(dim=-1).max(), labels, model.head.out_features, mu)


def smoothness(problem: Problem) -> float:
    """L of every F_k: half the largest eigenvalue of its inputs' second moment, plus mu.

    The Hessian of cross entropy is (diag(p) - p p^T) x x^T, and diag(p) - p p^T is at most 1/2 (Boehning 1992).
    """
    moments = torch.einsum("kni,knj->kij", problem.inputs, problem.inputs) / problem.inputs.shape[1]
    return float(torch.linalg.eigvalsh(moments)[:, -1].max()) / 2 + problem.mu


def constants_of(
    problem: Problem, start: Tensor, *, radius: float, batch_size: int, local_steps: int, sampled: int | None
) -> tuple[Constants, float]:
    """Proven constants inside the ball of a radius, and F*.

    A gradient of cross entropy is (p - onehot) x^T, of squared norm at most 2 ||x||^2. So sigma_k^2 is at most
    2 mean ||x||^2 / batch size (drawn with replacement), and G at most sqrt(2 max_k mean ||x||^2) + mu radius.
    """
    clients = len(problem.inputs)
    squares = problem.inputs.square().sum(-1).mean(-1)
    best, optimum = minimise(problem)
    alone = [
        minimise(replace(problem, inputs=x[None], labels=y[None]))[1]
        for x, y in zip(problem.inputs, problem.labels, strict=True)
    ]
    found = Constants(
        smoothness=smoothness(problem),
        convexity=problem.mu,
        weights=(1 / clients,) * clients,
        variances=tuple((2 * squares / batch_size).tolist()),
        gradient_square=(math.sqrt(2 * float(squares.max())) + problem.mu * radius) ** 2,
        heterogeneity=max(0.0, optimum - sum(alone) / clients),
        distance_square=float((start - best).square().sum()),
        local_steps=local_steps,
        sampled=sampled,
    )
    return found, optimum


def minimise(problem: Problem, columns: Tensor | None = None, precision: float = 1e-10) -> tuple[Tensor, float]:
    """The minimiser (classes, D) and minimum of F, to within ||gradient||^2 / (2 mu), as strong convexity proves.

    Args: columns (D,) bool: those that may differ from 0, all if not given.
    Errors: `ConfigError` where the solver does not reach the precision.
    """
    free = torch.ones(problem.inputs.shape[-1], dtype=torch.bool) if columns is None else columns
    reduced = replace(problem, inputs=problem.inputs[..., free])
    shape = (problem.classes, int(free.sum()))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(flat).view(shape).requires_grad_()
        value = reduced.losses(weights).mean()
        return float(value.detach()), torch.autograd.grad(value, weights)[0].flatten().numpy()

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 0, "gtol": 1e-9, "maxcor": 30}
    found = minimize(loss, np.zeros(math.prod(shape)), jac=True, method="L-BFGS-B", options=options)
    error = float((found.jac**2).sum()) / (2 * problem.mu)
    if error > precision:
        raise ConfigError(
            f"mu={problem.mu}: the optimum is known only to {error:.1g}, wanted {precision:.1g}; raise mu"
        )
    weights = torch.zeros(problem.classes, len(free), dtype=torch.float64)
    weights[:, free] = torch.from_numpy(found.x).view(shape)
    return weights, float(found.fun)


# What a client does to the gradient of a local step ------------------------------------------------------------------

# (inputs of the batches (..., B, D), rate, generator) -> factors on the columns of the gradient, (..., D)
Mask = Callable[[Tensor, float, torch.Generator], Tensor]


def no_mask(inputs: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """All columns as they are."""
    return inputs.new_ones(*inputs.shape[:-2], inputs.shape[-1])


def ratio_mask(inputs: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Soteria's `ratio` rule: the representation is the input, ||dr_i/dX|| = 1, so the largest summed |x_i| are pruned.

    The bias is no feature, and is never pruned.
    """
    scores = inputs[..., :-1].abs().sum(-2)
    first = scores.argsort(dim=-1, descending=True, stable=True)[..., : round(rate * scores.shape[-1])]
    kept = torch.ones_like(scores).scatter(-1, first, 0.0)
    return nn.functional.pad(kept, (0, 1), value=1.0)


def random_mask(inputs: Tensor, rate: float, generator: torch.Generator) -> Tensor:
    """Each column pruned with probability `rate` and divided by 1 - rate if kept: the gradient in expectation."""
    like = no_mask(inputs, rate, generator)
    kept = torch.rand(like.shape, generator=generator, dtype=like.dtype) >= rate
    kept[..., -1] = True
    return torch.where(kept, like / (1 - rate), 0).index_fill(-1, torch.tensor([like.shape[-1] - 1]), 1.0)


MASKS: dict[str, Mask] = {"none": no_mask, "soteria": ratio_mask, "random": random_mask}


# Federated averaging -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """What a run of R repetitions passed through, at S moments.

    steps (S,); weights (S, R, classes, D); projected: share of local steps that left the ball; never_updated (D,) bool:
    columns pruned in every step of every client and repetition.
    """

    steps: list[int]
    weights: Tensor
    projected: float
    never_updated: Tensor


def federated_path(
    problem: Problem,
    constants: Constants,
    start: Tensor,
    *,
    mask: str,
    rate: float,
    rounds: int,
    moments: list[int],
    repetitions: int,
    batch_size: int,
    radius: float,
    draws: torch.Generator,
    masking: torch.Generator,
) -> Path:
    """FedAvg as the theorem has it: E local steps of SGD, batches drawn with replacement, then the clients' mean.

    All repetitions and clients are stepped together, and every local step ends in the ball of `radius`.
    Args: moments: rounds after which the weights are kept (0 is the start); draws: draws clients and batches, masking
    what a mask draws, so that two masks meet the same batches; the others as in `convergence_rows`.
    """
    masked = named("mask", mask, MASKS)
    clients = len(problem.inputs)
    sampled = constants.sampled or clients
    server = start.expand(repetitions, *start.shape).clone()
    kept_at, updated, left_ball, steps = [server] if 0 in moments else [], torch.zeros(start.shape[1]), 0, 0
    for round in range(1, rounds + 1):
        order = torch.rand(repetitions, clients, generator=draws).argsort(1)[:, :sampled]
        local = server.unsqueeze(1).expand(-1, sampled, -1, -1)
        for _ in range(constants.local_steps):
            chosen = torch.randint(problem.inputs.shape[1], (repetitions, sampled, batch_size), generator=draws)
            inputs, labels = problem.inputs[order.unsqueeze(-1), chosen], problem.labels[order.unsqueeze(-1), chosen]
            factors = masked(inputs, rate, masking)
            gradient = stochastic_gradient(local, inputs, labels, problem.mu) * factors.unsqueeze(-2)
            local, outside = into_ball(local - constants.learning_rate(steps) * gradient, radius)
            updated, left_ball, steps = updated + factors.flatten(0, 1).sum(0), left_ball + outside, steps + 1
        server = local.mean(1)
        if round in moments:
            kept_at.append(server)
    taken = [moment * constants.local_steps for moment in sorted(moments)]
    share = left_ball / max(1, steps * repetitions * sampled)
    return Path(taken, torch.stack(kept_at), share, (updated == 0) & (start == 0).all(0))


def stochastic_gradient(weights: Tensor, inputs: Tensor, labels: Tensor, mu: float) -> Tensor:
    """Of mean cross entropy + mu / 2 ||W||^2. Shapes: (..., classes, D), (..., B, D), (..., B) -> (..., classes, D)."""
    error = (inputs @ weights.mT).softmax(-1)
    error.scatter_add_(-1, labels.unsqueeze(-1), -torch.ones_like(error[..., :1]))
    return error.mT @ inputs / inputs.shape[-2] + mu * weights


def into_ball(weights: Tensor, radius: float) -> tuple[Tensor, int]:
    """The nearest weights of norm at most radius, and how many were outside. Shape: (..., classes, D) -> same, ()."""
    norms = torch.linalg.vector_norm(weights, dim=(-2, -1), keepdim=True)
    return weights * (radius / norms.clamp_min(radius)), int((norms > radius).sum())


# The rows ------------------------------------------------------------------------------------------------------------


def convergence_rows(
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    masks: dict[str, tuple[str, float]],
    generator_of: Callable[[str], torch.Generator],
    mu: float = 0.1,
    local_steps: int = 1,
    sampled: int | None = None,
    rounds: int = 2000,
    moments: int = 40,
    repetitions: int = 4,
    batch_size: int = 32,
    progress: Callable[[Sequence], Iterable] = iter,
) -> list[dict]:
    """One row for each named mask, kept moment and repetition: the gap to the optimum and the bounds on its mean.

    Shapes: images (N, n, C, H, W) of N clients, the network's input; labels (N, n). The start is W = 0.
    Args: masks: {name: (kind in `MASKS`, rate)}; generator_of: a fresh generator by the name of what it draws,
    `batches` or `mask`; sampled: K of the N clients in a round, all if not given; moments: how many, spaced
    geometrically over the rounds; progress: gives the masks back, and may tell of each.
    Rows: mask, kind, rate, repetition, round, steps, gap (of this repetition), bound (of the theorem, for gradients as
    they are), bound_defended (with the mask's term), bound_covers (whether the theorem covers the mask), floor,
    crossing (steps after which bound_defended is below the floor, so surely wrong; None without a floor), projected,
    and the constants.
    Errors: `ConfigError` for mu = 0, another model than softmax, an unknown mask, or a rate that leaves nothing.
    """
    problem = problem_of(model, images, labels, mu)
    start = torch.zeros(problem.classes, problem.inputs.shape[-1], dtype=torch.float64)
    settings = {"radius": problem.radius, "batch_size": batch_size}
    constants, optimum = constants_of(problem, start, local_steps=local_steps, sampled=sampled, **settings)
    kept = kept_rounds(rounds, moments)
    rows = []
    for name, (kind, rate) in progress([*masks.items()]):
        named("mask", kind, MASKS)
        if not 0 <= rate < 1:
            raise ConfigError(f"masks.{name}: rate={rate} is not in [0, 1)")
        options = {"mask": kind, "rate": rate, "rounds": rounds, "moments": kept, "repetitions": repetitions}
        drawn = {"draws": generator_of("batches"), "masking": generator_of("mask")}
        path = federated_path(problem, constants, start, **options, **settings, **drawn)
        defended = defended_constants(problem, constants, kind, rate)
        floor = floor_of(problem, path.never_updated, optimum)
        fixed = {
            "mask": name,
            "kind": kind,
            "rate": rate,
            "bound_covers": kind != "soteria" or rate == 0,
            "floor": floor,
            "crossing": defended.crossing(floor) if floor > 0 else None,
            "projected": path.projected,
            **facts(constants, defended, optimum),
        }
        for moment, steps, weights in zip(kept, path.steps, path.weights, strict=True):
            bounds = {"bound": constants.gap_bound(steps), "bound_defended": defended.gap_bound(steps)}
            gaps = (problem.losses(weights).mean(-1) - optimum).tolist()
            rows += [
                {"repetition": place, "round": moment, "steps": steps, "gap": gap} | bounds | fixed
                for place, gap in enumerate(gaps)
            ]
    return rows


def kept_rounds(rounds: int, moments: int) -> list[int]:
    """0, and about `moments` rounds spaced geometrically up to the last.

    >>> kept_rounds(100, 5)
    [0, 1, 3, 10, 32, 100]
    """
    if rounds == 0:
        return [0]
    return [0, *sorted({round(rounds ** (i / max(1, moments - 1))) for i in range(moments)})]


def defended_constants(problem: Problem, constants: Constants, kind: str, rate: float) -> Constants:
    """With the mask's term: exact growth for the unbiased mask; for Soteria what it takes off a gradient, as the paper.

    Pruning m columns takes off at most sqrt(2) times the m largest |x_i| of an image, in root mean square over a
    client's images, and mu times the norm of the weights, at most the ball's radius.
    """
    if kind == "random":
        return constants.unbiased_mask(rate)
    pruned = round(rate * (problem.inputs.shape[-1] - 1))
    if kind == "none" or pruned == 0:
        return constants
    largest = problem.inputs[..., :-1].square().topk(pruned).values.sum(-1).mean(-1).max()
    return constants.perturbed(math.sqrt(2 * float(largest)) + problem.mu * problem.radius)


def floor_of(problem: Problem, never_updated: Tensor, optimum: float) -> float:
    """The smallest gap that weights with these columns at 0 can have; 0 where every column was updated."""
    if not bool(never_updated.any()):
        return 0.0
    return max(0.0, minimise(problem, ~never_updated)[1] - optimum)


def facts(constants: Constants, defended: Constants, optimum: float) -> dict:
    """The constants as columns."""
    return {
        "clients": len(constants.weights),
        "sampled": constants.sampled or len(constants.weights),
        "local_steps": constants.local_steps,
        "smoothness": constants.smoothness,
        "convexity": constants.convexity,
        "variance": max(constants.variances),
        "variance_defended": max(defended.variances),
        "gradient_square": constants.gradient_square,
        "gradient_square_defended": defended.gradient_square,
        "heterogeneity": constants.heterogeneity,
        "distance_square": constants.distance_square,
        "optimum": optimum,
    }
