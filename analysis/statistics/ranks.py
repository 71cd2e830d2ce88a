"""Many methods over data sets: the omnibus test, correction for many pairs, and the groups that no pair tells apart."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.special import fdtrc

from analysis.statistics.equivalence import ALPHA
from analysis.statistics.intervals import Floats
from analysis.statistics.paired import Ints


class Omnibus(NamedTuple):
    """Friedman's chi2 with k - 1 degrees of freedom, and the F of Iman and Davenport with df1 and df2."""

    chi2: float
    p_chi2: float
    f: float
    df1: int
    df2: int
    p: float


def holm(p: npt.ArrayLike, family: npt.ArrayLike | None = None) -> tuple[Floats, Ints]:
    """p corrected within its family (all are one by default), and the number of tests in each one's family.

    At any truth, the chance of a false rejection anywhere in a family stays at the level. NaN is no test: it stays NaN
    and does not count. Holm 1979, Scandinavian Journal of Statistics 6.
    """
    p = np.asarray(p, np.float64)
    group = np.zeros(len(p), np.int64) if family is None else np.unique(np.asarray(family), return_inverse=True)[1]
    test = np.isfinite(p)
    size = np.bincount(group, weights=test).astype(np.int64)
    order = np.lexsort((p, group))
    order = order[test[order]]
    first = np.concatenate([[0], np.cumsum(size)])[group[order]]
    steps = size[group[order]] - (np.arange(len(order)) - first)
    corrected = np.full(len(p), np.nan)
    corrected[order] = pd.Series(p[order] * steps).groupby(group[order]).cummax().clip(upper=1)
    return corrected, size[group]


def friedman(scores: Floats) -> Omnibus:
    """Do k methods differ over N data sets? scores (N, k), all finite; ties share their mean rank.

    Iman and Davenport 1980 keep the level where chi2 is too careful (Demsar 2006, JMLR 7). What is not defined is NaN:
    all of it if every data set ties all methods, f and p if every data set has the same ranks. Raises ValueError on
    fewer than 3 methods or 2 data sets.
    """
    n, k = scores.shape
    if k < 3 or n < 2:
        raise ValueError(f"{k} methods on {n} data sets: the Friedman test needs 3 methods and 2 data sets")
    df1, df2 = k - 1, (k - 1) * (n - 1)
    if not np.ptp(scores, axis=1).any():
        return Omnibus(np.nan, np.nan, np.nan, df1, df2, np.nan)
    chi2, p_chi2 = map(float, stats.friedmanchisquare(*scores.T))
    rest = n * df1 - chi2
    if rest < 1e-9 * n * df1:
        return Omnibus(chi2, p_chi2, np.nan, df1, df2, np.nan)
    f = (n - 1) * chi2 / rest
    return Omnibus(chi2, p_chi2, f, df1, df2, float(fdtrc(df1, df2, f)))


def critical_difference_groups(p: Floats, *, alpha: float = ALPHA) -> list[str]:
    """Letters of the k methods: two share one exactly if p (k, k), symmetric and corrected, is not below alpha.

    A letter is a largest set of methods that no pair tells apart (the bars of a critical-difference diagram). Letters
    are given in the order of the methods, so put the best first. NaN does not tell apart.
    """
    alike = ~(p < alpha)
    np.fill_diagonal(alike, True)
    neighbours = [frozenset(np.flatnonzero(row).tolist()) - {i} for i, row in enumerate(alike)]
    groups = sorted(map(sorted, _cliques(frozenset(), frozenset(range(len(p))), frozenset(), neighbours)))
    found = [""] * len(p)
    for i, group in enumerate(groups):
        for method in group:
            found[method] += string.ascii_letters[i] if i < len(string.ascii_letters) else f"({i})"
    return found


def _cliques(
    chosen: frozenset[int], open_: frozenset[int], seen: frozenset[int], neighbours: list[frozenset[int]]
) -> Iterator[frozenset[int]]:
    """Maximal cliques that hold `chosen`, some of `open_` and none of `seen` (Bron and Kerbosch 1973, with a pivot)."""
    if not open_ and not seen:
        yield chosen
        return
    pivot = max(open_ | seen, key=lambda i: len(open_ & neighbours[i]))
    for i in sorted(open_ - neighbours[pivot]):
        yield from _cliques(chosen | {i}, open_ & neighbours[i], seen & neighbours[i], neighbours)
        open_, seen = open_ - {i}, seen | {i}
