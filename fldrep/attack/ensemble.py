"""The best of several attacks, chosen for each target by certificates and one common distance, never by the truth.

What AutoAttack (Croce and Hein 2020, arXiv:2003.01690) is for robustness: a defense is judged by the best of a fixed
ensemble, so that no one attack's weakness is taken for its strength.
"""

import torch
from torch import Tensor

from fldrep.attack import engine
from fldrep.attack.attempt import attempt, spread
from fldrep.attack.compares import Comparison
from fldrep.attack.engine import Work, distances_at
from fldrep.attack.observation import Observation
from fldrep.attack.reconstruction import Reconstruction, smallest
from fldrep.config.attacks import AttackSettings, members_of


def run(observation: Observation, settings: AttackSettings, work: Work) -> Reconstruction:
    """Run every member on what it is not refused, from the same random numbers, and keep the best of each restart.

    A member that vouches for its image comes before all others, and the members after it leave that target out. Else
    the common distance decides: the ensemble's own objective over what it compares; members that diverged come last.
    Every member that descends may evaluate the gradient `iterations` times. `members` of the result names whose each
    restart is.
    """
    found = _found(observation, settings, work)
    comparison = Comparison.of(settings, observation.zeros)

    def distances(one: Reconstruction) -> Tensor:
        at_once = int(one.problems_at_once.max())
        return distances_at(observation, one.all_images, one.labels_found, comparison, at_once)

    start = engine.run(observation, settings.model_copy(update={"iterations": 0}), work)
    return best(found, {name: distances(one) for name, one in found.items()}, distances(start))


def _found(observation: Observation, settings: AttackSettings, work: Work) -> dict[str, Reconstruction]:
    """What each member finds of all targets: nothing of those that it is refused, or that are certified already."""
    found, count = {}, observation.count()
    left = list(range(count))
    for name, member in members_of(settings).items():
        if not left:
            break
        one, refused = attempt(observation.some(left), member, work)
        if not all(refused):
            found[name] = spread(one, left, observation, member)
            left = [target for target, known in zip(left, one.certified.tolist(), strict=True) if not known]
    return found


def best(found: dict[str, Reconstruction], distances: dict[str, Tensor], initial: Tensor) -> Reconstruction:
    """For each target and restart the member that is certified, else that of least distance.

    Shapes: distances and initial (N, R).
    """
    names = list(found)
    distance = torch.stack([distances[name] for name in names], -1)  # (N, R, members)
    diverged = torch.stack([found[name].diverged | ~distances[name].isfinite() for name in names], -1)
    certified = torch.stack([found[name].all_certified for name in names], -1)
    rows = (one.flatten(0, 1) for one in (distance, diverged, certified))
    winner = smallest(*rows).view(distance.shape[:2])

    def of_winner(parts: list[Tensor]) -> Tensor:
        stacked = torch.stack(parts, 2)
        index = winner.view(*winner.shape, *[1] * (stacked.ndim - 2)).expand(*winner.shape, 1, *stacked.shape[3:])
        return stacked.gather(2, index).squeeze(2)

    picked = {
        key: of_winner([getattr(found[name], key) for name in names])
        for key in ("all_images", "labels_found", "iterations", "problems_at_once", "all_certified")
    }
    return Reconstruction.of(
        initial_distance=initial,
        final_distance=of_winner(list(distance.unbind(-1))),
        diverged=of_winner(list(diverged.unbind(-1))),
        members=[[names[one] for one in row] for row in winner.tolist()],
        **picked,
    )
