"""Do two networks err on different examples? The exact test of discordant pairs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import binom

from analysis.statistics.intervals import Floats


def mcnemar(only_a: npt.ArrayLike, only_b: npt.ArrayLike) -> Floats:
    """Exact two-sided p that examples which only one of two networks gets right favour neither.

    only_a, only_b: counts, broadcast. 1 where there are no such examples. The p speaks of these two networks and of new
    examples, not of new seeds. McNemar 1947 (doi:10.1007/BF02295996), with the binomial in place of chi-squared.
    """
    a, b = np.broadcast_arrays(np.asarray(only_a, np.float64), np.asarray(only_b, np.float64))
    p: Floats = np.minimum(1.0, 2 * binom.cdf(np.minimum(a, b), a + b, 0.5))
    return p
