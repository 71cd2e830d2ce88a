"""Performance profiles: which share of the runs exceeds a score, whatever the score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.statistics.bootstrap import widening
from analysis.statistics.intervals import CONFIDENCE, Floats


def profile(
    values: Floats, thresholds: Floats, *, confidence: float = CONFIDENCE, inflate: bool = True
) -> tuple[Floats, Floats, Floats]:
    """Share of all runs above each threshold, with the pointwise stratified bootstrap interval over runs.

    values (tasks, runs), NaN where a run is missing. Not sampled: of k runs of n above the threshold a resample has
    Binomial(n, k / n), and the tasks' counts add up. Limits lie in [0, 1] and are NaN where no task has two runs, or
    where no resample can differ; shares are NaN where there is no run. Agarwal et al. 2021, arXiv:2108.13264.
    """
    values, thresholds = np.asarray(values, np.float64), np.asarray(thresholds, np.float64)
    if values.ndim != 2:
        raise ValueError(f"values have shape {values.shape}: give one row per task, one column per run")
    counts = np.isfinite(values).sum(axis=1)
    values, counts = values[counts > 0], counts[counts > 0]
    if not counts.size:
        return (*np.full((3, len(thresholds)), np.nan),)
    above = (values[:, :, None] > thresholds).sum(axis=1)
    total = int(counts.sum())
    share = above.sum(axis=0) / total
    reached = np.cumsum(_sum_of_binomials(counts, above), axis=0)
    factor = widening(counts) if inflate else 1.0
    varies = ((above > 0) & (above < counts[:, None])).any(axis=0)
    limits = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        resampled = np.argmax(reached >= tail - 1e-12, axis=0) / total
        limits.append(np.where(varies, np.clip(share + factor * (resampled - share), 0, 1), np.nan))
    return share, limits[0], limits[1]


def _sum_of_binomials(counts: npt.NDArray[np.int64], above: npt.NDArray[np.int64]) -> Floats:
    """P(sum = s), s = 0..total, by row, of sums over tasks of Binomial(n, k / n); k of above (tasks, thresholds)."""
    # Characteristic functions multiply; the inverse transform of their product is the distribution.
    total = int(counts.sum())
    angle = np.exp(-2j * np.pi * np.arange((total + 1) // 2 + 1) / (total + 1))[:, None]
    product = np.ones((len(angle), above.shape[1]), dtype=np.complex128)
    for n, k in zip(counts.tolist(), above, strict=True):
        p = k / n
        product *= (1 - p + p * angle) ** n
    return np.clip(np.fft.irfft(product, n=total + 1, axis=0), 0, None)
