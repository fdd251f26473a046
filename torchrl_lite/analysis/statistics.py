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


class Estimate(NamedTuple):
    """``low`` and ``high`` bound a 95 % interval; None if there is too little data."""

    value: float
    low: float | None = None
    high: float | None = None


def over_seeds(scores: Float[ndarray, " S"]) -> Estimate:
    """The interquartile mean with an interval from `MANY_SEEDS` seeds on, else only the mean."""
    if len(scores) < MANY_SEEDS:
        return Estimate(float(np.mean(scores)))
    return _with_interval(lambda x, axis=-1: trim_mean(x, 0.25, axis=axis), scores)


def mean(values: Sequence[float]) -> Estimate:
    """The mean, with an interval from two values on."""
    return _with_interval(np.mean, np.array(values, dtype=np.float64))


def _with_interval(statistic: Callable[..., Any], values: Float[ndarray, " N"]) -> Estimate:
    value = float(statistic(values))
    if len(values) < 2:
        return Estimate(value)
    if np.ptp(values) == 0:  # every resample is the sample
        return Estimate(value, value, value)
    interval = bootstrap(
        (values,),
        statistic,
        n_resamples=2000,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))
