"""Mean intersection over union: by hand, against scikit-learn, and whatever the batches."""

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score
from torch import Tensor, nn
from torch.nn import functional as F

from bench import catalog, models
from bench.metrics import segmentation
from bench.metrics.evaluation import Conditions
from bench.spec import Word

OUT = 255  # not counted


class Batch(NamedTuple):
    inputs: Tensor
    labels: Tensor
    indices: Tensor


class Written(nn.Module):
    """Predicts the class that is written into the red channel, in 1/10."""

    def forward(self, images):
        return F.one_hot((images[:, 0] * 10).round().long(), 4).permute(0, 3, 1, 2).float()


def batch(predicted, truth, indices=None):
    predicted, truth = torch.tensor(predicted), torch.tensor(truth)
    images = torch.zeros(len(truth), 3, *truth.shape[1:])
    images[:, 0] = predicted / 10
    return Batch(images, truth, torch.arange(len(truth)) if indices is None else torch.tensor(indices))


def evaluate(*parts, network=None):
    return segmentation.evaluate(network or Written(), Conditions(batches=lambda: list(parts)))


def test_two_images_by_hand():
    found = evaluate(batch([[[0, 0], [1, 1]], [[1, 0], [2, 2]]], [[[0, 0], [1, 0]], [[1, 1], [OUT, 2]]]))
    # Class 0: 2 in common of (3 + 3 - 2); 1: 2 of (3 + 3 - 2); 2: 1 of 1, for the other pixel is not counted; 3: nowhere.
    assert found.details == {"iou_by_class": [0.5, 0.5, 1.0, None]}
    assert found.metrics == {"mean_iou": pytest.approx(2 / 3), "pixel_accuracy": 5 / 7}
    # Image 0: 2 of 3 and 1 of 2. Image 1: 0 of 1, 1 of 2 and 1 of 1.
    assert found.examples["iou"].tolist() == pytest.approx([7 / 12, 1 / 2])


@pytest.mark.parametrize(
    ("predicted", "mean_iou", "pixel_accuracy"),
    [([[0, 0], [1, 1]], 1.0, 1.0), ([[1, 1], [0, 0]], 0.0, 0.0), ([[0, 0], [0, 0]], 0.25, 0.5), ([[0, 0], [3, 3]], 1 / 3, 0.5)],
)  # fmt: skip
def test_perfect_wrong_background_only_and_a_class_that_is_not_there(predicted, mean_iou, pixel_accuracy):
    found = evaluate(batch([predicted], [[[0, 0], [1, 1]]]))
    assert found.metrics == {"mean_iou": pytest.approx(mean_iou), "pixel_accuracy": pixel_accuracy}


def test_random_masks_agree_with_scikit_learn():
    draw = np.random.default_rng(0)
    truth, predicted = draw.integers(0, 3, (5, 6, 6)), draw.integers(0, 4, (5, 6, 6))
    truth[draw.random(truth.shape) < 0.2] = OUT
    found = evaluate(batch(predicted[:2], truth[:2]), batch(predicted[2:], truth[2:], [2, 3, 4]))
    counted = truth != OUT
    assert found.metrics["mean_iou"] == pytest.approx(
        jaccard_score(truth[counted], predicted[counted], average="macro"), abs=1e-12
    )
    single = [jaccard_score(t[c], p[c], average="macro") for t, p, c in zip(truth, predicted, counted, strict=True)]
    assert found.examples["iou"].tolist() == pytest.approx(single, abs=1e-12)


def test_an_image_without_counted_pixels_is_right_and_a_set_without_any_is_refused():
    empty = [[OUT, OUT]]
    found = evaluate(batch([[[0, 1]], [[1, 1]]], [empty, [[1, 0]]]))
    assert found.examples["iou"].tolist() == [1.0, 0.25]
    with pytest.raises(ValueError, match="none of the pixels of 1 images is counted"):
        evaluate(batch([[[0, 1]]], [empty]))


def test_masks_of_other_classes_are_refused():
    with pytest.raises(ValueError, match="classes outside the network's 4"):
        evaluate(batch([[[0, 1]]], [[[0, 4]]]))


def test_the_gallery_shows_the_first_eight_images_in_the_splits_order():
    predicted, truth = [[[k % 4, 1]] for k in range(10)], [[[k % 3, OUT]] for k in range(10)]
    order = [9, 3, 0, 7, 1, 2, 8, 6, 5, 4]
    parts = [batch([predicted[k] for k in ks], [truth[k] for k in ks], ks) for ks in (order[:1], order[1:6], order[6:])]
    found = evaluate(*parts)
    assert found.gallery["truth"].tolist() == truth[:8]
    assert found.gallery["predicted"].tolist() == predicted[:8]
    # A tenth of 255 for class 1, in red.
    assert found.gallery["images"].shape == (8, 1, 2, 3)
    assert found.gallery["images"][1, 0, 0].tolist() == [26, 0, 0]
    assert all(values.dtype == np.uint8 for values in found.gallery.values())


def test_a_network_is_measured_as_the_catalog_declares_and_left_as_it_was():
    network = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    models.new_head(network, "segmentation", 5, resolution=16, seed=1)
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.rand(6, 3, 16, 16, generator=generator), torch.randint(5, (6, 16, 16), generator=generator)
    before = {name: value.clone() for name, value in models.state(network).items()}
    one = evaluate(Batch(images, labels, torch.arange(6)), network=network.train())
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    many = evaluate(*(Batch(images[part], labels[part], part) for part in order.split([1, 3, 2])), network=network)
    assert list(one.metrics) == list(catalog.METRICS["segmentation"].reports)
    assert one.metrics == many.metrics
    assert one.examples["iou"].tolist() == many.examples["iou"].tolist()
    assert json.loads(json.dumps(one.details)) == one.details
    assert network.training
    assert all(torch.equal(models.state(network)[name], value) for name, value in before.items())


def test_no_examples_and_infinite_outputs_are_refused():
    with pytest.raises(ValueError, match="no examples"):
        evaluate()
    diverged = nn.Conv2d(3, 2, 1)
    nn.init.constant_(diverged.bias, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        evaluate(batch([[[0, 1]]], [[[0, 1]]]), network=diverged)


def test_a_pause_is_asked_for_before_every_batch():
    def pause():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segmentation.evaluate(Written(), Conditions(batches=lambda: [batch([[[0]]], [[[0]]])], pause=pause))
