"""AutoAttack breaks what can be broken, for any number of classes, and agrees with the published code."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from bench import models
from bench.attacks.autoattack import ENSEMBLE, Budget, _targets, attacked
from bench.attacks.ball import ball, contains
from bench.metrics import autoattack
from bench.metrics.evaluation import Conditions
from bench.spec import Attack, Word

SMALL = Budget(steps=30, queries=60)
NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


class Linear(nn.Module):
    """Logits of a linear classifier, summed row by row: not a bit depends on the batch."""

    def __init__(self, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, 3 * 4 * 4, generator=torch.Generator().manual_seed(classes)))

    def forward(self, images):
        return ((images - 0.5).flatten(1)[:, None] * self.weight).sum(2)


def examples(net, n=40):
    """Away from the limits of pixels, with the labels that the network predicts."""
    images = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.35
    with torch.no_grad():
        return images, net(images).argmax(dim=1)


def distances(net, images, labels, norm):
    """(n,) distance of each image to the nearest other class: the logits' difference over its weights' dual norm."""
    weight, logits = net.weight.detach(), net(images).detach()
    gaps = logits.gather(1, labels[:, None]) - logits
    duals = torch.linalg.vector_norm(weight[labels][:, None] - weight, 1 if norm == "linf" else 2, dim=2)
    return torch.where(duals > 0, gaps / duals, torch.inf).amin(dim=1)


def epsilon_in_the_middle(found):
    """The middle of the widest gap between the distances of the middle half, so that no rounding decides."""
    ordered = found.sort().values[len(found) // 4 : -len(found) // 4]
    widest = ordered.diff().argmax()
    return ((ordered[widest] + ordered[widest + 1]) / 2).item()


@NORMS
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 10])
def test_a_linear_network_is_broken_exactly_where_its_boundary_is_in_the_ball(classes, norm):
    net = Linear(classes)
    images, labels = examples(net)
    nearest = distances(net, images, labels, norm)
    epsilon = epsilon_in_the_middle(nearest)
    attack = Attack(norm=norm, epsilon_255=epsilon * (255 if norm == "linf" else 1))
    right, alone = torch.ones(40, dtype=torch.bool), {}
    for name in ENSEMBLE:
        found = attacked(name, net, images, labels, attack, seed=0, indices=torch.arange(40), budget=SMALL)
        assert contains(ball(images, attack), found).all()
        alone[name] = net(found).argmax(dim=1) == labels
        right &= alone[name]
    assert right.tolist() == (nearest > epsilon).tolist()
    assert alone["fab_t"].tolist() == (nearest > epsilon).tolist()
    if classes < 4:
        assert alone["apgd_t"].tolist() == (nearest > epsilon).tolist()
    assert 5 < right.sum() < 35
    assert not alone["square"].all()


@NORMS
@pytest.mark.parametrize("name", ENSEMBLE)
def test_an_example_neither_sees_its_batch_nor_the_global_generator(name, norm):
    net = Linear(5)
    images, labels = examples(net, n=12)
    attack = Attack(norm=norm, epsilon_255=2.0 if norm == "linf" else 0.05)

    def found(chosen):
        indices = torch.arange(100, 112)[chosen]
        return attacked(name, net, images[chosen], labels[chosen], attack, seed=3, indices=indices, budget=SMALL)

    state = torch.get_rng_state()
    whole = found(torch.arange(12))
    assert 0 < (net(whole).argmax(dim=1) == labels).sum() < 12
    for chosen in ([7], [11, 2, 5], list(range(6))):
        assert torch.equal(found(torch.tensor(chosen)), whole[chosen])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", [name for name in ENSEMBLE if name != "fab_t"])
def test_seeds_and_positions_give_other_numbers(name):
    net = Linear(3)
    images, labels = examples(net, n=4)
    attack = Attack(epsilon_255=0.5)
    results = [
        attacked(name, net, images, labels, attack, seed=seed, indices=indices, budget=Budget(steps=1, queries=1))
        for seed, indices in ((0, torch.arange(4)), (1, torch.arange(4)), (0, torch.arange(4, 8)))
    ]
    assert not torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_targets_are_the_wrong_classes_by_falling_logit():
    logits = torch.tensor([[0.0, 5.0, 3.0, 4.0], [7.0, 1.0, 1.0, 2.0]])
    labels = torch.tensor([1, 0])
    assert _targets(logits, labels, 9).tolist() == [[3, 2, 0], [3, 1, 2]]
    assert _targets(logits, labels, 2).tolist() == [[3, 2], [3, 1]]


def test_masked_gradients_do_not_stop_the_targeted_attack():
    """Logits so large that the cross-entropy has no gradient: its ratio of logits has."""
    net = Linear(5)
    net.weight.data *= 1e4
    images, labels = examples(net)
    attack = Attack(epsilon_255=16.0)
    right = {}
    for name in ("apgd_ce", "apgd_t"):
        found = attacked(name, net, images, labels, attack, seed=0, indices=torch.arange(40), budget=SMALL)
        right[name] = (net(found).argmax(dim=1) == labels).sum()
    assert right["apgd_ce"] > 10
    assert right["apgd_t"] == 0


@pytest.mark.parametrize("field", ["steps", "queries", "targets"])
def test_a_budget_of_nothing_is_refused(field):
    with pytest.raises(ValueError, match="of 1 or more"):
        Budget(**{field: 0})


class Batch(NamedTuple):
    inputs: Tensor
    labels: Tensor
    indices: Tensor


# The published code (fra31/auto-attack at a392200, `standard`, seed 0) on the network of official_model.safetensors
# (resnet8, adversarially trained on digits 0 to 796) and digits 797 onwards: number, clean accuracy, accuracy after
# APGD-CE, APGD-T, FAB-T and Square. For L2, where only 300 of 1,000 are attacked here, the worst case over the four
# run on their own (0.575 on 1,000; in sequence 0.605, 0.579, 0.577, 0.576, and ours 0.598, 0.576, 0.574, 0.573).
OFFICIAL = {
    "linf": (0.2 * 255, 1000, [0.968, 0.459, 0.435, 0.435, 0.435]),
    "l2": (1.0, 300, [None, None, None, None, 0.570]),
}


def official_network():
    net = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    stored = load_file(Path(__file__).with_name("official_model.safetensors"))  # halves, for its size
    models.load_state(net, {name: part.float() if part.is_floating_point() else part for name, part in stored.items()})
    return net.eval().requires_grad_(False)


@pytest.mark.slow
@NORMS
def test_accuracies_agree_with_the_published_code(norm):
    epsilon, n, official = OFFICIAL[norm]
    digits = load_digits()
    images = torch.tensor(digits.images[797:][:n] / 16, dtype=torch.float32)[:, None].repeat(1, 3, 1, 1)
    batch = Batch(images, torch.tensor(digits.target[797:][:n]), torch.arange(n))
    conditions = Conditions(batches=lambda: [batch], attack=Attack(norm=norm, epsilon_255=epsilon))
    found = autoattack.evaluate(official_network(), conditions)
    ours = np.array(list(found.details["accuracy_after"].values()))
    # Half a point of accuracy: over five seeds the published APGD-CE alone varies from 0.458 to 0.466 in Linf.
    for own, published in zip(ours, official, strict=True):
        assert published is None or abs(own - published) <= 0.005
