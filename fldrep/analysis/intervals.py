"""Medians, means and shares with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_FOR_INTERVAL = 8


RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A median of n values, and its 95 % interval where n is large enough to have one."""

    n: int
    median: float
    low: float | None = None
    high: float | None = None


def median_interval(values: Sequence[float], seed: int = 0, groups: Sequence[int] | None = None) -> Estimate:
    """The median (mean of the two middle values) and its 95 % percentile bootstrap interval over the values.

    Args: groups: the update that each value is of, where updates hold several images: these are not independent, so
    whole updates are drawn. Fewer than 8 values (or updates) have no interval; none have the median NaN. The same
    values and seed give the same interval. Source: Efron & Tibshirani 1993, percentile method, 2000 resamples.

    >>> median_interval([1.0, 2.0, 4.0, 9.0])
    Estimate(n=4, median=3.0, low=None, high=None)
    """
    return _estimate("median", values, seed, groups)


def mean_interval(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean, in the place of a median, and its 95 % bootstrap interval: for what a theorem says of a mean.

    >>> mean_interval([1.0, 2.0, 6.0])
    Estimate(n=3, median=3.0, low=None, high=None)
    """
    return _estimate("mean", values, seed, None)


def _estimate(statistic: str, values: Sequence[float], seed: int, groups: Sequence[int] | None) -> Estimate:
    values = np.asarray(values, dtype=float)
    if not len(values):
        return Estimate(0, float("nan"))
    return Estimate(len(values), float(getattr(np, statistic)(values)), *_bootstrap(statistic, values, seed, groups))


def _bootstrap(
    statistic: str, values: np.ndarray, seed: int, groups: Sequence[int] | None
) -> tuple[float | None, float | None]:
    """Both ends of the interval, None where there are too few groups; no groups: each value is one."""
    from scipy import stats  # half a second, for the few jobs that draw intervals

    numbers = np.arange(len(values)) if groups is None else np.unique(groups, return_inverse=True)[1]
    sizes = np.bincount(numbers)
    if len(sizes) < LEAST_FOR_INTERVAL:
        return None, None
    order = np.argsort(numbers, kind="stable")
    table = np.full((len(sizes), sizes.max()), np.nan)  # a row a group, filled from the left
    table[np.arange(sizes.max()) < sizes[:, None]] = values[order]
    of_each = getattr(np, f"nan{statistic}" if np.isnan(table).any() else statistic)

    def of_groups(drawn: np.ndarray, axis: int) -> np.ndarray:
        return of_each(table[np.moveaxis(drawn, axis, -1)], axis=(-2, -1))

    resampled = stats.bootstrap(
        (np.arange(len(sizes)),),
        of_groups,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    )
    return tuple(map(float, resampled.confidence_interval))


def share_interval(outcomes: Sequence[bool], groups: Sequence[int] | None = None) -> Estimate:
    """The share of outcomes that are true, in the place of a median, and its 95 % interval.

    Args: groups: the update that each outcome is of; the interval is then as wide as if the outcomes of an update were
    always alike. Source: Wilson 1927, score interval. Fewer than 8 outcomes (or updates) have no interval, as for
    `median_interval`.

    >>> share_interval([True, False, False, False])
    Estimate(n=4, median=0.25, low=None, high=None)
    """
    from scipy import special

    count = len(outcomes)
    if not count:
        return Estimate(0, float("nan"))
    share, n = float(np.mean(outcomes)), count if groups is None else len(np.unique(groups))
    if n < LEAST_FOR_INTERVAL:
        return Estimate(count, share)
    z = special.ndtri(0.975)
    middle, shrink = share + z**2 / (2 * n), 1 + z**2 / n
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return Estimate(count, share, float(max((middle - half) / shrink, 0)), float(min((middle + half) / shrink, 1)))
