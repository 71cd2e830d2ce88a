"""What every pruner of the catalog promises."""

import pytest
import torch

from bench import catalog, masks, models
from bench.spec import Prunable, Word

PRUNERS = [name for name, entry in catalog.PRUNERS.items() if entry.module]


def network():
    return models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)


def batches():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 4, 3, 8, 8, generator=generator)
    return [(images[k], torch.arange(4), torch.arange(4 * k, 4 * k + 4)) for k in range(2)]


def scores(net, name, seed=0):
    names = models.prunable(net, Prunable())
    return catalog.load(catalog.PRUNERS[name].module).scores(net, names, batches(), seed=seed)


@pytest.mark.parametrize("name", PRUNERS)
def test_scores_are_finite_and_shaped_like_the_weights_in_their_order(name):
    net = network()
    found = scores(net, name)
    expected = models.weights(net, models.prunable(net, Prunable()))
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}
    assert list(found) == list(expected)
    assert all(torch.isfinite(value).all() and not value.requires_grad for value in found.values())
    assert masks.kept(masks.keep_top(found, 1000)) == 1000


@pytest.mark.parametrize("name", PRUNERS)
def test_scores_are_a_function_of_the_seed(name):
    net = network()
    first, again, other = (scores(net, name, seed) for seed in (5, 5, 6))
    torch.rand(3)
    assert all(torch.equal(first[key], again[key]) for key in first)
    differs = any(not torch.equal(first[key], other[key]) for key in first)
    assert differs == catalog.PRUNERS[name].random


@pytest.mark.parametrize("name", PRUNERS)
def test_the_network_and_the_global_generator_are_left_as_they_were(name):
    net = network()
    before = {key: value.clone() for key, value in models.state(net).items()}
    generator = torch.get_rng_state()
    found = scores(net, name)
    for value in found.values():
        value.zero_()  # scores are no views of the weights
    assert all(torch.equal(models.state(net)[key], value) for key, value in before.items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert net.training
    assert torch.equal(torch.get_rng_state(), generator)
