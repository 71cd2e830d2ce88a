"""The benchmark of two views: what its cases read."""

import torch
from PIL import Image

from bench.perf import views


def test_an_epoch_counts_each_image_once(tmp_path):
    resident = views.small_cases(tmp_path, n=200)["resident"]
    assert resident() == 200


def test_torchvision_makes_two_views():
    with torch.random.fork_rng():
        first, second = views.Twice(32)(Image.linear_gradient("L").convert("RGB"))
    assert first.shape == second.shape == (3, 32, 32)
    assert not torch.equal(first, second)
