"""Flatten: the same entries in one axis."""

from torch import Tensor, nn

from fldrep.derivatives.layer import Layer, NoRule, Passes, Shape, layer, output_shape, without_weights
from fldrep.derivatives.network import Names
from fldrep.derivatives.rows import Patches, Record, as_maps


@layer(nn.Flatten)
class Flatten(Layer):
    """The rules of `nn.Flatten`."""

    def passes(self, names: Names, shape: Shape) -> Passes:
        """All in its shape."""

        def forward(x: Tensor):
            def unflatten(g: Tensor) -> Tensor:
                return g.reshape(x.shape)

            return self.module(x), self.module, unflatten, None

        return Passes(without_weights(forward), output_shape(self.module, shape))

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """Both flattened."""
        return self.module(x), self.module(dx)

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """The same unit, at its place in the maps."""
        if (self.module.start_dim, self.module.end_dim) not in ((1, -1), (1, x.ndim - 1)):
            raise NoRule("Flatten of other axes than all")
        maps = as_maps(x.shape[1:])

        def pull(patches: Patches) -> Patches:
            return Patches(patches.values.reshape(-1, *maps), 0, 0, patches.image)

        return self.module(x), [Record(x.shape[1:], pull, lambda units, factors: (units, factors))]

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """Both flattened."""
        return self.module(values), self.module(variances)

    def norm(self, x: Tensor) -> float:
        """A distance stays what it is."""
        return 1.0
