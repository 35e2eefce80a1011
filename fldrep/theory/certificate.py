"""Theorem 1 of the paper, as far as it can be checked: how far must a reconstruction be from the image?

Claim: ||X - X'|| >= ||r - r'|| / ||df/dX||, with r = f(X) the representation, r' what the defense leaves of it, X' what
the attacker finds, and 2-norms throughout.

Against whom it holds: an attacker who uses nothing but r' and finds an X' with f(X') = r' exactly. Then
||r - r'|| = ||f(X) - f(X')|| <= ||X - X'|| times the largest norm of the Jacobian on the way from X to X', which is the
claim, if that largest norm is put in. It says nothing of an attacker who uses anything else: the gradients of the lower
layers, the clean bias gradient, or the mask, which tells which entries of r' are missing. Nor is it a statement on what
can be recognised: a bound of 2 on 3072 pixels is a mean squared error of 0.0013.

Four ways to fill in ||df/dX||, and all are reported beside the distance measured:

- `local`: its norm at X, as the paper writes it. Not a bound: the norm may be larger on the way.
- `segment`: the largest of the norms at points of the straight line from X to X'. An ESTIMATE of the supremum, from
  below.
- `layers`: the product of the layers' norms. A proven Lipschitz constant, and often so large that the bound says
  nothing.
- `premise` missing: real attacks end with f(X') != r'. By the triangle inequality
  ||X - X'|| >= (||r - r'|| - ||f(X') - r'||) / constant holds for every X' and every attacker; it is reported with the
  `layers` constant (proven) as `bound_any`, and it is 0 where the attacker ignored r'.

Beside them stands `farthest`, the distance of the farthest image with pixels in [0, 1]: a bound above it says that no
image at all has the representation r' (r' = 0 is none that a sigmoid gives, say), so the premise cannot be met.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from fldrep.derivatives.lanczos import jacobian_norms
from fldrep.derivatives.lipschitz import lipschitz_bound
from fldrep.errors import ConfigError
from fldrep.models.model import Model

# f(X') counts as r' where it is this close, relative to ||r - r'||.
PREMISE = 0.01


def certificate_rows(
    model: Model,
    images: Tensor,
    found: Tensor,
    kept: Tensor,
    *,
    points: int = 9,
    steps: int = 40,
    constant: float | None = None,
    box: tuple[Tensor, Tensor] | None = None,
    progress: Callable[[Sequence], Iterable] = iter,
) -> list[dict]:
    """One row for each target and restart: the bounds, the distance measured, and whether each bound holds.

    Shapes: images (T, C, H, W) and found (T, R, C, H, W), the network's input; kept (T, F) bool, False = pruned.
    Args: points of the segment, X and X' among them; steps: at most so many products for a Jacobian norm; constant:
    the Lipschitz constant from the layers, computed if not given; box: the network's input for pixels 0 and 1, each of
    a shape that broadcasts against images; progress: gives the restarts back, and may tell of each.
    Rows: target, restart, representation_change, premise_gap, premise_holds, distance, farthest, norm_local,
    norm_segment, norm_layers, bound_local, bound_segment, bound_layers, bound_any, holds_local, holds_segment,
    holds_layers, holds_any. Where X' is not finite, what depends on it is None; farthest is None without a box.
    Errors: `ConfigError` for fewer than 2 points.
    """
    if points < 2:
        raise ConfigError(f"points={points}: a segment has at least 2")
    constant = lipschitz_bound(model, tuple(images.shape[1:])) if constant is None else constant
    with torch.no_grad():
        features = model.features(images)
    change = torch.linalg.vector_norm(features * ~kept, dim=1)
    local, directions = jacobian_norms(model, images, steps=steps)
    farthest = [None] * len(images) if box is None else farthest_distances(images, *box).tolist()
    rows = []
    for restart in progress(range(found.shape[1])):
        guess = found[:, restart]
        finite = guess.flatten(1).isfinite().all(1)
        guess = torch.where(finite.view(-1, 1, 1, 1), guess, images)
        with torch.no_grad():
            gap = torch.linalg.vector_norm(model.features(guess) - features * kept, dim=1)
        distance = torch.linalg.vector_norm((images - guess).flatten(1), dim=1)
        on_way = segment_norms(model, images, guess, points, (local, directions), steps)
        for target in range(len(images)):
            measured = (distance, gap, on_way) if finite[target] else None
            numbers = [float(values[target]) for values in measured] if measured else None
            rows.append(
                {"target": target, "restart": restart, "farthest": farthest[target]}
                | certificate(float(change[target]), float(local[target]), constant, numbers)
            )
    return rows


def farthest_distances(images: Tensor, black: Tensor, white: Tensor) -> Tensor:
    """Distance of each image to the valid image farthest from it. Shape: (N, C, H, W) -> (N,).

    >>> farthest_distances(torch.tensor([[[[0.0, 0.25]]]]), torch.tensor(0.0), torch.tensor(1.0))
    tensor([1.2500])
    """
    return torch.maximum((images - black).abs(), (white - images).abs()).flatten(1).norm(dim=1)


def segment_norms(
    model: Model,
    start: Tensor,
    end: Tensor,
    points: int,
    at_start: tuple[Tensor, Tensor],
    steps: int,
) -> Tensor:
    """The largest Jacobian norm among `points` of the segment from start to end, an estimate.

    Shape: (N, C, H, W) twice -> (N,).

    Each point's iteration begins with the direction of the point before. Args: at_start: norm and direction there.
    """
    largest, directions = at_start
    for share in torch.linspace(0, 1, points)[1:].tolist():
        place = torch.lerp(start, end, share)
        norms, directions = jacobian_norms(model, place, steps=steps, start=directions)
        largest = torch.maximum(largest, norms)
    return largest


def certificate(change: float, local: float, layers: float, measured: tuple[float, float, float] | None) -> dict:
    """The bounds of one reconstruction, and which hold.

    Args: change: ||r - r'||; local and layers: constants; measured: ||X - X'||, ||f(X') - r'|| and the segment's
    constant, None where X' is not finite.

    >>> row = certificate(2.0, 4.0, 8.0, (0.4, 0.0, 5.0))
    >>> row["bound_local"], row["holds_local"], row["bound_segment"], row["holds_segment"], row["holds_layers"]
    (0.5, False, 0.4, True, True)
    """
    distance, gap, segment = measured or (None, None, None)
    bounds = {
        "local": _over(change, local),
        "segment": None if segment is None else _over(change, segment),
        "layers": _over(change, layers),
        "any": None if gap is None else _over(max(0.0, change - gap), layers),
    }
    return {
        "representation_change": change,
        "premise_gap": gap,
        "premise_holds": None if gap is None else gap <= PREMISE * change,
        "distance": distance,
        "norm_local": local,
        "norm_segment": segment,
        "norm_layers": layers,
        **{f"bound_{name}": bound for name, bound in bounds.items()},
        **{f"holds_{name}": None if distance is None else distance >= bound for name, bound in bounds.items()},
    }


def _over(change: float, constant: float) -> float:
    """No change needs no distance, even where nothing reacts; a change where nothing reacts cannot be had at any."""
    if change == 0:
        return 0.0
    return change / constant if constant else float("inf")
