"""What so few seeds could have shown: smallest effects and margins that a paired t test detects.

statsmodels' solve_power gives 5.50 deviations where 14.65 are needed (n = 3, alpha 0.0025), and scipy's noncentral t
was NaN there; the noncentral t is therefore integrated here.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import chdtr, stdtrit

from analysis.statistics.equivalence import ALPHA
from analysis.statistics.intervals import Floats

POWER = 0.8
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)
# The standard normal beyond is below 1e-18.
_REACH = 9.0


def minimum_detectable_effect(n: npt.ArrayLike, *, alpha: npt.ArrayLike = ALPHA, power: float = POWER) -> Floats:
    """True difference, in deviations of the paired differences, that a two-sided t test detects with the power.

    n pairs and alpha broadcast; alpha / m is the first step of Holm's correction of m tests. NaN for n < 2.
    """
    return _needed(n, alpha, power, two_sided=True)


def non_inferiority_margin(n: npt.ArrayLike, *, alpha: npt.ArrayLike = ALPHA, power: float = POWER) -> Floats:
    """Margin, in deviations of the paired differences, at which a ticket equal to dense is declared matching.

    With the power, by the one-sided test at alpha; NaN for n < 2.
    """
    return _needed(n, alpha, power, two_sided=False)


def power_of_t(effect: float, n: int, *, alpha: float = ALPHA, two_sided: bool = True) -> float:
    """Probability that the t test of n pairs rejects when the true difference is `effect` deviations."""
    df = n - 1
    critical = float(stdtrit(df, 1 - alpha / (2 if two_sided else 1)))
    shift = effect * math.sqrt(n)
    return _tail(critical, df, shift) + (_tail(critical, df, -shift) if two_sided else 0.0)


def _tail(critical: float, df: int, shift: float) -> float:
    """P(T > critical) of the noncentral t: the mean over the normal numerator of P(S < numerator / critical)."""
    low = max(-shift, -_REACH)
    if low >= _REACH:
        return 0.0
    z = low + (_NODES + 1) * (_REACH - low) / 2
    density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    below = chdtr(df, df * ((z + shift) / critical) ** 2)
    return float(np.sum(_WEIGHTS * density * below) * (_REACH - low) / 2)


def _needed(n: npt.ArrayLike, alpha: npt.ArrayLike, power: float, *, two_sided: bool) -> Floats:
    n, alpha = np.broadcast_arrays(np.asarray(n, np.float64), np.asarray(alpha, np.float64))
    pairs, inverse = np.unique(np.stack([n.ravel(), alpha.ravel()]), axis=1, return_inverse=True)
    found = [_solved(float(count), float(level), power, two_sided) for count, level in pairs.T]
    return np.array(found, np.float64)[inverse].reshape(n.shape)


@functools.lru_cache(maxsize=10_000)
def _solved(n: float, alpha: float, power: float, two_sided: bool) -> float:
    if not (n >= 2 and 0 < alpha < 1):
        return math.nan

    def short(effect: float) -> float:
        return power_of_t(effect, int(n), alpha=alpha, two_sided=two_sided) - power

    high = 1.0
    while short(high) < 0:
        high *= 2
    return float(brentq(short, 0.0, high, xtol=1e-10))
