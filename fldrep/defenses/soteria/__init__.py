"""Soteria: prune the features of the last layer's input that tell most about the image."""

from fldrep.defenses.soteria.masks import column_mask, mask_agreement, training_mask
from fldrep.defenses.soteria.prune import DEFENSES
from fldrep.defenses.soteria.rates import rates_of_update

__all__ = ["DEFENSES", "column_mask", "mask_agreement", "rates_of_update", "training_mask"]
