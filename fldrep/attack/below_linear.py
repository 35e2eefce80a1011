"""Attacks on what lies below the lowest linear layer with a bias, whatever is done behind it.

For one image the gradient of such a layer, z = W a + b, is dL/dW = d a' and dL/db = d. So the update tells what the
layer was given, a, and what came back through it, c = W' d, exactly: no matter what stands behind, such as noise that a
client draws (PRECODE), features that it prunes, or layers that cannot be inverted. The network up to this layer is
attacked by itself, a different one for each update: with a last layer of one logit along c and one that is always 0,
and soft labels at which the cross entropy's slope at a is c, it has the gradients that were sent.

Sources: Balunović et al. 2022, arXiv:2111.04706, by their code for PRECODE: the first layer's weight gradient over its
bias gradient is the image of a fully connected network. Scheliga et al. 2022, arXiv:2208.04767: a descent that leaves
the gradients behind out. To go on below with what was read, by any optimiser, is this project's.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from fldrep import registry
from fldrep.attack import engine
from fldrep.attack.engine import Work
from fldrep.attack.labels import labels_for
from fldrep.attack.observation import Observation, lowest_linear
from fldrep.attack.reconstruction import Reconstruction
from fldrep.config.attacks import AttackSettings
from fldrep.config.needs import lacks
from fldrep.errors import AttackRefused
from fldrep.models.model import Model
from fldrep.models.updates import HEAD_BIAS, HEAD_WEIGHT


def run(observation: Observation, settings: AttackSettings, work: Work) -> Reconstruction:
    """Attack each update by itself, in the network up to the layer.

    Errors: `AttackRefused` where the optimiser cannot do with that part of the network, or naming the targets whose
    update tells nothing there.
    """
    labels = labels_for(settings.labels, observation)[:, 0]
    _require_slopes(observation, settings)
    asked = registry.entry("optimiser", settings.optimiser).words.get("needs", [])
    known, found = settings.model_copy(update={"labels": "known"}), []
    for target in range(observation.count()):
        below = part_of(replace(observation, labels=labels).some([target]))
        for _, needed, instead in lacks(asked, below.public, below.sent, below.structure):
            raise AttackRefused(
                f"attack {settings.title!r} needs {needed}, but what is below the linear layer {instead}"
            )
        found.append(engine.run(below, known, work))
    return Reconstruction.joined(found)


def told_by(weight: Tensor, bias: Tensor) -> Tensor:
    """What a linear layer was given, from its gradients (K, F) and (K,), in float64. Shape: -> (F,).

    >>> slope, given = torch.tensor([2.0, -1.0]), torch.tensor([3.0, 4.0, 5.0])
    >>> told_by(torch.outer(slope, given), slope)
    tensor([3., 4., 5.], dtype=torch.float64)
    """
    weight, bias = weight.double(), bias.double()
    return bias @ weight / bias.square().sum()


def part_of(observation: Observation) -> Observation:
    """What was observed of the part of the network up to the layer, as of a network of its own. Of one update."""
    place, linear = lowest_linear(observation.model)
    names = {id(value): name for name, value in observation.model.named_parameters()}
    weight, bias = (observation.update[names[id(one)]][0] for one in (linear.weight, linear.bias))
    values, back = told_by(weight, bias), linear.weight.detach().double().T @ bias.double()
    size = back.norm()
    head = nn.Linear(linear.in_features, 2).to(linear.weight).requires_grad_(linear.weight.requires_grad)
    with torch.no_grad():
        head.weight.copy_(torch.stack([back / size, torch.zeros_like(back)]))
        head.bias.zero_()
    slopes = torch.stack([size, -size])
    soft = nn.functional.linear(values, head.weight.detach().double()).softmax(0) - slopes
    model = Model(observation.model.body[:place], head, observation.shape).eval()
    own = {name: observation.update[names[id(one)]] for name, one in model.body.named_parameters(prefix="body")}
    own[HEAD_WEIGHT] = torch.outer(slopes, values)[None].to(weight)
    own[HEAD_BIAS] = slopes[None].to(weight)
    return replace(observation, model=model, update=own, zeros="none", soft=soft[None, None])


def _require_slopes(observation: Observation, settings: AttackSettings) -> None:
    """Errors: `AttackRefused` naming the targets at which nothing came back to the layer."""
    _, linear = lowest_linear(observation.model)
    names = {id(value): name for name, value in observation.model.named_parameters()}
    silent = (observation.update[names[id(linear.bias)]] == 0).all(1).nonzero()[:, 0].tolist()
    if silent:
        reason = "tells nothing below its lowest linear layer with a bias: the gradient there is zero"
        raise AttackRefused(f"attack {settings.title!r}: target {silent[0]} {reason}", dict.fromkeys(silent, reason))
