"""||dr_i/dX|| from one extra forward pass: a variance of 1 on every pixel, pushed through the network.

If the pixels were independent with variance 1, a linear map J would give feature i the variance ||J_i||^2. Layer by
layer, correlations between units are ignored: exact behind one linear layer, an estimate behind more.
"""

import torch
from torch import Tensor

from fldrep.derivatives.network import Network
from fldrep.derivatives.trust import rules_of


def features_and_variances(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """r and an estimate of ||dr_i/dX||^2. Shape: (N, C, H, W) -> (N, F) twice.

    Batch norm uses its running statistics, whatever mode it is in.
    Errors: `NoRule` naming a layer that has none.
    """
    return rules_of(network, images.shape[1:]).variance(images, torch.ones_like(images))
