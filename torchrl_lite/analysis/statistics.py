"""Aggregates over seeds and tasks.

Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(arXiv:2108.13264): the interquartile mean, and intervals by a bootstrap that resamples the runs
of each task by themselves.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import bootstrap, trim_mean


class Estimate(NamedTuple):
    """``low`` and ``high`` are None where one run a task allows no interval."""

    value: float
    low: float | None
    high: float | None


def _interquartile_mean(*tasks: ndarray, axis: int = -1) -> Any:
    return trim_mean(np.concatenate(tasks, axis=axis), 0.25, axis=axis)


def _mean(values: ndarray, axis: int = -1) -> Any:
    return np.mean(values, axis=axis)


def interquartile_mean(
    scores: Sequence[Float[ndarray, " _"]], *, confidence: float = 0.95, resamples: int = 2000
) -> Estimate:
    """The mean of the middle half of all scores; ``scores`` has the runs of each task.

    The interval is the percentile interval of a stratified bootstrap.
    """
    return _estimate(_interquartile_mean, scores, confidence, resamples)


def mean(values: Sequence[float], *, confidence: float = 0.95, resamples: int = 2000) -> Estimate:
    """The mean with the percentile interval of a bootstrap."""
    return _estimate(_mean, [np.array(values, dtype=np.float64)], confidence, resamples)


def _estimate(
    statistic: Callable[..., Any],
    scores: Sequence[Float[ndarray, " _"]],
    confidence: float,
    resamples: int,
) -> Estimate:
    value = float(statistic(*scores))
    if min(len(runs) for runs in scores) < 2:
        return Estimate(value, None, None)
    if all(np.ptp(runs) == 0 for runs in scores):  # every resample is the sample
        return Estimate(value, value, value)
    interval = bootstrap(
        tuple(scores),
        statistic,
        confidence_level=confidence,
        n_resamples=resamples,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high))
