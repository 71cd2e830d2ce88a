"""Inference from few seeds; vectorised over entries, no resampling (a bootstrap of 3 seeds covers 75 %, not 95 %)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Floats = npt.NDArray[np.float64]
CONFIDENCE = 0.95


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
