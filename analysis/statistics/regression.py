"""A straight line through one point per data set, and a rank correlation that assumes no line."""

from __future__ import annotations

import functools
import itertools
from math import factorial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.statistics.intervals import CONFIDENCE, Floats

PERMUTATIONS = 10_000
# 8! = 40,320 orders are enumerated; of more points PERMUTATIONS orders are drawn.
_MAX_ENUMERATED = 8
FEWEST = 3


class Line(NamedTuple):
    """Least squares y = intercept + slope x of n points; limits and two-sided p of the slope by t with n - 2 df.

    slope_without_min and slope_without_max: extremes of the slope when one point is left out; NaN where
    that may leave points of one x.
    """

    n: int
    slope: float
    slope_low: float
    slope_high: float
    intercept: float
    p: float
    slope_without_min: float
    slope_without_max: float


class Rank(NamedTuple):
    """Spearman's correlation and its permutation p, two-sided."""

    correlation: float
    p: float


def line(x: Floats, y: Floats, *, confidence: float = CONFIDENCE) -> Line:
    """The fit of all finite points; all but n is NaN for fewer than three, and where all x or all y are equal.

    One point per independent unit: a mean over seeds and methods, not each run. Runs of a data set share its x, and
    taken as independent they make two of three slopes of nothing significant.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    n = len(x)
    if n < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Line(n, *[float("nan")] * 7)
    fit = stats.linregress(x, y)
    half = float(stats.t.ppf((1 + confidence) / 2, n - 2)) * float(fit.stderr)
    slope, without = float(fit.slope), _leave_one_out_slopes(x, y)
    return Line(
        n, slope, slope - half, slope + half, float(fit.intercept), float(fit.pvalue), without.min(), without.max()
    )


def _leave_one_out_slopes(x: Floats, y: Floats) -> Floats:
    """Slope (n,) without each point; NaN where the others have one x."""
    keep = ~np.eye(len(x), dtype=np.bool_)
    n = len(x) - 1
    xs, ys = (np.broadcast_to(v, keep.shape)[keep].reshape(-1, n) for v in (x, y))
    xs = xs - xs.mean(axis=1, keepdims=True)
    flat = np.ptp(xs, axis=1) == 0
    return np.where(flat, np.nan, (xs * ys).sum(axis=1) / np.where(flat, 1.0, (xs**2).sum(axis=1)))


def spearman(x: Floats, y: Floats, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Rank:
    """Rank correlation of all finite points and its p over permutations: all of them for n <= 8, else drawn.

    p is twice the smaller tail, at most 1; drawn tails count the observed order once. NaN for fewer than three points
    and where all x or all y are equal. Three points reach no p below 1/3, four 1/12, five 1/60.
    """
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = stats.rankdata(x[finite]), stats.rankdata(y[finite])
    n = len(x)
    if n < FEWEST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Rank(float("nan"), float("nan"))
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    observed = float(x @ y) / scale
    if n <= _MAX_ENUMERATED:
        permuted, extra = y[_orders(n)] @ x / scale, 0
    else:
        permuted, extra = y[_drawn_orders(n, permutations, seed)] @ x / scale, 1
    # Equal correlations differ in their last digits.
    above = int((permuted >= observed - 1e-12).sum()) + extra
    below = int((permuted <= observed + 1e-12).sum()) + extra
    return Rank(observed, min(1.0, 2 * min(above, below) / (len(permuted) + extra)))


@functools.lru_cache(maxsize=8)
def _orders(n: int) -> npt.NDArray[np.int64]:
    every = itertools.chain.from_iterable(itertools.permutations(range(n)))
    return np.fromiter(every, np.int64, n * factorial(n)).reshape(-1, n)


@functools.lru_cache(maxsize=8)
def _drawn_orders(n: int, permutations: int, seed: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).permuted(np.tile(np.arange(n), (permutations, 1)), axis=1)
