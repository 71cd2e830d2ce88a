"""Distance of the downstream images from the source images, in the features of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.metrics.evaluation import Batches, Conditions, Evaluation, finite
from bench.models import Network
from bench.models.inception import Inception
from bench.models.modes import evaluation_mode

Reals = npt.NDArray[np.float64]


class Gaussian(NamedTuple):
    """n features' mean (d,) and unbiased covariance (d, d)."""

    n: int
    mean: Reals
    covariance: Reals


def evaluate(network: Network | Inception, conditions: Conditions) -> Evaluation:
    """`frechet_distance` between the features of the images and of those of the set "source"; 0 means no gap.

    `network` is the pre-trained one, with nothing pruned, or Inception. Labels are not read; there is no number per
    example. Details: `n_target`, `n_source`, `dimension`. The distance is biased upwards, the more so the fewer images:
    compare at equal n only. Raises ValueError for fewer than two images, features that are not finite, and where no
    set "source" is given. Heusel et al. 2017, arXiv:1706.08500.
    """
    if "source" not in conditions.others:
        raise ValueError('domain_gap needs a further set "source"')
    with evaluation_mode(network):
        target = fit(network.features, conditions.batches, conditions.pause)
        source = fit(network.features, conditions.others["source"], conditions.pause)
    dimension, fewest = len(target.mean), min(target.n, source.n)
    details: dict[str, Any] = {"n_target": target.n, "n_source": source.n, "dimension": dimension}
    flags: tuple[str, ...] = ()
    if fewest <= dimension:
        flags = (f"frechet_distance from {fewest} images in {dimension} dimensions is biased upwards",)
    metrics = {"frechet_distance": frechet_distance(target, source)}
    return Evaluation(metrics=metrics, examples={}, details=details, flags=flags)


@torch.no_grad()
def fit(features: Callable[[Tensor], Tensor], batches: Batches, pause: Callable[[], None]) -> Gaussian:
    """The Gaussian of the features (n, d) of all images. Raises ValueError if there are fewer than two."""
    n, total, products = 0, torch.zeros(()), torch.zeros(())
    for batch in batches():
        pause()
        # Sums in doubles: the covariance is a difference of large numbers.
        found = finite(features(batch.inputs)).double()
        n, total, products = n + len(found), total + found.sum(dim=0), products + found.T @ found
    if n < 2:
        raise ValueError(f"a covariance needs two images and more, found {n}")
    mean = total / n
    covariance = (products - n * torch.outer(mean, mean)) / (n - 1)
    return Gaussian(n, mean.cpu().numpy(), covariance.cpu().numpy())


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Squared Wasserstein-2 distance of two Gaussians: |m_a - m_b|^2 + tr(A + B - 2 (A B)^(1/2)).

    Also for covariances of any rank. Dowson and Landau 1982 (doi:10.1016/0047-259X(82)90077-X).
    """
    # tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2). Eigenvalues of A B would do, but where the
    # rank is deficient their rounding errors come out as square roots.
    overlap = np.linalg.svd(_root(a.covariance).T @ _root(b.covariance), compute_uv=False).sum()
    means = np.square(a.mean - b.mean).sum()
    return float(max(0.0, means + np.trace(a.covariance) + np.trace(b.covariance) - 2 * overlap))


def _root(covariance: Reals) -> Reals:
    """R (d, rank) with R R^T = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > len(values) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    root: Reals = vectors[:, kept] * np.sqrt(values[kept])
    return root
