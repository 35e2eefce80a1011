"""The floors of updates beside those of the same images sent without a defense."""

import pandas as pd

from fldrep.analysis.rows import PAIR, SETTING, updates_of

# Normalised MSE below which an image is recognised: measured on CIFAR-10, where it goes with an SSIM of about 0.75.
RECOGNISED = 0.1


def least_floor(identifiability: pd.DataFrame) -> pd.Series:
    """The smaller floor of the two priors: what is left to the attacker whose prior fits the image better.

    An update of rank 0 leaves all of the prior's variance, also where it has no noise to be weighed by.
    """
    floor = identifiability[["floor", "floor_spectral"]].astype(float).min(axis=1)
    return floor.mask(identifiability["rank"].eq(0), identifiability["prior_std"].astype(float) ** 2)


def times_undefended(identifiability: pd.DataFrame) -> pd.Series:
    """Least floor over that of the same target sent without a defense; NaN where one of the two is missing.

    Both are the least of the two priors, as the verdicts compare them: an attacker may choose the prior in both cases.
    """
    same, floor = [*SETTING, *PAIR], least_floor(identifiability)
    plain = identifiability.assign(_floor=floor)[identifiability["method"] == "none"].drop_duplicates(same)
    return floor / plain.set_index(same)["_floor"].reindex(pd.MultiIndex.from_frame(identifiability[same])).to_numpy()


def one_an_update(identifiability: pd.DataFrame) -> pd.DataFrame:
    """One row an update, of those that have a rank; an update of several images has one of its own in each row."""
    ranked = identifiability[identifiability["rank"].notna()]
    return ranked[~ranked.assign(_update=updates_of(ranked)).duplicated([*SETTING, "defense", "_update"])]
