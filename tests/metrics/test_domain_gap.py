"""The Frechet distance: closed forms, scipy's matrix square root, any rank and any batches."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn

from bench.data.records import Batch
from bench.metrics import domain_gap
from bench.metrics.domain_gap import Gaussian, frechet_distance
from bench.metrics.evaluation import Conditions


class Pixels(nn.Module):
    """The first `d` pixels are the features."""

    def __init__(self, d):
        super().__init__()
        self.d = d

    def features(self, images):
        return images.flatten(1)[:, : self.d]


def images(n, seed, shift=0.0):
    return shift + torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def batches(pixels, size):
    return lambda: [Batch(pixels[i], torch.zeros(len(i)), i) for i in torch.arange(len(pixels)).split(size)]


def evaluate(target, source, d, size=7):
    others = {"source": batches(source, size)}
    return domain_gap.evaluate(Pixels(d), Conditions(batches=batches(target, size), others=others))


def covariance(d, rank, seed):
    factor = np.random.default_rng(seed).normal(size=(d, rank))
    return factor @ factor.T


def test_of_covariances_that_commute_it_is_the_distance_of_means_and_deviations():
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))
    a = Gaussian(9, np.array([1.0, 0, 0, 0]), basis @ np.diag([1.0, 4.0, 9.0, 0.0]) @ basis.T)
    b = Gaussian(9, np.array([0.0, 2, 0, 0]), basis @ np.diag([4.0, 4.0, 1.0, 25.0]) @ basis.T)
    # |(1, -2)|^2 + (1 - 2)^2 + 0 + (3 - 1)^2 + (0 - 5)^2
    assert frechet_distance(a, b) == pytest.approx(5 + 1 + 0 + 4 + 25, rel=1e-12)


@pytest.mark.parametrize("d", [1, 5, 40])
def test_of_full_rank_it_is_the_formula_with_scipys_square_root(d):
    a = Gaussian(99, np.zeros(d), covariance(d, 2 * d, 1))
    b = Gaussian(99, np.ones(d), covariance(d, 3 * d, 2))
    root = sqrtm(a.covariance @ b.covariance).real
    expected = d + np.trace(a.covariance) + np.trace(b.covariance) - 2 * np.trace(root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(frechet_distance(a, b), rel=1e-12)


def test_dimensions_without_spread_change_nothing():
    small = [Gaussian(9, np.zeros(3), covariance(3, 6, seed)) for seed in (1, 2)]
    embedding, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 3)))
    large = [Gaussian(9, np.zeros(50), embedding @ part.covariance @ embedding.T) for part in small]
    assert frechet_distance(*large) == pytest.approx(frechet_distance(*small), rel=1e-9)


def test_equal_sets_have_no_gap_and_a_shift_of_all_pixels_has_its_square():
    target = images(40, 0)
    assert evaluate(target, target, 10).metrics["frechet_distance"] == pytest.approx(0, abs=1e-12)
    assert evaluate(target, target, 48).metrics["frechet_distance"] == pytest.approx(0, abs=1e-10)  # rank-deficient
    shifted = evaluate(target, target + 0.5, 10).metrics["frechet_distance"]
    assert shifted == pytest.approx(10 * 0.25, rel=1e-5)


def test_the_moments_are_numpys_and_the_batches_do_not_matter():
    target, source = images(60, 0), images(50, 1, shift=3.0)
    x, y = (pixels.flatten(1)[:, :10].double().numpy() for pixels in (target, source))
    a, b = (Gaussian(len(rows), rows.mean(axis=0), np.cov(rows, rowvar=False)) for rows in (x, y))
    for size in (1, 7, 60):
        found = evaluate(target, source, 10, size)
        assert found.metrics["frechet_distance"] == pytest.approx(frechet_distance(a, b), rel=1e-9)
        assert found.details == {"n_target": 60, "n_source": 50, "dimension": 10}
        assert found.flags == ()
        assert found.examples == {}


def test_fewer_images_than_dimensions_are_flagged():
    (flag,) = evaluate(images(60, 0), images(20, 1), 30).flags
    assert flag == "frechet_distance from 20 images in 30 dimensions is biased upwards"


def test_one_image_no_source_and_infinite_features_are_refused():
    with pytest.raises(ValueError, match="two images and more, found 1"):
        evaluate(images(5, 0), images(1, 1), 3)
    with pytest.raises(ValueError, match='further set "source"'):
        domain_gap.evaluate(Pixels(3), Conditions(batches=batches(images(5, 0), 5)))
    with pytest.raises(ValueError, match="not finite"):
        evaluate(images(5, 0), images(5, 1, shift=math.inf), 3)
