"""What the server sees: the update each client sends, and how far apart two updates are.

An update of N clients is a dict from parameter name to a tensor (N, *shape of the parameter).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from fldrep.config.updates import UpdateSettings
from fldrep.errors import ConfigError
from fldrep.functional import functional_call
from fldrep.models.model import Model

HEAD_WEIGHT = "head.weight"
HEAD_BIAS = "head.bias"


@dataclass(frozen=True)
class LocalSteps:
    """What a client does before it sends: SGD over its images in their order, in batches, `epochs` times.

    With `momentum` in [0, 1) a step goes along the gradient plus so much of the step before; the first has none before.
    """

    epochs: int
    batch_size: int
    lr: float
    momentum: float = 0.0

    @classmethod
    def of(cls, update: UpdateSettings) -> "LocalSteps | None":
        """Those behind an update, None where it is one gradient."""
        if update.local_epochs is None:
            return None
        return cls(update.local_epochs, update.batch_size, update.lr, update.momentum or 0.0)

    def batches(self, images: int) -> list[slice]:
        """The images of each step, in order."""
        starts = range(0, images, self.batch_size)
        return [slice(start, start + self.batch_size) for _ in range(self.epochs) for start in starts]

    def gradients(self, images: int) -> float:
        """How many gradients an update is the sum of: with momentum, a gradient counts in later steps, too.

        >>> LocalSteps(1, 1, 0.1).gradients(3), LocalSteps(1, 1, 0.1, momentum=0.5).gradients(3)
        (3.0, 4.25)
        """
        steps = len(self.batches(images))
        return float(sum(self.momentum**since for last in range(steps) for since in range(last + 1)))


def along(gradient: dict[str, Tensor], before: dict[str, Tensor] | None, momentum: float) -> dict[str, Tensor]:
    """The direction of a step of SGD, as torch's SGD has it: the gradient, plus `momentum` of the direction before.

    Args: before: None for the first step.
    """
    if before is None or not momentum:
        return gradient
    return {name: value + momentum * before[name] for name, value in gradient.items()}


class Update(dict[str, Tensor]):
    """Gradients of N clients by parameter name, (N, *shape), and which tensors a defense is known to have pruned.

    `defended` is `none`, `head` (columns of the last layer's weight) or `all`; `distorted`: whether entries were
    changed otherwise than by zeros, noise on all and one scale. Both are public, as an honest-but-curious server knows
    the protocol. `statistics`: running means and variances of batch norms after the step, {its name: (N, 2, C)}, which
    no defense changes; empty where none are sent. A plain dict does where these are not needed.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]],
        defended: str = "none",
        distorted: bool = False,
        statistics: Mapping[str, Tensor] | None = None,
    ):
        super().__init__(tensors)
        self.defended, self.distorted, self.statistics = defended, distorted, dict(statistics or {})


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy. Shapes: logits (B, classes), labels (B,), or (B, classes) of probabilities -> ()."""
    return nn.functional.cross_entropy(logits, labels)


def update_gradients(
    model: Model, images: Tensor, labels: Tensor, chunk: int | None = None, local: LocalSteps | None = None
) -> dict[str, Tensor]:
    """The gradient of the mean loss of each update, differentiable with respect to images and soft labels.

    Shapes: images (N, B, C, H, W), labels (N, B) or (N, B, classes) -> {name: (N, *shape)}.
    Args: chunk: updates worked at once (all if not given); local: several steps of SGD instead of one gradient; the
    update is then the weights before less those after, over lr: the sum of the steps' gradients, as momentum has it.
    """
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, (weights, buffers), (image,)), label)

    def change(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> dict[str, Tensor]:
        start, slope = weights, None
        for one in local.batches(len(image)):
            slope = along(grad(loss)(weights, image[one], label[one]), slope, local.momentum)
            weights = {name: value - local.lr * slope[name] for name, value in weights.items()}
        return {name: (value - weights[name]) / local.lr for name, value in start.items()}

    one_update = grad(loss) if local is None else change
    return vmap(one_update, in_dims=(None, 0, 0), chunk_size=chunk)(parameters, images, labels)


def client_update(model: Model, images: Tensor, labels: Tensor, local: LocalSteps | None = None) -> Update:
    """What clients would send undefended: the gradient of the mean cross entropy, one update an image (or a batch).

    Shapes: images (N, C, H, W), labels (N,): one update an image; images (N, B, C, H, W), labels (N, B): one a batch.
    Args: local: several steps of SGD instead of one gradient, see `update_gradients`.
    Returns {parameter name: (N, *shape)}, in the model's dtype.
    Errors: `ConfigError` where batch norm is in training mode (an update would depend on its neighbours).
    """
    require_fixed_statistics(model)
    images, labels = as_batches(images, labels)
    seen = update_gradients(model, images, labels, local=local)
    return Update({name: value.detach() for name, value in seen.items()})


def as_batches(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Updates of one image (N, C, H, W) as updates of B = 1 images (N, 1, C, H, W); updates of batches as they are."""
    if images.ndim == 4:
        return images.unsqueeze(1), labels.unsqueeze(1)
    if images.ndim == 5:
        return images, labels
    raise ConfigError(f"images have shape {tuple(images.shape)}; expected (N, C, H, W) or (N, B, C, H, W)")


def require_fixed_statistics(model: nn.Module) -> None:
    """Refuse batch norm in training mode. Errors: `ConfigError`."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            raise ConfigError(f"batch norm {name!r} is in training mode; call model.eval() first")


def clipped(update: Mapping[str, Tensor], norm: float | None) -> Mapping[str, Tensor]:
    """Each client's update scaled down to at most this L2 norm over all its tensors; None leaves it as it is.

    Half precision is squared and scaled in float32, where squares neither overflow nor vanish.
    """
    if norm is None:
        return update
    wide = {name: values.to(torch.promote_types(values.dtype, torch.float32)) for name, values in update.items()}
    squares = sum(values.flatten(1).square().sum(1) for values in wide.values())
    factor = (norm / squares.sqrt()).clamp_max(1)  # a zero update has factor min(inf, 1)
    scaled = {name: values * factor.view(-1, *[1] * (values.ndim - 1)) for name, values in wide.items()}
    return {name: values.to(update[name].dtype) for name, values in scaled.items()}


def squared_distance(trial: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> Tensor:
    """Sum of squared differences over the tensors of `trial`. Shapes: {name: (N, *shape)} twice -> (N,)."""
    return sum((trial[name] - seen[name]).flatten(1).square().sum(1) for name in trial)


def cosine_distance(trial: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> Tensor:
    """1 - cosine over all tensors of `trial` jointly. Shapes: {name: (N, *shape)} twice -> (N,), in [0, 2].

    Source: Geiping et al. 2020, arXiv:2003.14053. An update that is zero everywhere has distance 1.
    """
    dot = sum((trial[name] * seen[name]).flatten(1).sum(1) for name in trial)
    norms = [sum(one[name].flatten(1).square().sum(1) for name in trial) for one in (trial, seen)]
    tiny = torch.finfo(dot.dtype).tiny
    return 1 - dot / (norms[0].clamp_min(tiny).sqrt() * norms[1].clamp_min(tiny).sqrt())
