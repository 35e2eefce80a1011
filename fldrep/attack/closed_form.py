"""The closed form as an attack uses it: what it finds of one problem."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from fldrep import registry
from fldrep.attack.certificate import is_near
from fldrep.attack.compares import Comparison
from fldrep.attack.gauss_newton import State, dense_step
from fldrep.attack.layer_by_layer import Part, at_representation, reconstruct_chain
from fldrep.attack.least_squares import LeastSquares
from fldrep.attack.observation import Observation
from fldrep.attack.pooled import image_through_pools
from fldrep.attack.problem import Problems
from fldrep.attack.residuals import Residuals
from fldrep.attack.way_down import OverlapChain, way_down
from fldrep.config.needs import lacks
from fldrep.derivatives.layer import NoRule
from fldrep.derivatives.layers.sigmoid import Sigmoid
from fldrep.derivatives.layerwise import layerwise
from fldrep.derivatives.pullback import by_autodiff
from fldrep.models.model import Model
from fldrep.models.normalisation import Normalisation
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT
from fldrep.seeds import generator

TUNED_ON = {"mnist": (range(5000, 5016),)}  # test images that starts were chosen on
TURNS = 3  # of two tries of Levenberg-Marquardt through a mask, which may get stuck: the residual tells
OTHER_LOGITS = 1e-3  # relative error of a bias's gradient that rounding of features does not make
ROUNDING = 1e-6  # of probabilities in float32
SPREAD = 0.1  # standard deviation of the noise on the middle of a layer's range


def image_of(
    observation: Observation, way: Sequence[Part] | OverlapChain, target: int, label: Tensor, iterations: int
) -> tuple[Tensor, int]:
    """The image (C, H, W) behind one update, in the network's input space, and the steps of Levenberg-Marquardt done.

    Args: way: of `way_down`; label: (1, 1). Errors: `NoRule`.
    """
    update = {name: one[0] for name, one in observation.rows([target]).items()}
    soft = None if observation.soft is None else observation.soft[target, 0]
    if isinstance(way, OverlapChain):
        return image_through_pools(way, observation.model, update, observation.normalisation, soft), 0
    masked = observation.zeros == "head" and bool((update[HEAD_WEIGHT] == 0).all(0).any())
    if masked:
        _require_own_logits(observation.model.head, update, label)
    steps = []
    solve = partial(_solved, update, observation, label, iterations, steps)
    return reconstruct_chain(way, observation.model, update, masked, solve), sum(steps)


def _require_own_logits(head: nn.Linear, update: dict[str, Tensor], label: Tensor) -> None:
    """Errors: `NoRule` where features that a mask hides have no weight, and the rest give another gradient of the bias.

    Such an update is of another network or label than is attacked; no image gives it, and a search would take long.
    Whatever scale the update has is its own. A small gradient has the rounding of probabilities.
    """
    hidden = (update[HEAD_WEIGHT] == 0).all(0)
    if head.weight[:, hidden].any():
        return  # what is hidden has a part in the logits
    sent = update[HEAD_BIAS]
    features = at_representation(head, update).values
    own = head(features).softmax(0) - nn.functional.one_hot(label[0, 0], head.out_features).to(sent)
    scale = (sent @ own) / own.square().sum()
    if (sent - scale * own).norm() > OTHER_LOGITS * sent.norm() + ROUNDING * scale.abs():
        raise NoRule("a gradient of the last layer's bias that its features and the label do not give")


def nearer_starts(problems: Problems, system: LeastSquares, points: Tensor, iterations: int) -> Tensor:
    """Unknowns (P, U) where the closed form is defined and gives the update but for rounding; else those given."""
    it, needs = problems.observation, registry.entry("optimiser", "layer-by-layer").words["needs"]
    if problems.labels is None or system.free_scale or lacks(needs, it.public, it.sent, it.structure):
        return points
    way, points = way_down(it.model, it.shape), points.clone()
    for place in range(len(points)):
        try:
            image, _ = image_of(it, way, place, problems.labels[place : place + 1], iterations)
        except NoRule:
            continue
        found, one = system.points_of(image[None, None]), system.copies(place, 1)
        if is_near(one, one.values(found).norm()):
            points[place] = found[0]
    return points


def _solved(
    update: dict[str, Tensor],
    observation: Observation,
    label: Tensor,
    iterations: int,
    steps: list[int],
    tail: Model,
    front: Sequence[Part],
    shape: tuple[int, ...],
) -> Tensor:
    """The input of a network that begins at a convolution, from the gradients that it has a part in."""
    names = {id(value): name for name, value in observation.model.named_parameters()}
    own = {name: update[names[id(value)]][None] for name, value in tail.named_parameters()}
    gradients = layerwise(tail, shape) or by_autodiff(tail)
    comparison = Comparison(registry.value("objective", "balanced-l2"), "surviving", "head")
    observed = comparison.prepare(gradients.arrange(own))
    residuals = Residuals(gradients, observed.gradient, comparison.weights(observed), observation.rounding)
    plain = Normalisation((0.0,) * shape[0], (1.0,) * shape[0])
    soft = nn.functional.one_hot(label, tail.head.out_features).to(tail.head.weight)
    system = LeastSquares(residuals, plain if front else observation.normalisation, (1, *shape), soft, False, False)
    box = not front or isinstance(front[-1].layer, Sigmoid)
    state = _best_of(system, _starts(observation, front, system), iterations, box, steps)
    return system.parts(state.points)[0][0, 0]


def _starts(observation: Observation, front: Sequence[Part], system: LeastSquares) -> Iterator[Tensor]:
    """Where tries begin, unknowns (1, U): behind a grey image and in the middle of the layer's range, then with noise.

    After training, inputs of a layer lie far from the middle of their range, and some tries from there get stuck;
    others get stuck from behind an image. Later turns: images of noise, and noise of deviation SPREAD on the middle.
    """
    like = system.soft
    for turn in range(TURNS):
        draws = generator("closed-form", turn)
        image = torch.rand(1, *observation.shape, generator=draws, dtype=like.dtype).to(like)
        values = observation.normalisation.to_input(image if turn else torch.full_like(image, 0.5))
        for part in front:
            values = part.layer.values(values)
        yield system.points_of(values[None])
        noise = torch.randn(1, *system.images, generator=draws, dtype=like.dtype).to(like)
        yield system.begin(noise * (SPREAD if turn else 0))


def _best_of(system: LeastSquares, starts: Iterator[Tensor], iterations: int, box: bool, steps: list[int]) -> State:
    """Where one system ends from the first start, or from a later one where it got stuck: its residual tells."""
    tries = []
    for start in starts:
        state = State.begin(system, start)
        for _ in range(iterations):
            if not state.alive.any():
                break
            state = dense_step(system, state, box)
        steps.append(int(state.steps))
        tries.append(state)
        if is_near(system, state.norm[0]):
            break
    return min(tries, key=lambda one: float(one.norm))
