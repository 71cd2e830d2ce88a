"""What every metric of the catalog promises, and what each measures."""

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import catalog, models
from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd
from bench.metrics import accuracy, robust
from bench.metrics.evaluation import in_order
from bench.spec import Attack, Word

ATTACK = Attack(epsilon_255=8.0, step_255=4.0, steps=4, restarts=2)


class Batch(NamedTuple):
    images: Tensor
    labels: Tensor
    indices: Tensor


def network(seed=0):
    net = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=seed)
    with torch.no_grad():
        for _ in range(20):
            net(torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return net


def batches(sizes=(5, 3, 4), order=None, net=None):
    """Images in [0, 1]; with `net`, two thirds have the label it predicts."""
    total = sum(sizes)
    images = torch.rand(total, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(total) % 3
    if net is not None:
        predicted = net.eval()(images).argmax(dim=1)
        net.train()
        labels = torch.where(torch.arange(total) % 3 > 0, predicted, (predicted + 1) % 3)
    positions = torch.arange(total) if order is None else torch.tensor(order)
    return [Batch(images[part], labels[part], part) for part in positions.split(list(sizes))]


@pytest.mark.parametrize("name", catalog.METRICS)
def test_every_metric_reports_exactly_what_it_declares_and_leaves_the_network(name):
    entry = catalog.METRICS[name]
    net = network().train()
    net.body.bn1.eval()
    before = {key: value.clone() for key, value in models.state(net).items()}
    attack = ATTACK if entry.attacks else None
    found = catalog.load(entry.module).evaluate(net, batches(), attack=attack, seed=0, options={})
    assert list(found.metrics) == list(entry.reports)
    assert all(isinstance(value, float) and math.isfinite(value) for value in found.metrics.values())
    assert found.examples["correct"].dtype == np.bool_
    assert all(values.shape == (12,) for values in found.examples.values())
    assert net.training
    assert not net.body.bn1.training
    assert all(torch.equal(models.state(net)[key], value) for key, value in before.items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


@pytest.mark.parametrize("name", catalog.METRICS)
def test_neither_the_batches_nor_their_order_matter(name):
    module = catalog.load(catalog.METRICS[name].module)
    net = network()
    attack = ATTACK if catalog.METRICS[name].attacks else None
    order = [7, 0, 11, 3, 1, 2, 9, 8, 4, 10, 6, 5]
    one = module.evaluate(net, batches((12,), net=net), attack=attack, seed=0, options={})
    many = module.evaluate(net, batches((1, 6, 5), order=order, net=net), attack=attack, seed=0, options={})
    for key, values in one.examples.items():
        assert np.allclose(values, many.examples[key], atol=1e-5)
    assert one.metrics == pytest.approx(many.metrics, abs=1e-5)


@pytest.mark.parametrize("name", catalog.METRICS)
def test_no_examples_and_infinite_outputs_are_refused(name):
    module = catalog.load(catalog.METRICS[name].module)
    attack = ATTACK if catalog.METRICS[name].attacks else None
    with pytest.raises(ValueError, match="no examples"):
        module.evaluate(network(), [], attack=attack, seed=0, options={})
    diverged = network()
    models.head(diverged).weight.data.fill_(float("inf"))
    with pytest.raises(ValueError, match="not finite"):
        module.evaluate(diverged, batches(), attack=attack, seed=0, options={})


class Table(nn.Module):
    """Logits written into the first pixels of the image."""

    def forward(self, images):
        return images[:, 0, 0, :3]


def test_accuracy_and_nll_by_hand():
    images = torch.zeros(3, 3, 1, 3)
    images[:, 0, 0] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]).mul(math.log(2))
    labels = torch.tensor([0, 2, 1])
    # p = 2/4, 1/3 (not the argmax: ties go to the first class), 4/6
    parts = [Batch(images[[2]], labels[[2]], torch.tensor([2])), Batch(images[:2], labels[:2], torch.tensor([0, 1]))]
    found = accuracy.evaluate(Table(), parts, attack=None, seed=0, options={})
    assert found.examples["correct"].tolist() == [True, False, True]
    assert found.examples["nll"].tolist() == pytest.approx([math.log(2), math.log(3), math.log(3 / 2)], rel=1e-6)
    assert found.metrics["accuracy"] == pytest.approx(2 / 3)
    assert found.metrics["nll"] == pytest.approx(math.log(2 * 3 * 1.5) / 3)  # over examples, not over batches


def test_robust_means_right_clean_and_after_every_restart():
    net = network()
    parts = batches(net=net)
    found = robust.evaluate(net, parts, attack=ATTACK, seed=4, options={}).examples["correct"]
    net.eval()
    images, labels = (torch.cat([getattr(part, field) for part in parts]) for field in ("images", "labels"))
    by_hand = [net(images).argmax(dim=1) == labels]
    for restart in range(2):
        noise = random_noise(tuple(images.shape), ATTACK, seed=4, indices=torch.arange(12), draw=restart)
        by_hand.append(net(pgd(net, images, labels, ATTACK, noise=noise)).argmax(dim=1) == labels)
    assert found.tolist() == (by_hand[0] & by_hand[1] & by_hand[2]).tolist()
    assert 0 < by_hand[0].sum() < 12


def test_every_restart_starts_the_survivors_at_their_own_noise(monkeypatch):
    net, starts = network(), []

    def attacked(network, images, labels, attack, *, noise):
        starts.append(noise)
        # The first restart breaks its first example, by the image of one that is wrong clean.
        return torch.cat([wrong, images[1:]]) if len(starts) == 1 else images

    (part,) = batches((12,), order=[7, 0, 11, 3, 1, 2, 9, 8, 4, 10, 6, 5])
    predicted = net.eval()(part.images).argmax(dim=1)
    part = part._replace(labels=torch.where(torch.arange(12) < 4, (predicted + 1) % 3, predicted))
    wrong = part.images[predicted != predicted[4]][:1]
    monkeypatch.setattr(robust, "pgd", attacked)
    found = robust.evaluate(net, [part], attack=ATTACK, seed=4, options={})
    alive = [1, 2, 9, 8, 4, 10, 6, 5]  # indices of the eight that are right clean
    for restart, indices in enumerate((alive, alive[1:])):
        shape = (len(indices), 3, 8, 8)
        expected = random_noise(shape, ATTACK, seed=4, indices=torch.tensor(indices), draw=restart)
        assert torch.equal(starts[restart], expected)
    assert found.examples["correct"].nonzero()[0].tolist() == sorted(alive[1:])


def test_an_example_that_is_wrong_clean_is_not_robust_even_if_the_attack_helps():
    """A threshold at 0.5 on the pixel, whose loss surface leads the attack to the right side."""

    class Trap(nn.Module):
        def forward(self, images):
            x = images[:, 0, 0, 0]
            return torch.stack([torch.zeros_like(x), torch.where(x > 0.5, 3 - x, x - 3)], dim=1)

    batch = Batch(torch.full((1, 3, 1, 1), 0.49), torch.tensor([1]), torch.tensor([0]))
    attack = Attack(epsilon_255=255.0, step_255=255.0, steps=1, random_start=False)
    with torch.no_grad():
        trap = Trap()
        # From 0.49 the gradient of the loss points down, so plant the start on the far side instead.
        moved = pgd(trap, batch.images, batch.labels, attack, noise=torch.full((1, 3, 1, 1), 0.2))
        assert trap(moved).argmax(dim=1).item() == 1
    assert robust.evaluate(trap, [batch], attack=attack, seed=0, options={}).metrics == {"pgd_accuracy": 0.0}


def test_more_restarts_never_help_and_broken_examples_are_attacked_no_more():
    class Counting(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.seen = inner, 0

        def forward(self, images):
            self.seen += len(images)
            return self.inner(images)

    net = Counting(network())
    parts = batches((40, 20), net=net)
    survivors = []
    for restarts in (1, 2, 4):
        net.seen = 0
        attack = Attack(epsilon_255=1.0, step_255=0.5, steps=3, restarts=restarts)
        found = robust.evaluate(net, parts, attack=attack, seed=0, options={})
        survivors.append(found.examples["correct"])
        clean_only = 60
        assert net.seen <= clean_only + 40 * restarts * (3 + 1)
        if restarts == 1:
            # 60 clean, then the 40 that were right: 3 steps and one prediction each.
            assert net.seen == clean_only + 40 * 4
    assert (survivors[1] <= survivors[0]).all()
    assert (survivors[2] <= survivors[1]).all()


@pytest.mark.parametrize("attack", [None, Attack(batchnorm="train")], ids=["none", "train"])
def test_robust_accuracy_needs_an_attack_in_evaluation_mode(attack):
    with pytest.raises(ValueError, match="needs an attack in evaluation mode"):
        robust.evaluate(network(), batches(), attack=attack, seed=0, options={})


def test_values_are_placed_by_index():
    assert in_order([torch.tensor([2, 0]), torch.tensor([1])], [torch.tensor([7, 8]), torch.tensor([9])]).tolist() == [
        8,
        9,
        7,
    ]


@pytest.mark.parametrize("indices", [[0, 0], [0, 2], [1, 2]])
def test_indices_must_be_a_permutation(indices):
    with pytest.raises(ValueError, match="do not have the indices 0 to 1, each once"):
        in_order([torch.tensor(indices)], [torch.tensor([1, 2])])
