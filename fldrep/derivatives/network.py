"""What derivatives ask of a model: its features, its last layer, and the names of its parameters."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fldrep.errors import ConfigError

# The name of each parameter by the identity of its tensor: a parameter that two layers share has one name.
Names = dict[int, str]


@dataclass(frozen=True)
class Network:
    """A module that turns images into logits, seen from its last layer.

    `module`: (N, C, H, W) -> (N, classes); an update has the names of its parameters. `features`: (N, C, H, W) -> r
    (N, F), and `head`: r -> logits. `body` is the module whose layers `features` runs through, None where that is not
    known: then no rule is used, and autograd does everything.
    """

    module: nn.Module
    features: Callable[[Tensor], Tensor]
    head: nn.Linear
    body: nn.Module | None = None

    @classmethod
    def of(cls, model) -> "Network":
        """A network as it is; else a module with `features`, `head` and `body`."""
        return model if isinstance(model, cls) else cls(model, model.features, model.head, model.body)

    def represent(self, images: Tensor) -> Tensor:
        """r; a first layer that works in place leaves the images as they are. Shape: (N, C, H, W) -> (N, F)."""
        return self.features(images.clone())

    @property
    def names(self) -> Names:
        """The names of the parameters."""
        return {id(value): name for name, value in self.module.named_parameters()}

    def in_float64(self, device: str | torch.device | None = None) -> "Network":
        """A copy in float64, on another device if given; what was shared still is."""
        made = copy.deepcopy(self)
        for part in (made.module, made.features, made.head, made.body):
            if isinstance(part, nn.Module):
                part.to(device, torch.float64)
        return made


@contextmanager
def fixed_statistics(model) -> Iterator[None]:
    """Every layer is in evaluation mode inside the block, and is left as it was.

    Batch norm then uses its running statistics, so that images do not mix.
    Errors: `ConfigError` for batch norm that has none.
    """
    modules = list(Network.of(model).module.named_modules())
    for name, module in modules:
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_var is None:
            raise ConfigError(f"batch norm {name!r} has no running statistics: it mixes the images of a batch")
    training = [module for _, module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
