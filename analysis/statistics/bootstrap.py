"""Bootstrap over the runs within each task: intervals of means, of aggregates over tasks, and performance profiles.

Tasks (or groups) are the strata: resamples draw runs with replacement inside a task and never between tasks, so the
intervals speak of these tasks and of new seeds. The bootstrap of few runs is too narrow, by sqrt((n - 1) / n) in
deviation: `inflate` widens the distribution by the inverse. Even then percentiles of three runs cover less than
Student's t (`intervals.t_interval`), which stays the interval of choice for a single mean.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from math import comb, factorial, prod, sqrt

import numpy as np
import numpy.typing as npt

from analysis.statistics.intervals import CONFIDENCE, Floats

RESAMPLES = 10_000
# (resamples, runs) of all tasks, and (resamples, tasks) means of each task's -> one number per resample.
Statistic = Callable[[Floats, Floats], Floats]
_CHUNK = 1 << 21


def mean_intervals(
    values: Floats,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    inflate: bool = True,
) -> tuple[Floats, Floats]:
    """Lower and upper bootstrap limit of the mean of every group.

    values (groups, runs), NaN where a run is missing. Limits are NaN for fewer than two runs and for equal ones. Where
    n runs have no more than `resamples` different resamples (n <= 8 of 10,000) the distribution is enumerated: exact,
    and the seed has no effect. Percentile intervals; Efron and Tibshirani 1993, chapter 13.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2:
        raise ValueError(f"values have shape {values.shape}: give one row per group, one column per run")
    present = np.isfinite(values)
    counts = present.sum(axis=1)
    low, high = np.full(len(values), np.nan), np.full(len(values), np.nan)
    # Runs before gaps, in order: the result depends on neither the place of a gap nor the order of the runs.
    values = np.sort(np.where(present, values, np.nan), axis=1)
    for n in np.unique(counts[counts >= 2]).tolist():
        rows = np.flatnonzero(counts == n)
        runs = values[rows, :n]
        rows, runs = rows[runs[:, 0] < runs[:, -1]], runs[runs[:, 0] < runs[:, -1]]
        if comb(2 * n - 1, n) <= resamples:
            found = _enumerated(runs, confidence)
        else:
            found = _drawn(runs, resamples, seed, confidence)
        means, factor = runs.mean(axis=1), sqrt(n / (n - 1)) if inflate else 1.0
        low[rows], high[rows] = (means + factor * (limit - means) for limit in found)
    return low, high


@functools.lru_cache(maxsize=16)
def _multisets(n: int) -> tuple[Floats, Floats]:
    """Every different resample of n runs: weights (resamples, n) that sum to 1, and its probability."""
    draws = np.array(list(itertools.combinations_with_replacement(range(n), n)), dtype=np.int64)
    counts = (draws[:, :, None] == np.arange(n)).sum(axis=1)
    ways = [factorial(n) / prod(map(factorial, row)) for row in counts.tolist()]
    return counts / n, np.array(ways) / n**n


