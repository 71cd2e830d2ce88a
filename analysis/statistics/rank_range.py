"""Which ranks an entry may have, given the spread of every entry that it competes with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from analysis.statistics.intervals import CONFIDENCE, Floats

# Entries of equally large groups are compared at once, this many pairs at a time.
_PAIRS = 4_000_000


def rank_range(
    score: npt.ArrayLike, sd: npt.ArrayLike, n: npt.ArrayLike, group: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Best and worst rank (1 = highest score) that pairwise tests leave to each entry of a group of k.

    score, sd (ddof 1), n: one per entry; group: whole numbers. An entry's best rank is one more than the number of
    entries that are significantly better, its worst k less those significantly worse, by Welch's two-sided t tests at
    (1 - confidence) / (k - 1): the range holds the true rank with at least `confidence`, one entry at a time. NaN where
    an entry has fewer than two values or no spread; such an entry is told from no other. NaN scores have no rank and
    compete with nobody.
    """
    score, sd, n = (np.asarray(values, np.float64) for values in (score, sd, n))
    low, high = np.full(score.shape, np.nan), np.full(score.shape, np.nan)
    ranked = np.flatnonzero(~np.isnan(score))
    # Sorted by group, the entries of each stand together; groups of one size then form a matrix.
    ranked = ranked[np.argsort(np.asarray(group)[ranked], kind="stable")]
    _, starts, sizes = np.unique(np.asarray(group)[ranked], return_index=True, return_counts=True)
    for size in np.unique(sizes):
        rows = ranked[starts[sizes == size][:, None] + np.arange(size)]
        step = max(1, _PAIRS // int(size) ** 2)
        for first in range(0, len(rows), step):
            block = rows[first : first + step]
            low[block], high[block] = _of_groups(score[block], sd[block], n[block], 1 - confidence)
    return low, high


def _of_groups(score: Floats, sd: Floats, n: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Of arrays (groups, entries)."""
    size = score.shape[1]
    known = (n >= 2) & (sd > 0)
    error = np.where(known, sd**2 / np.maximum(n, 2), np.nan)
    part = error**2 / np.maximum(n - 1, 1)
    variance = error[:, :, None] + error[:, None, :]
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = variance**2 / (part[:, :, None] + part[:, None, :])
        distance = score[:, None, :] - score[:, :, None]
        apart = 2 * stdtr(freedom, -np.abs(distance) / np.sqrt(variance)) < alpha / max(size - 1, 1)
    best = 1.0 + (apart & (distance > 0)).sum(axis=2)
    worst = size - (apart & (distance < 0)).sum(axis=2)
    return np.where(known, best, np.nan), np.where(known, worst, np.nan)
