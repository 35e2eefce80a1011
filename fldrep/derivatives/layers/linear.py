"""Linear: one matrix for the features of an image."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fldrep.derivatives.layer import Gradient, Layer, NoRule, Passes, Shape, as_it_is, each, layer
from fldrep.derivatives.network import Names
from fldrep.derivatives.rows import Patches, Record


@layer(nn.Linear)
class Linear(Layer):
    """The rules of `nn.Linear`."""

    def passes(self, names: Names, shape: Shape) -> Passes:
        """Shared weights and a problem's own alike as matrix products."""
        if len(shape) != 1:
            raise NoRule("Linear on more than one axis")
        own = self.own(names)
        return Passes(self._run(own), (self.module.out_features,), dict.fromkeys(own.values(), as_it_is))

    def _run(self, own: dict[str, str]):
        weight, bias = self.module.weight.detach(), self.module.bias
        bias = None if bias is None else bias.detach()
        own_weight, own_bias = own["weight"], own.get("bias")

        def gradients(g: Tensor, x: Tensor) -> dict[str, Tensor]:
            found = {own_weight: g.mT @ x}
            return found if bias is None else found | {own_bias: g.sum(1)}

        def run(x: Tensor, count: int):
            x_each = each(x, count)

            def back(gy: Tensor, needed: bool):
                gy_each = each(gy, count)

                def pull(dx: Tensor | None, v: Gradient):
                    dy = x_each @ v[own_weight].mT
                    dy = (dy if bias is None else dy + v[own_bias].unsqueeze(1)).flatten(0, 1)
                    dy = dy if dx is None else dy + F.linear(dx, weight)
                    return dy, lambda dgy: dgy @ weight + (gy_each @ v[own_weight]).flatten(0, 1)

                def push(dx: Tensor):
                    def push_back(dgy: Tensor, needed: bool):
                        down = gradients(each(dgy, count), x_each)
                        down[own_weight] = down[own_weight] + gy_each.mT @ each(dx, count)
                        return dgy @ weight if needed else None, down

                    return F.linear(dx, weight), push_back

                return gy @ weight if needed else None, gradients(gy_each, x_each), pull, push

            return F.linear(x, weight, bias), back

        return run

    def push(self, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """The matrix times both."""
        return F.linear(x, self.module.weight, self.module.bias), F.linear(dx, self.module.weight)

    def rows(self, x: Tensor) -> tuple[Tensor, list[Record]]:
        """The transposed matrix times the row."""
        if x.ndim != 2:
            raise NoRule("Linear on more than one axis")

        def pull(patches: Patches) -> Patches:
            return Patches((patches.values.flatten(1) @ self.module.weight)[..., None, None], 0, 0, patches.image)

        return self.module(x), [Record(x.shape[1:], pull)]

    def variance(self, values: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        """The squares of the matrix's entries times the variances."""
        return self.module(values), F.linear(variances, self.module.weight.square())

    def norm(self, x: Tensor) -> float:
        """The matrix's largest singular value."""
        return torch.linalg.matrix_norm(self.module.weight.double(), 2).item()
