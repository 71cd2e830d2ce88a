"""Probes of frozen features, by hand and against scikit-learn."""

from collections import namedtuple

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from bench import models
from bench.metrics.probes import PENALTY, features, knn_accuracy, linear_accuracy
from bench.spec import Word

Batch = namedtuple("Batch", "inputs labels indices")


def drawn(n, d=5, classes=3, seed=0):
    """Features of `classes` overlapping clouds."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (n,), generator=draw)
    return torch.randn(n, d, generator=draw) + torch.eye(classes, d)[labels], labels


def test_a_few_close_neighbours_outvote_many_distant_ones():
    """Votes for class 0: exp(1 / 0.07) = 1.6e6, once; for class 1: 19 times exp(0.6 / 0.07) = 5.3e3, which is 1e5."""
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]]).repeat(19, 1)
    labels = torch.tensor([0] + [1] * 19)
    assert knn_accuracy(torch.cat([near, far]), labels, torch.tensor([[2.0, 0.0]]), torch.tensor([0])) == 1.0


def test_only_the_twenty_nearest_vote():
    """Class 1 has 20 neighbours at cosine 0.8; class 0 has 60 at 0.7, whose votes together would weigh 0.72 times 3."""
    near, far = torch.tensor([[0.8, 0.6]]).repeat(20, 1), torch.tensor([[0.7, 0.7141428]]).repeat(60, 1)
    labels = torch.tensor([1] * 20 + [0] * 60)
    assert knn_accuracy(torch.cat([far, near]), labels.flip(0), torch.tensor([[1.0, 0.0]]), torch.tensor([1])) == 1.0


def test_neighbours_against_a_loop():
    (train, train_labels), (test, test_labels) = drawn(50), drawn(1100, seed=1)
    right = 0
    for x, label in zip(test, test_labels, strict=True):
        cosine = torch.tensor([float(x @ y / x.norm() / y.norm()) for y in train])
        votes = [0.0] * 3
        for i in cosine.argsort(descending=True)[:20]:
            votes[train_labels[i]] += float(torch.exp(cosine[i] / 0.07))
        right += int(np.argmax(votes) == label)
    assert knn_accuracy(train, train_labels, test, test_labels) == right / 1100


def test_fewer_examples_than_neighbours_all_vote():
    train, labels = torch.eye(3), torch.arange(3)
    assert knn_accuracy(train, labels, torch.eye(3)[[2, 0]], torch.tensor([2, 1])) == 0.5


def test_the_linear_probe_is_scikit_learns_logistic_regression():
    (train, train_labels), (test, test_labels) = drawn(200), drawn(500, seed=1)
    # One feature of another scale, which standardising undoes, and one that never changes.
    stretch = torch.tensor([100.0, 1, 1, 1, 0])
    standardised = [((x - train.mean(0)) / train.std(0, correction=0)).double()[:, :4] for x in (train, test)]
    # scikit-learn minimises C times the summed cross-entropy + |W|^2 / 2.
    oracle = LogisticRegression(C=1 / (PENALTY * 200), tol=1e-8, max_iter=1000)
    expected = oracle.fit(standardised[0].numpy(), train_labels.numpy()).score(standardised[1].numpy(), test_labels)
    found = linear_accuracy(train * stretch, train_labels, test * stretch, test_labels)
    assert found == pytest.approx(expected)
    assert 0.5 < found < 1
    assert linear_accuracy(train * stretch, train_labels, test * stretch, test_labels) == found


def test_features_are_those_of_evaluation_mode_and_leave_the_network_as_it_was():
    network = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images, labels = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(5) % 3
    batches = [Batch(images[:3], labels[:3], None), Batch(images[3:], labels[3:], None)]
    network.train()
    values, found = features(network, batches)
    assert network.training
    assert found.tolist() == [0, 1, 2, 0, 1]
    assert not values.requires_grad
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    network.eval()
    with torch.no_grad():
        torch.testing.assert_close(
            nn.functional.linear(values, network.body.fc.weight, network.body.fc.bias), network(images)
        )


def test_no_examples_are_an_error():
    with pytest.raises(ValueError, match="there are no examples to probe"):
        features(models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0), [])
