"""The percentile of NumPy, on any device and without a limit on size."""

import math

import torch
from torch import Tensor


def percentile(values: Tensor, share: float) -> Tensor:
    """The value below which a share of the values lies, linearly interpolated as `numpy.percentile` does by default.

    Shape: (..., K) -> (...). Args: share in [0, 1]. A row that holds a NaN has the percentile NaN.
    (`torch.quantile` refuses more than 16 million values.)

    >>> percentile(torch.tensor([0.0, 10.0, 20.0]), 0.75)
    tensor(15.)
    """
    position = share * (values.shape[-1] - 1)
    below = math.floor(position)
    low = values.kthvalue(below + 1).values
    high = values.kthvalue(min(below + 2, values.shape[-1])).values
    found = torch.lerp(low, high, position - below)
    return torch.where(values.isnan().any(-1), torch.nan, found)
