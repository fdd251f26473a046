"""Averages with confidence intervals.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(arXiv:2108.13264), section 4: interquartile means and percentile bootstrap intervals.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import bootstrap, trim_mean

MANY_SEEDS = 5
"""With fewer seeds, quartiles are meaningless and the interval is too narrow."""

AT_ONCE = 100
"""Columns that are resampled at once: each takes 16 kB per seed."""


class Estimate(NamedTuple):
    """``low`` and ``high`` bound a 95 % interval; None if there is too little data."""

    value: float
    low: float | None = None
    high: float | None = None


def over_seeds(scores: Float[ndarray, " S"]) -> Estimate:
    """The interquartile mean with an interval from `MANY_SEEDS` seeds on, else only the mean."""
    (estimate,) = over_seeds_each(scores[:, np.newaxis])
    return estimate


def over_seeds_each(scores: Float[ndarray, "S N"]) -> list[Estimate]:
    """`over_seeds` of each column."""
    if len(scores) < MANY_SEEDS:
        return [Estimate(value) for value in centres(scores).tolist()]
    return _with_interval(_interquartile_mean, scores)


def centres(scores: Float[ndarray, "S N"]) -> Float[ndarray, " N"]:
    """The values of `over_seeds_each`, without intervals."""
    statistic = np.mean if len(scores) < MANY_SEEDS else _interquartile_mean
    return statistic(np.ascontiguousarray(scores.T), axis=-1)


def mean(values: Sequence[float]) -> Estimate:
    """The mean, with an interval from two values on."""
    (estimate,) = _with_interval(np.mean, np.array(values, dtype=np.float64)[:, np.newaxis])
    return estimate


def _interquartile_mean(values: Float[ndarray, "... S"], axis: int = -1) -> Float[ndarray, "..."]:
    return trim_mean(values, 0.25, axis=axis)


def _with_interval(statistic: Callable[..., Any], values: Float[ndarray, "S N"]) -> list[Estimate]:
    """Of each column; all are resampled at once, by the same draws."""
    columns = np.ascontiguousarray(values.T)
    found = [Estimate(value) for value in statistic(columns, axis=-1).tolist()]
    if len(values) < 2:
        return found
    for start in range(0, len(found), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        interval = bootstrap(
            (columns[some],),
            statistic,
            axis=-1,
            n_resamples=2000,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(0),
        ).confidence_interval
        bounds = zip(found[some], interval.low.tolist(), interval.high.tolist(), strict=True)
        found[some] = [Estimate(one.value, low, high) for one, low, high in bounds]
    same = np.ptp(columns, axis=-1) == 0  # every resample is the sample, but for rounding
    return [
        Estimate(one.value, one.value, one.value) if equal else one
        for one, equal in zip(found, same, strict=True)
    ]
