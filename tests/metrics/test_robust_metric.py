"""Robust accuracy counts who is right clean and at every image that PGD arrives at."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import models
from bench.attacks.noise import random_noise
from bench.attacks.pgd import pgd
from bench.metrics import attack_checks, autoattack, robust
from bench.metrics.evaluation import Conditions
from bench.spec import Attack, Word

ATTACK = Attack(epsilon_255=3.0, step_255=1.0, steps=4, restarts=2)


class Batch(NamedTuple):
    inputs: Tensor
    labels: Tensor
    indices: Tensor


def network(seed=0):
    net = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=seed)
    with torch.no_grad():
        for _ in range(20):
            net(torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    return net.eval()


def examples(net, n=60):
    """Images in [0, 1], two thirds with the label that the network predicts."""
    images = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        predicted = net(images).argmax(dim=1)
    return Batch(images, torch.where(torch.arange(n) % 3 > 0, predicted, (predicted + 1) % 3), torch.arange(n))


def parts(batch, sizes):
    return [Batch(*(field[rows] for field in batch)) for rows in torch.arange(len(batch.labels)).split(list(sizes))]


def evaluate(net, batches, attack=ATTACK, seed=4, **options):
    return robust.evaluate(net, Conditions(batches=lambda: batches, attack=attack, seed=seed, options=options))


def test_whom_plain_pgd_breaks_in_any_restart_is_not_robust():
    net = network()
    batch = examples(net)
    found = evaluate(net, parts(batch, (25, 35)), margin=False)
    by_hand = net(batch.inputs).argmax(dim=1) == batch.labels
    clean = by_hand.float().mean().item()
    for restart in range(2):
        noise = random_noise(tuple(batch.inputs.shape), ATTACK, seed=4, indices=batch.indices, draw=restart)
        points = pgd(net, batch.inputs, batch.labels, ATTACK, noise=noise)
        by_hand &= net(points).argmax(dim=1) == batch.labels
    robust_by_hand, robust_found = by_hand.numpy(), found.examples["correct"]
    assert (robust_found <= robust_by_hand).all()
    # What it breaks on top it passed over on the way to the last iterate: few.
    assert (robust_by_hand & ~robust_found).sum() <= 3
    assert 0 < robust_found.sum() < clean * 60
    assert list(found.details["accuracy_after"]) == ["clean", "restart_1", "restart_2"]
    assert found.details["accuracy_after"]["clean"] == pytest.approx(clean)
    assert found.metrics["pgd_accuracy"] == pytest.approx(robust_found.mean())


def test_the_margin_loss_is_one_more_run():
    net = network()
    batch = [examples(net)]
    without, found = evaluate(net, batch, margin=False), evaluate(net, batch)
    assert list(found.details["accuracy_after"]) == ["clean", "restart_1", "restart_2", "margin"]
    assert (found.examples["correct"] <= without.examples["correct"]).all()
    alone = evaluate(net, batch, attack=Attack(epsilon_255=3.0, step_255=1.0, steps=4, loss="margin"))
    assert list(alone.details["accuracy_after"]) == ["clean", "restart_1"]


def test_every_restart_starts_the_survivors_at_their_own_noise(monkeypatch):
    net, starts = network(), []

    def attacked(network, images, labels, attack, *, noise):
        starts.append(noise)
        # The first restart breaks its first example, by an image of the ball that the network gets wrong.
        return torch.cat([wrong, images[1:]]) if len(starts) == 1 else images

    order = torch.tensor([7, 0, 11, 3, 1, 2, 9, 8, 4, 10, 6, 5])
    images = examples(net, n=12).inputs
    predicted = net(images).argmax(dim=1)
    batch = Batch(images, torch.where(torch.arange(12) < 4, (predicted + 1) % 3, predicted), order)
    wrong = images[predicted != predicted[4]][:1]
    monkeypatch.setattr(robust, "pgd_until_broken", attacked)
    attack = Attack(epsilon_255=255.0, restarts=2)
    found = evaluate(net, [batch], attack=attack, margin=False)
    alive = [1, 2, 9, 8, 4, 10, 6, 5]  # indices of the eight that are right clean
    for restart, indices in enumerate((alive, alive[1:])):
        shape = (len(indices), 3, 8, 8)
        expected = random_noise(shape, attack, seed=4, indices=torch.tensor(indices), draw=restart)
        assert torch.equal(starts[restart], expected)
    assert found.examples["correct"].nonzero()[0].tolist() == sorted(alive[1:])
    assert found.flags == ()


def test_images_outside_the_ball_break_nothing_and_are_flagged(monkeypatch):
    net = network()
    batch = examples(net)
    right = (net(batch.inputs).argmax(dim=1) == batch.labels).numpy()
    monkeypatch.setattr(robust, "pgd_until_broken", lambda net, images, *_, noise: 1 - images)
    found = evaluate(net, [batch], margin=False)
    assert found.examples["correct"].tolist() == right.tolist()
    assert found.flags == (f"{2 * right.sum()} adversarial images lay outside the ball or [0, 1] and broke nothing",)


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
        moved = pgd(trap, batch.inputs, batch.labels, attack, noise=torch.full((1, 3, 1, 1), 0.2))
        assert trap(moved).argmax(dim=1).item() == 1
    assert evaluate(trap, [batch], attack=attack).metrics == {"pgd_accuracy": 0.0}


def test_more_restarts_never_help_and_broken_examples_are_attacked_no_more(monkeypatch):
    class Counting(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.seen = inner, 0

        def forward(self, images):
            self.seen += len(images)
            return self.inner(images)

    monkeypatch.setattr(robust, "folded", lambda network: network)  # so that every image that is looked at counts
    net = Counting(network())
    batches, survivors = parts(examples(net), (40, 20)), []
    for restarts in (1, 2, 4):
        net.seen = 0
        attack = Attack(epsilon_255=1.0, step_255=0.5, steps=3, restarts=restarts)
        found = evaluate(net, batches, attack=attack, margin=False)
        survivors.append(found.examples["correct"])
        # 60 clean and for their gradient; then, of the 40 that are right, at most 3 steps and one prediction each.
        most = 120 + 40 * 4
        if restarts > 1:
            most += (restarts - 1) * survivors[0].sum() * 4
        assert 120 + survivors[-1].sum() * 4 * restarts <= net.seen <= most
    assert (survivors[1] <= survivors[0]).all()
    assert (survivors[2] <= survivors[1]).all()
    assert survivors[0].sum() < 40


def test_gradients_that_vanish_are_flagged():
    net = network()
    models.head(net).weight.data *= 1e6
    batch = examples(net)
    found = evaluate(net, [batch])
    share = found.details["zero_gradient_share"]
    assert share > 0.9
    assert found.flags == (
        f"gradients vanish on {share:.1%} of the examples that are right: gradient masking suspected",
    )


def test_only_examples_that_are_right_count_as_without_a_gradient():
    class Constant(nn.Module):
        def forward(self, images):
            return images.sum((1, 2, 3))[:, None] * 0 + torch.tensor([1.0, 0.0])

    batch = Batch(torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 1, 1]), torch.arange(4))
    assert evaluate(Constant(), [batch]).details["zero_gradient_share"] == 1.0


@pytest.mark.parametrize("metric", [robust, autoattack, attack_checks])
@pytest.mark.parametrize("attack", [None, Attack(batchnorm="train")], ids=["none", "train"])
def test_robust_accuracy_needs_an_attack_in_evaluation_mode(metric, attack):
    with pytest.raises(ValueError, match="needs an attack in evaluation mode"):
        metric.evaluate(network(), Conditions(batches=list, attack=attack))


def test_one_example_is_enough():
    net = network()
    batch = examples(net, n=2)
    one = Batch(batch.inputs[1:], batch.labels[1:], torch.tensor([0]))
    for norm, epsilon, robust_one in (("linf", 0.0, True), ("linf", 255.0, False), ("l2", 14.0, False)):
        attack = Attack(norm=norm, epsilon_255=epsilon, step_255=epsilon / 4, steps=20)
        assert evaluate(net, [one], attack=attack).examples["correct"].tolist() == [robust_one]
        assert np.array_equal(evaluate(net, [one], attack=attack).examples["correct"], [robust_one])
