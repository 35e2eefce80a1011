"""Batch norm as a client in training mode computes it, and what its running statistics tell of the client's batch.

A client that trains normalises by the mean and the variance of its own batch, and moves the running statistics towards
these by a known share. FedAvg sends them along with the weights, so a server that knows what they were before reads
the mean and the variance of the batch in every batch norm.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fldrep.errors import ConfigError
from fldrep.functional import functional_call
from fldrep.models.model import Model


class TrainingBatchNorm(nn.Module):
    """A batch norm in training mode, whatever mode it is in. Its running statistics are those it was sent with."""

    def __init__(self, norm: _BatchNorm):
        """Args: norm: with running statistics; its parameters and buffers are shared."""
        super().__init__()
        self.weight, self.bias, self.eps, self.momentum = norm.weight, norm.bias, norm.eps, norm.momentum
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))

    def forward(self, images: Tensor) -> Tensor:
        """Shape: (B, C, ...) -> same. By hand, since torch's own has no right second derivative under `torch.func`."""
        among = [axis for axis in range(images.ndim) if axis != 1]
        column = [-1 if axis == 1 else 1 for axis in range(images.ndim)]
        centred = images - images.mean(among, keepdim=True)
        standard = centred * (centred.square().mean(among, keepdim=True) + self.eps).rsqrt()
        if self.weight is None:
            return standard
        return standard * self.weight.view(column) + self.bias.view(column)

    @property
    def share(self) -> float:
        """The share of the batch in the running statistics after a step."""
        return 1 / (1 + int(self.num_batches_tracked)) if self.momentum is None else self.momentum

    def after(self, moments: Tensor) -> Tensor:
        """The running statistics that are sent after a step on a batch of these moments. Shape: (2, C) -> same."""
        return (1 - self.share) * self._before() + self.share * moments

    def behind(self, sent: Tensor) -> Tensor:
        """The moments of the batch behind running statistics that were sent. Shape: (N, 2, C) -> same."""
        return (sent - (1 - self.share) * self._before()) / self.share

    def _before(self) -> Tensor:
        return torch.stack([self.running_mean, self.running_var])


def in_training_mode(model: Model) -> Model:
    """A copy of a network whose batch norms normalise by the batch, in eval mode otherwise.

    Errors: `ConfigError` where it has no batch norm with running statistics.
    """
    made = copy.deepcopy(model).eval()
    norms = [name for name, one in made.named_modules() if isinstance(one, _BatchNorm) and one.running_var is not None]
    if not norms:
        raise ConfigError("training_mode: True: the network has no batch norm with running statistics")
    for name in norms:
        made.set_submodule(name, TrainingBatchNorm(made.get_submodule(name)))
    return made


def moments_of(model: Model, images: Tensor) -> dict[str, Tensor]:
    """Mean and variance of each channel of what each batch norm is given, {its name: (2, C)}; differentiable by images.

    The variance is the one that running statistics hold, over n - 1. Shape: images (B, C, H, W), one batch.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str):
        def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            values = given[0].transpose(0, 1).flatten(1)
            found[name] = torch.stack([values.mean(1), values.var(1)])

        return hook

    norms = {name: one for name, one in model.named_modules() if isinstance(one, TrainingBatchNorm)}
    hooks = [one.register_forward_pre_hook(keep(name)) for name, one in norms.items()]
    fixed = {name: value.detach() for name, value in model.named_parameters()}
    try:
        functional_call(model, (fixed, dict(model.named_buffers())), (images,))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def sent_statistics(model: Model, images: Tensor) -> dict[str, Tensor]:
    """The running statistics that a client sends after one step. Shape: images (B, C, H, W) -> {name: (1, 2, C)}."""
    with torch.no_grad():
        return {name: model.get_submodule(name).after(one)[None] for name, one in moments_of(model, images).items()}


def moments_behind(model: Model, sent: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The moments of each client's batch, read off what it sent. Shape: {name: (N, 2, C)} -> same."""
    return {name: model.get_submodule(name).behind(value) for name, value in sent.items()}
