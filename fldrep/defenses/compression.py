"""Gradient compression: only the large entries of each tensor are sent.

Source: Lin et al. 2018, arXiv:1712.01887, without its momentum and error feedback; as a defense: Zhu et al. 2019,
arXiv:1906.08935.
"""

from torch import Tensor

from fldrep.config.defenses import DefenseSettings
from fldrep.defenses.client import Client
from fldrep.defenses.percentile import percentile
from fldrep.models.updates import Update


def compress(update: Update, settings: DefenseSettings, client: Client) -> Update:
    """Zero, per client and tensor, the entries whose magnitude lies below the percentile `settings.rate`."""
    return Update(
        {name: largest_entries(values, settings.rate) for name, values in update.items()}, settings.defended_layers
    )


def largest_entries(values: Tensor, rate: float) -> Tensor:
    """Values with those zeroed whose magnitude lies below the percentile of their row. Shape: (N, ...) -> same.

    Args: rate in [0, 1], the share to zero. An entry at the percentile is kept.
    """
    kept = values.clone()
    for one in kept:  # row by row: the order statistics need as much memory again as what they look at
        magnitudes = one.abs()
        one[magnitudes < percentile(magnitudes.flatten(), rate)] = 0
    return kept


DEFENSES = {"compression": compress}