def _enumerated(runs: Floats, confidence: float) -> tuple[Floats, Floats]:
    """The smallest means that are reached with at least the two tail probabilities."""
    weights, probabilities = _multisets(runs.shape[1])
    low, high = np.empty(len(runs)), np.empty(len(runs))
    step = max(1, _CHUNK // len(weights))
    for start in range(0, len(runs), step):
        means = runs[start : start + step] @ weights.T
        order = np.argsort(means, axis=1)
        reached = np.cumsum(probabilities[order], axis=1)
        means = np.take_along_axis(means, order, axis=1)
        for limits, tail in ((low, (1 - confidence) / 2), (high, (1 + confidence) / 2)):
            # Less a rounding error: a probability that is reached exactly counts as reached.
            first = np.argmax(reached >= tail - 1e-12, axis=1)
            limits[start : start + step] = means[np.arange(len(means)), first]
    return low, high


def _drawn(runs: Floats, resamples: int, seed: int, confidence: float) -> tuple[Floats, Floats]:
    """All groups share the drawn weights: every interval is right, only their errors of simulation are alike."""
    n = runs.shape[1]
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples) / n
    low, high = np.empty(len(runs)), np.empty(len(runs))
    step = max(1, _CHUNK // resamples)
    for start in range(0, len(runs), step):
        means = runs[start : start + step] @ drawn.T
        low[start : start + step], high[start : start + step] = _percentiles(means, confidence)
    return low, high


def _percentiles(resampled: Floats, confidence: float) -> tuple[Floats, Floats]:
    low, high = np.quantile(resampled, [(1 - confidence) / 2, (1 + confidence) / 2], axis=-1)
    return low, high


def mean(runs: Floats, task_means: Floats) -> Floats:
    """Mean of the task means."""
    return _mean(task_means)


def median(runs: Floats, task_means: Floats) -> Floats:
    """Median of the task means."""
    # Rows are short and many: sorting them is several times faster than selecting, here and below.
    middle = (task_means.shape[-1] - 1) // 2
    return _mean(np.sort(task_means, axis=-1)[..., middle : task_means.shape[-1] - middle])


def iqm(runs: Floats, task_means: Floats) -> Floats:
    """Interquartile mean: of all runs of all tasks together without a quarter (rounded down) at either end."""
    quarter = runs.shape[-1] // 4
    return _mean(np.sort(runs, axis=-1)[..., quarter : runs.shape[-1] - quarter])


def worst_quartile(runs: Floats, task_means: Floats) -> Floats:
    """Mean of the lowest quarter (rounded up) of the task means: what an interquartile mean hides."""
    return _mean(np.sort(task_means, axis=-1)[..., : -(-task_means.shape[-1] // 4)])


# Agarwal et al. 2021, arXiv:2108.13264, but for the last.
STATISTICS: Mapping[str, Statistic] = {"mean": mean, "iqm": iqm, "median": median, "worst_quartile": worst_quartile}


def _mean(values: Floats) -> Floats:
    means: Floats = values.mean(axis=-1)
    return means


def _task_means(runs: Floats, counts: npt.NDArray[np.int64]) -> Floats:
    if (counts == counts[0]).all():
        return runs.reshape(*runs.shape[:-1], len(counts), counts[0]) @ np.full(counts[0], 1 / counts[0])
    sums: Floats = np.add.reduceat(runs, np.concatenate([[0], np.cumsum(counts)[:-1]]), axis=-1)
    return sums / counts


def aggregate_interval(
    values: Floats,
    statistic: Statistic,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    inflate: bool = True,
) -> tuple[float, float, float]:
    """Estimate, lower and upper limit of one statistic of all tasks; the stratified percentile bootstrap over runs.

    values (tasks, runs), NaN where a run is missing; tasks without runs count nothing. Limits are NaN where every task
    has one run, or equal runs; the estimate too where there is no run at all. Agarwal et al. 2021, arXiv:2108.13264.
    """
    how = {"resamples": resamples, "seed": seed}
    return aggregate_intervals(values, {"": statistic}, **how, confidence=confidence, inflate=inflate)[""]


def aggregate_intervals(
    values: Floats,
    statistics: Mapping[str, Statistic] = STATISTICS,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    inflate: bool = True,
) -> dict[str, tuple[float, float, float]]:
    """As `aggregate_interval`, for several statistics of the same resamples."""
    values = np.asarray(values, np.float64)
    if values.ndim != 2:
        raise ValueError(f"values have shape {values.shape}: give one row per task, one column per run")
    values = np.sort(np.where(np.isfinite(values), values, np.nan), axis=1)
    counts = np.isfinite(values).sum(axis=1)
    values, counts = values[counts > 0], counts[counts > 0]
    if not counts.size:
        return dict.fromkeys(statistics, (np.nan, np.nan, np.nan))
    runs = values[np.isfinite(values)]
    task_means = _task_means(runs[None], counts)
    estimates = {name: float(statistic(runs[None], task_means)[0]) for name, statistic in statistics.items()}
    if not (values[:, 0] < np.nanmax(values, axis=1)).any():
        return {name: (estimate, np.nan, np.nan) for name, estimate in estimates.items()}
    factor, middle = widening(counts) if inflate else 1.0, np.array(list(estimates.values()))
    percentiles = _percentiles(_resampled(runs, counts, list(statistics.values()), resamples, seed), confidence)
    low, high = (middle + factor * (limits - middle) for limits in percentiles)
    return dict(zip(statistics, zip(middle.tolist(), low.tolist(), high.tolist(), strict=True), strict=True))


def _resampled(
    runs: Floats, counts: npt.NDArray[np.int64], statistics: Sequence[Statistic], resamples: int, seed: int
) -> Floats:
    """(statistics, resamples), in chunks of resamples that fit the cache."""
    found = np.empty((len(statistics), resamples))
    step = max(1, _CHUNK // len(runs))
    for start in range(0, resamples, step):
        chunk = slice(start, min(start + step, resamples))
        drawn = runs[_draws(tuple(counts.tolist()), chunk.stop - start, seed, start)]
        task_means = _task_means(drawn, counts)
        for row, statistic in zip(found, statistics, strict=True):
            row[chunk] = statistic(drawn, task_means)
    return found


# Methods that ran on the same tasks share their draws.
@functools.lru_cache(maxsize=4)
def _draws(counts: tuple[int, ...], resamples: int, seed: int, start: int) -> npt.NDArray[np.int64]:
    """Positions (resamples, runs) drawn with replacement within each task of runs that lie side by side."""
    sizes = np.repeat(counts, counts)
    first: npt.NDArray[np.int64] = np.repeat(np.cumsum(counts) - counts, counts)
    uniform = np.random.default_rng([seed, start]).random((resamples, len(sizes)), dtype=np.float32)
    within: npt.NDArray[np.int64] = (uniform * sizes.astype(np.float32)).astype(np.int64)
    return first + within


def widening(counts: npt.NDArray[np.int64]) -> float:
    """By what the bootstrap's deviation of a mean over tasks of equal variance is too small: sqrt(n / (n - 1)).

    counts: runs of each task. A task of one run, whose spread the bootstrap cannot see, counts as if it had that of
    the others. NaN where all tasks have one.
    """
    inverse = 1 / np.asarray(counts, np.float64)
    seen = float((inverse * (1 - inverse)).sum())
    return sqrt(float(inverse.sum()) / seen) if seen > 0 else float("nan")
