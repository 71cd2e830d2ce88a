"""Is a ticket as good as the dense network, to within a margin: non-inferiority, equivalence, and words for both.

"Not significantly different" shows nothing: fewer seeds make it easier. Here the wrong claim is bounded instead, at the
margin, for every deviation and number of seeds (Schuirmann 1987; Wellek 2010).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr

from analysis.statistics.intervals import Floats, one_sided_limits, t_interval

ALPHA = 0.05
SUPERIOR, MATCHING, INFERIOR, INCONCLUSIVE, UNKNOWN = "superior", "matching", "inferior", "inconclusive", ""
MATCHES = (SUPERIOR, MATCHING)


def improvement(difference: npt.ArrayLike, higher_is_better: npt.ArrayLike = True) -> Floats:
    """The difference with the sign that makes better positive."""
    difference = np.asarray(difference, np.float64)
    return np.where(np.asarray(higher_is_better, np.bool_), difference, -difference)


def non_inferiority(
    difference: npt.ArrayLike,
    sd: npt.ArrayLike,
    n: npt.ArrayLike,
    margin: npt.ArrayLike,
    *,
    higher_is_better: npt.ArrayLike = True,
    df: npt.ArrayLike | None = None,
) -> Floats:
    """One-sided p of the paired t test that the improvement is above -margin.

    difference, sd (ddof 1) and n of the paired differences, margin > 0 in the same unit; all broadcast. df: of a sd
    that was pooled, n - 1 by default. NaN without a margin, with fewer than two seeds, and where sd is 0.
    """
    better, sd = improvement(difference, higher_is_better), np.asarray(sd, np.float64)
    n, margin = np.asarray(n, np.float64), np.asarray(margin, np.float64)
    df = n - 1 if df is None else np.asarray(df, np.float64)
    known = (n >= 2) & (sd > 0) & (margin > 0) & (df > 0)
    t = (better + margin) / np.where(known, sd / np.sqrt(np.maximum(n, 1.0)), np.nan)
    return np.asarray(stdtr(df, -t), np.float64)


def equivalence(difference: npt.ArrayLike, sd: npt.ArrayLike, n: npt.ArrayLike, margin: npt.ArrayLike) -> Floats:
    """p of two one-sided tests (TOST) that the difference is inside (-margin, margin); NaN as `non_inferiority`."""
    return np.maximum(
        non_inferiority(difference, sd, n, margin), non_inferiority(difference, sd, n, margin, higher_is_better=False)
    )


def labels(
    difference: npt.ArrayLike,
    sd: npt.ArrayLike,
    n: npt.ArrayLike,
    margin: npt.ArrayLike,
    *,
    higher_is_better: npt.ArrayLike = True,
) -> npt.NDArray[np.str_]:
    """superior, matching, inferior or inconclusive; blank where `non_inferiority` is NaN.

    superior: the two-sided 95 % interval of the improvement is above 0. matching: its one-sided lower limit is above
    -margin; a small loss may then still be significant. inferior: the two-sided interval is below -margin.
    """
    better = improvement(difference, higher_is_better)
    p = non_inferiority(better, sd, n, margin)
    low, high = t_interval(better, sd, n)
    lowest, _ = one_sided_limits(better, sd, n)
    margin = np.asarray(margin, np.float64)
    return np.select(
        [np.isnan(p), low > 0, lowest > -margin, high < -margin],
        [UNKNOWN, SUPERIOR, MATCHING, INFERIOR],
        INCONCLUSIVE,
    )
