"""Inference from few seeds; vectorised over entries, no resampling (a bootstrap of 3 seeds covers 75 %, not 95 %)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.95
# Sums of the same values in another order differ in the last digits; below this share of the values it is no spread.
EQUAL = 1e-12


def t_interval(
    mean: npt.ArrayLike, sd: npt.ArrayLike, n: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Lower and upper limit of the two-sided Student t interval of a mean over n seeds.

    mean, sd (ddof 1) and n broadcast. Limits are NaN where nothing can be inferred: fewer than two seeds, or sd 0
    (equal values of all seeds say that the seed had no effect, not that the mean is known exactly).
    """
    mean, sd, n = np.asarray(mean, np.float64), np.asarray(sd, np.float64), np.asarray(n, np.float64)
    known = (n >= 2) & (sd > 0)
    safe = np.where(known, n, 2.0)
    half = np.where(known, stdtrit(safe - 1, (1 + confidence) / 2) * sd / np.sqrt(safe), np.nan)
    return mean - half, mean + half


def one_sided_limits(
    mean: npt.ArrayLike,
    sd: npt.ArrayLike,
    n: npt.ArrayLike,
    *,
    df: npt.ArrayLike | None = None,
    confidence: float = CONFIDENCE,
) -> tuple[Floats, Floats]:
    """Lower and upper Student t limit of a mean over n seeds, each of which alone holds with the confidence.

    df: degrees of freedom of a sd that was pooled, n - 1 by default. NaN as for `t_interval`.
    """
    mean, sd, n = np.asarray(mean, np.float64), np.asarray(sd, np.float64), np.asarray(n, np.float64)
    df = n - 1 if df is None else np.asarray(df, np.float64)
    known = (n >= 2) & (sd > 0) & (df > 0)
    half = stdtrit(np.where(known, df, np.nan), confidence) * sd / np.sqrt(np.where(known, n, np.nan))
    return mean - half, mean + half


def pooled_sd(sd: npt.ArrayLike, n: npt.ArrayLike, group: npt.ArrayLike, groups: int) -> Floats:
    """Root of the mean variance of each group's entries, weighted by n - 1; shape (groups,).

    sd, n, group (entries,); group counts from 0. Entries whose sd is NaN do not count; NaN for a group without any.
    """
    sd, n, group = np.asarray(sd, np.float64), np.asarray(n, np.float64), np.asarray(group, np.int64)
    weight = np.where(np.isnan(sd), 0.0, n - 1)
    total = np.bincount(group, weight, minlength=groups)
    squares = np.bincount(group, weight * np.nan_to_num(sd) ** 2, minlength=groups)
    return np.sqrt(np.where(total > 0, squares, np.nan) / np.where(total > 0, total, 1.0))


def jackknife_t(
    estimate: npt.ArrayLike, left_out: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Limits of the t(n - 1) interval around an estimate from its n values (..., n) with one seed left out each.

    The standard error is the delete-one jackknife's, sqrt((n - 1) / n * sum of squared deviations), which for a mean is
    sd / sqrt(n). Values that are NaN are of no seed. Limits are NaN for fewer than two, or where all values are equal.
    Tukey 1958; Efron and Tibshirani 1993, chapter 11.
    """
    estimate, left_out = np.asarray(estimate, np.float64), np.asarray(left_out, np.float64)
    known = ~np.isnan(left_out)
    n = known.sum(axis=-1)
    centre = np.where(known, left_out, 0.0).sum(axis=-1) / np.maximum(n, 1)
    squares = np.where(known, left_out - centre[..., None], 0.0) ** 2
    sd = np.sqrt(squares.sum(axis=-1) / np.maximum(n - 1, 1))
    # The n pseudo-values, whose mean has the jackknife's error, vary n - 1 times as much.
    return t_interval(estimate, (n - 1) * np.where(sd > EQUAL * np.abs(centre), sd, 0.0), n, confidence=confidence)
