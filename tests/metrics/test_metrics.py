"""What every metric of the catalog promises, and what each measures."""

import json
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench import catalog, models
from bench.metrics import accuracy
from bench.metrics.evaluation import Conditions, in_order
from bench.spec import Attack, Prunable, Word

ATTACK = Attack(epsilon_255=8.0, step_255=4.0, steps=4, restarts=2)


class Batch(NamedTuple):
    inputs: Tensor
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


# Those of scenes and of texts have tests of their own. AutoAttack asks a network thousands of times.
METRICS = [
    pytest.param(name, marks=pytest.mark.slow) if name == "autoattack" else name
    for name, entry in catalog.METRICS.items()
    if "classification" in entry.tasks
]


def conditions(name, net, parts, **changes):
    """What the stage gives a metric: every further set, a ticket's masks and pre-trained weights, an attack if need be."""
    names = models.prunable(net, Prunable())
    pretrained = {key: value.clone() for key, value in models.state(net).items()}
    masks = {key: pretrained[key].abs() > pretrained[key].abs().median() for key in names}
    given = {
        "batches": lambda: parts,
        "seed": 4,
        "attack": ATTACK if catalog.METRICS[name].attacks else None,
        "options": {
            key: option.default for key, option in catalog.METRICS[name].options.items() if option.default is not None
        },
        "others": dict.fromkeys(
            ("out", "source"), lambda: [part._replace(inputs=1 - part.inputs) for part in batches((7, 2))]
        ),
        "masks": masks,
        "pretrained": pretrained,
    }
    return Conditions(**given | changes)


def evaluate(name, net, parts, **changes):
    return catalog.load(catalog.METRICS[name].module).evaluate(net, conditions(name, net, parts, **changes))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_reports_exactly_what_it_declares_and_leaves_the_network(name):
    net = network().train()
    net.body.bn1.eval()
    before = {key: value.clone() for key, value in models.state(net).items()}
    drawn = torch.get_rng_state()
    found = evaluate(name, net, batches())
    assert list(found.metrics) == list(catalog.METRICS[name].reports)
    assert all(isinstance(value, float) and math.isfinite(value) for value in found.metrics.values())
    assert all(values.shape[0] == 12 for values in found.examples.values())
    assert found.examples.get("correct", np.zeros(12, np.bool_)).dtype == np.bool_
    assert json.loads(json.dumps(found.details)) == found.details
    assert all(isinstance(flag, str) for flag in found.flags)
    assert net.training
    assert not net.body.bn1.training
    assert all(torch.equal(models.state(net)[key], value) for key, value in before.items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert torch.equal(torch.get_rng_state(), drawn)


@pytest.mark.parametrize("name", METRICS)
def test_neither_the_batches_nor_their_order_matter(name):
    net = network()
    order = [7, 0, 11, 3, 1, 2, 9, 8, 4, 10, 6, 5]
    one = evaluate(name, net, batches((12,), net=net))
    many = evaluate(name, net, batches((1, 6, 5), order=order, net=net))
    for key, values in one.examples.items():
        assert np.allclose(values, many.examples[key], atol=1e-5)
    assert one.metrics == pytest.approx(many.metrics, abs=1e-5)


@pytest.mark.parametrize("name", METRICS)
def test_no_examples_and_infinite_outputs_are_refused(name):
    with pytest.raises(ValueError, match=r"no examples|two images and more, found 0"):
        evaluate(name, network(), [])
    diverged = network()
    diverged.body.bn1.weight.data.fill_(float("inf"))
    with pytest.raises(ValueError, match="not finite"):
        evaluate(name, diverged, batches())


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_stops_between_batches_where_it_is_told_to(name):
    def pause():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(name, network(), batches(), pause=pause)


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
    found = accuracy.evaluate(Table(), Conditions(batches=lambda: parts))
    assert found.examples["correct"].tolist() == [True, False, True]
    assert found.examples["nll"].tolist() == pytest.approx([math.log(2), math.log(3), math.log(3 / 2)], rel=1e-6)
    assert found.metrics == {"accuracy": pytest.approx(2 / 3)}  # over examples, not over batches


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
