"""Paired comparisons, a row of differences each: over the seeds of one data set, or over data sets.

`difference` is always (rows, units), NaN where a unit (seed or data set) has no pair; a row's result depends on that
row alone. Results are (rows,), NaN where nothing can be inferred. Equal numbers must be equal to the last digit to
count as ties: round sums before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import stdtr

from analysis.statistics.intervals import CONFIDENCE, Floats, t_interval

Ints = npt.NDArray[np.int64]
# As many pairs as scipy enumerates all signs of.
_MAX_ENUMERATED = 13
_SUMS_AT_ONCE = 2**22


class PairedT(NamedTuple):
    """n, mean and sd (ddof 1) of the differences, limits of the t interval, d_z = mean / sd, two-sided p."""

    n: Ints
    mean: Floats
    sd: Floats
    low: Floats
    high: Floats
    effect_size: Floats
    p: Floats


def paired_t(difference: Floats, *, confidence: float = CONFIDENCE) -> PairedT:
    """The paired t test of no difference and its interval; both are NaN if n < 2 or all differences are equal.

    Equal differences of all seeds say that the seed had no effect, not that the difference is known exactly.
    """
    count = np.isfinite(difference).sum(axis=1)
    mean, sd = np.full((2, len(difference)), np.nan)
    for rows, values in equal_counts(difference, fewest=1):
        mean[rows] = values.mean(axis=1)
        if values.shape[1] > 1:
            sd[rows] = np.where(np.ptp(values, axis=1) > 0, values.std(axis=1, ddof=1), 0.0)
    low, high = t_interval(mean, sd, count, confidence=confidence)
    spread = np.where(sd > 0, sd, np.nan)
    freedom = np.maximum(count - 1, 1)
    p = 2 * stdtr(freedom, -np.abs(mean) / spread * np.sqrt(count))
    return PairedT(count, mean, sd, low, high, mean / spread, p)


def wilcoxon(difference: Floats) -> Floats:
    """Two-sided p of the signed-rank test, as scipy's method "auto" gives it for each row alone.

    NaN without a difference other than 0. `smallest_p` is what n pairs can reach.
    Up to 50 pairs without ties and zeros, and up to 13 with, p is exact; zeros are left out (Wilcoxon 1945).
    """
    # Given many rows, scipy treats all as tied if one is, and then enumerates signs at 0.1 s a row of 10.
    p = np.full(len(difference), np.nan)
    for rows, values in equal_counts(difference):
        size = np.sort(np.abs(values), axis=1)
        tied = (size[:, 0] == 0) | (np.diff(size, axis=1) == 0).any(axis=1)
        if not tied.all():
            p[rows[~tied]] = stats.wilcoxon(values[~tied], axis=1).pvalue
        some = tied & (size[:, -1] > 0)
        if some.any():
            by_signs = values.shape[1] <= _MAX_ENUMERATED
            found = _enumerated(values[some]) if by_signs else stats.wilcoxon(values[some], axis=1).pvalue
            p[rows[some]] = found
    return p


def smallest_p(n: npt.ArrayLike) -> Floats:
    """The two-sided p of n differences of one sign, the smallest that a signed-rank test can give."""
    return np.asarray(np.minimum(2.0 ** (1 - np.asarray(n, np.float64)), 1))


def hodges_lehmann(difference: Floats, *, confidence: float = CONFIDENCE) -> tuple[Floats, Floats, Floats]:
    """Median of the Walsh averages (d_i + d_j) / 2, i <= j, and the limits that invert the signed-rank test.

    The limits are NaN where the test cannot reject: below 6 pairs at 95 %. With ties they hold at least as often as
    said. Hollander, Wolfe and Chicken 2014, section 3.2 and 3.3.
    """
    estimate, low, high = np.full((3, len(difference)), np.nan)
    for rows, values in equal_counts(difference):
        first, second = np.triu_indices(values.shape[1])
        walsh = np.sort((values[:, first] + values[:, second]) / 2, axis=1)
        estimate[rows] = np.median(walsh, axis=1)
        below = _signed_rank_quantile(values.shape[1], (1 - confidence) / 2)
        if below:
            low[rows], high[rows] = walsh[:, below - 1], walsh[:, -below]
    return estimate, low, high


def rank_biserial(difference: Floats) -> Floats:
    """Matched-pairs rank-biserial correlation in [-1, 1]: (rank sum above 0 - below 0) / their total, zeros left out.

    Kerby 2014, doi:10.2466/11.IT.3.1.
    """
    correlation = np.full(len(difference), np.nan)
    for rows, values in equal_counts(difference):
        ranks = _ranks(values)
        total = ranks.sum(axis=1)
        correlation[rows] = (np.sign(values) * ranks).sum(axis=1) / np.where(total > 0, total, np.nan)
    return correlation


def win_tie_loss(improvement: Floats, margin: Floats) -> tuple[Ints, Ints, Ints]:
    """Pairs better by more than the row's margin, within it, and worse by more; all of them 0 if the margin is NaN."""
    wins = (improvement > margin[:, None]).sum(axis=1)
    losses = (improvement < -margin[:, None]).sum(axis=1)
    ties = (np.abs(improvement) <= margin[:, None]).sum(axis=1)
    return wins, ties, losses


def share_better(improvement: Floats) -> Floats:
    """Share of pairs with an improvement above 0, plus half of those with none at all."""
    known = np.isfinite(improvement)
    score = np.where(known, (np.sign(improvement) + 1) / 2, 0.0).sum(axis=1)
    return np.asarray(score / np.where(known.any(axis=1), known.sum(axis=1), np.nan))


def equal_counts(difference: Floats, *, fewest: int = 2) -> Iterator[tuple[Ints, Floats]]:
    """For every number n of pairs, from the fewest on: the rows that have n, and their differences without the gaps."""
    known = np.isfinite(difference)
    count = known.sum(axis=1)
    for n in np.unique(count[count >= fewest]).tolist():
        rows = np.flatnonzero(count == n)
        order = np.argsort(~known[rows], axis=1, kind="stable")[:, :n]
        yield rows, np.take_along_axis(difference[rows], order, axis=1)


def _ranks(values: Floats) -> Floats:
    """Ranks of the absolute values, averaged over ties, among those that are not 0; 0 for zeros."""
    zero = values == 0
    ranks = stats.rankdata(np.abs(values), axis=1) - zero.sum(axis=1, keepdims=True)
    return np.where(zero, 0.0, ranks)


def _enumerated(values: Floats) -> Floats:
    """p over all sign patterns of the given ranks (ranks are multiples of 1/2, so their sums are exact)."""
    ranks = _ranks(values)
    observed = np.where(values > 0, ranks, 0.0).sum(axis=1)
    n = values.shape[1]
    patterns = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.float64)
    p = np.empty(len(values))
    step = max(1, _SUMS_AT_ONCE // 2**n)
    for start in range(0, len(values), step):
        rows = slice(start, start + step)
        sums = patterns @ ranks[rows].T
        tail = np.minimum((sums >= observed[rows]).mean(axis=0), (sums <= observed[rows]).mean(axis=0))
        p[rows] = np.minimum(2 * tail, 1)
    return p


def _signed_rank_quantile(n: int, probability: float) -> int:
    """Smallest q with P(rank sum of n pairs <= q) above the probability."""
    share = np.ones(1)
    for rank in range(1, n + 1):
        share = np.concatenate([share, np.zeros(rank)]) / 2 + np.concatenate([np.zeros(rank), share]) / 2
    return int(np.searchsorted(np.cumsum(share), probability, side="right"))
