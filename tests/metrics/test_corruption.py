"""Accuracy under corruption: the mean of 75, generated or from files, kept in the scratch folder."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.corruptions import CORRUPTIONS, SEVERITIES
from bench.corruptions.generate import corrupt
from bench.data.records import Batch
from bench.metrics import corruption
from bench.metrics.evaluation import Conditions


class Brightness(nn.Module):
    """Class 1 where the mean of the image is above 0.4."""

    def forward(self, images):
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([0.4 - mean, mean - 0.4], dim=1)


def pixels(n=12):
    levels = (
        torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
        * torch.linspace(0.3, 1.2, n)[:, None, None, None]
    )
    return (levels.clamp(0, 1) * 255).round() / 255


def batches(images, labels, size=5):
    return lambda: [Batch(images[i], labels[i], i) for i in torch.arange(len(images)).split(size)]


def conditions(**changes):
    images = pixels()
    return Conditions(batches=batches(images, Brightness()(images).argmax(dim=1)), seed=3, **changes)


def test_it_is_the_mean_over_corruptions_severities_and_examples():
    found = corruption.evaluate(Brightness(), conditions())
    images = pixels()
    labels = Brightness()(images).argmax(dim=1)
    right = found.examples["correct"]
    assert right.shape == (12, 75)
    assert right.dtype == np.bool_
    for column, (name, severity) in enumerate((name, severity) for name in CORRUPTIONS for severity in SEVERITIES):
        seen = corrupt(images, name, severity, seed=3, indices=torch.arange(12))
        assert right[:, column].tolist() == (Brightness()(seen).argmax(dim=1) == labels).tolist()
        assert found.details["accuracy"][name][severity - 1] == pytest.approx(right[:, column].mean())
    assert found.metrics == {"corruption_accuracy": pytest.approx(right.mean())}
    assert found.details["mean"]["snow"] == pytest.approx(right[:, 35:40].mean())
    assert 0 < right.mean() < 1


def test_from_files_it_reads_the_set_of_every_corruption():
    dark, bright = torch.zeros(4, 3, 8, 8), torch.ones(4, 3, 8, 8)
    zeros = torch.zeros(4, dtype=torch.int64)
    others = {f"{name}/{severity}": batches(dark, zeros) for name in CORRUPTIONS for severity in SEVERITIES}
    others["fog/5"] = batches(bright, zeros)
    found = corruption.evaluate(Brightness(), conditions(others=others, options={"origin": "files"}))
    assert found.details["accuracy"]["fog"] == [1, 1, 1, 1, 0]
    assert found.metrics["corruption_accuracy"] == pytest.approx(74 / 75)
    others["fog/5"] = batches(bright[:3], zeros[:3])
    with pytest.raises(ValueError, match="different sizes: 3, 4 images"):
        corruption.evaluate(Brightness(), conditions(others=others, options={"origin": "files"}))
    del others["fog/5"]
    with pytest.raises(ValueError, match=r'corruption\(origin=files\) needs a further set "fog/5"'):
        corruption.evaluate(Brightness(), conditions(others=others, options={"origin": "files"}))


def test_an_interrupted_evaluation_goes_on_where_it_was(tmp_path):
    calls = []

    def pause():
        calls.append(None)
        if len(calls) == 100:
            raise KeyboardInterrupt

    scratch = tmp_path / "scratch"
    with pytest.raises(KeyboardInterrupt):
        corruption.evaluate(Brightness(), conditions(scratch=scratch, pause=pause))
    # Three batches a set: 33 are whole.
    assert len(list(scratch.glob("*.npy"))) == 33
    resumed = corruption.evaluate(Brightness(), conditions(scratch=scratch, pause=pause))
    assert len(calls) == 100 + 3 * (75 - 33)
    whole = corruption.evaluate(Brightness(), conditions())
    assert np.array_equal(resumed.examples["correct"], whole.examples["correct"])
