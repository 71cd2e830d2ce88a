"""The attacks' losses, by hand."""

import pytest
import torch

from bench.attacks.losses import cross_entropy, margin, targeted

LOGITS = torch.tensor([[1.0, 4.0, 2.0, -1.0, 0.0], [3.0, 3.0, 0.0, 0.0, 0.0]])


def test_the_margin_is_the_largest_wrong_logit_less_the_right_one():
    assert margin(LOGITS, torch.tensor([1, 2])).tolist() == [2.0 - 4.0, 3.0 - 0.0]
    assert margin(LOGITS, torch.tensor([0, 1])).tolist() == [4.0 - 1.0, 0.0]


def test_cross_entropy_is_per_example():
    even = torch.zeros(2, 4)
    assert cross_entropy(even, torch.tensor([0, 3])).tolist() == pytest.approx([1.3862944] * 2)


def test_the_targeted_loss_divides_by_the_spread_of_the_largest_logits():
    found = targeted(torch.tensor([2, 3]))(LOGITS, torch.tensor([1, 0]))
    # Sorted logits: 4 2 1 0 -1 and 3 3 0 0 0.
    assert found.tolist() == pytest.approx([(2 - 4) / (4 - 0.5), (0 - 3) / (3 - 0)])


@pytest.mark.parametrize("classes", [2, 3])
def test_with_fewer_than_four_classes_the_targeted_loss_is_the_difference(classes):
    found = targeted(torch.tensor([0]))(LOGITS[:1, :classes], torch.tensor([1]))
    assert found.tolist() == [1.0 - 4.0]


def test_the_targeted_loss_does_not_change_with_the_scale_of_the_logits():
    loss, labels = targeted(torch.tensor([2, 3])), torch.tensor([1, 0])
    assert loss(LOGITS * 1000, labels).tolist() == pytest.approx(loss(LOGITS, labels).tolist())
