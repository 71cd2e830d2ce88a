"""What every pruner of the catalog that scores weights promises."""

from collections import namedtuple

import pytest
import torch

from bench import catalog, granularity, masks, models
from bench.models.modes import evaluation_mode
from bench.pruners.conditions import Conditions
from bench.spec import Prunable, Word

Batch = namedtuple("Batch", "inputs labels indices")
# Pruners that share a module differ in how their networks are trained only.
PRUNERS = {
    entry.module: name
    for name, entry in reversed(catalog.PRUNERS.items())
    if entry.module and hasattr(catalog.load(entry.module), "scores")
}.values()


def network():
    return models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)


def batches():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 4, 3, 8, 8, generator=generator)
    return [Batch(images[k], torch.arange(4), torch.arange(4 * k, 4 * k + 4)) for k in range(2)]


def scores(net, name, seed=0):
    entry = catalog.PRUNERS[name]
    conditions = Conditions(
        keep=1000,
        select=granularity.selector(Word("unstructured")),
        resolution=8,
        batches=batches(),
        seed=seed,
        options={option: value.default for option, value in entry.options.items()},
    )
    return catalog.load(entry.module).scores(net, models.prunable(net, Prunable()), conditions)


@pytest.mark.parametrize("name", PRUNERS)
def test_scores_are_finite_and_like_the_weights_in_shape_device_and_order(name):
    net = network()
    found = scores(net, name)
    expected = models.weights(net, models.prunable(net, Prunable()))
    for key, weight in expected.items():
        assert (found[key].shape, found[key].device) == (weight.shape, weight.device)
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
@pytest.mark.parametrize("trained", [True, False])
def test_the_network_and_the_global_generator_are_left_as_they_were(name, trained):
    net = network().requires_grad_(trained)
    net.body.layer1.eval()
    before = {key: value.clone() for key, value in models.state(net).items()}
    modes = [module.training for module in net.modules()]
    generator = torch.get_rng_state()
    with torch.no_grad():
        found = scores(net, name)
    for value in found.values():
        value.zero_()  # scores are no views of the weights
    assert all(torch.equal(models.state(net)[key], value) for key, value in before.items())
    assert all(parameter.grad is None and parameter.requires_grad is trained for parameter in net.parameters())
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)
    # Batch normalisation learns as before.
    net.train()(batches()[0].inputs)
    assert not torch.equal(net.body.bn1.running_mean, before["bn1.running_mean"])
    assert net.body.bn1.num_batches_tracked == 1


@pytest.mark.parametrize("name", PRUNERS)
def test_scores_do_not_depend_on_the_modes_of_the_network(name):
    net = network()
    trained = scores(net, name)
    with evaluation_mode(net):
        evaluated = scores(net, name)
    assert all(torch.equal(trained[key], evaluated[key]) for key in trained)
