"""Attacks on clients that prune the representation itself: the trial is pruned as the client's image was.

A client that takes the loss anew with r' = mask * r sends the gradient that a network without the pruned features has:
one whose last weight W is zero in their columns, since W (mask * r) = (W mask) r. Which columns those are is public, as
dL/dW is zero there. So this network is attacked, a different one for each update, and all layers below are compared
with what the client's mask made of them. To leave the mask out of the trial, as `gs-masked` does, compares gradients of
two different networks.
"""

from dataclasses import replace

from fldrep.attack import engine
from fldrep.attack.engine import Work
from fldrep.attack.observation import Observation
from fldrep.attack.reconstruction import Reconstruction
from fldrep.config.attacks import AttackSettings
from fldrep.models.model import without_pruned
from fldrep.models.updates import HEAD_WEIGHT


def run(observation: Observation, settings: AttackSettings, work: Work) -> Reconstruction:
    """Attack each update by itself, in the network without its pruned features.

    The networks differ, so the restarts of one target are worked together, and targets one after the other.
    """
    each = [engine.run(_of_one(observation, target), settings, work) for target in range(observation.count())]
    return Reconstruction.joined(each)


def _of_one(observation: Observation, target: int) -> Observation:
    """The observation of one update, in its own network."""
    own = observation.some([target])
    return replace(own, model=without_pruned(observation.model, own.update[HEAD_WEIGHT][0]))
