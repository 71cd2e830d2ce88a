"""Optimisers and schedules of recipes, by hand."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.spec import Recipe
from bench.training.optimizers import batchnorm_momentum, go_on_from, learning_rate, make_optimizer, set_lr

RECIPE = Recipe(epochs=10, lr=0.5, momentum=0.0, weight_decay=0.1)


def two_layers():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(3.0)
            parameter.grad = torch.full_like(parameter, 2.0)
    return network


def test_lars_adapts_weights_and_leaves_biases_to_plain_descent():
    """Four weights of 3 and their gradients of 2: norms 6 and 4; step 0.001 * 6 / (4 + 0.1 * 6) * (2 + 0.1 * 3)."""
    network = two_layers()
    make_optimizer(list(network.parameters()), replace(RECIPE, optimizer="lars")).step()
    expected = 3 - 0.5 * 1e-3 * 6 / (4 + 0.1 * 6) * (2 + 0.1 * 3)
    torch.testing.assert_close(network[0].weight, torch.full((2, 2), expected))
    assert network[0].bias.tolist() == [2.0, 2.0]


def test_lars_adapts_without_weight_decay_too():
    network = two_layers()
    make_optimizer(list(network.parameters()), replace(RECIPE, optimizer="lars", weight_decay=0.0)).step()
    torch.testing.assert_close(network[0].weight, torch.full((2, 2), 3 - 0.5 * 1e-3 * 6 / 4 * 2))


@pytest.mark.parametrize("optimizer", ["sgd", "lars"])
def test_heads_have_their_own_learning_rate(optimizer):
    network = two_layers()
    recipe = replace(RECIPE, optimizer=optimizer, weight_decay=0.0, head_lr=10.0, schedule="linear")
    made = make_optimizer(list(network.parameters()), recipe, list(network[1].parameters()))
    # Half of the ten epochs: half of the rate.
    set_lr(made, recipe, 5, 1)
    made.step()
    torch.testing.assert_close(network[0].bias, torch.full((2,), 3 - 0.25 * 2))
    torch.testing.assert_close(network[1].bias, torch.full((1,), 3 - 2.5 * 2))
    assert sorted({group["lr"] for group in made.param_groups}) == [0.25, 2.5]


def test_without_heads_or_with_their_rate_alike_there_is_one_group():
    network = two_layers()
    parameters, heads = list(network.parameters()), list(network[1].parameters())
    assert len(make_optimizer(parameters, replace(RECIPE, head_lr=10.0)).param_groups) == 1
    assert len(make_optimizer(parameters, RECIPE, heads).param_groups) == 1


def test_schedules_end_at_their_last_rate():
    poly = replace(RECIPE, schedule="poly", lr=1.0)
    assert [learning_rate(poly, step, 1) for step in (0, 5)] == pytest.approx([1, 0.5**0.9])
    last = {"final_lr": 0.2, "lr": 1.0}
    rates = {name: replace(RECIPE, schedule=name, **last) for name in ("cosine", "linear", "poly")}
    assert [learning_rate(rates["cosine"], step, 1) for step in (0, 5, 10)] == pytest.approx([1, 0.6, 0.2])
    assert [learning_rate(rates["linear"], step, 1) for step in (0, 5, 10)] == pytest.approx([1, 0.6, 0.2])
    assert [learning_rate(rates["poly"], step, 1) for step in (0, 10)] == pytest.approx([1, 0.2])
    assert learning_rate(rates["poly"], 5, 1) == pytest.approx(0.2 + 0.8 * 0.5**0.9)


def test_an_optimiser_goes_on_from_what_another_gathered_with_its_own_settings():
    recipe = replace(RECIPE, momentum=0.5, weight_decay=0.0)
    first, second = two_layers(), two_layers()
    made = make_optimizer(list(first.parameters()), recipe)
    made.step()
    later = make_optimizer(list(second.parameters()), replace(recipe, lr=1.0))
    go_on_from(later, made.state_dict())
    # The momentum 2 of the first step halves: 0.5 * 2 + 2 = 3.
    later.step()
    assert second[1].bias.tolist() == [0.0]
    # Theirs is left as it was.
    made.step()
    assert first[1].bias.tolist() == [3 - 0.5 * 2 - 0.5 * 3]


def test_the_momentum_of_batch_normalisation_changes_for_a_while():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2, momentum=0.3))
    with batchnorm_momentum(network, 0.01):
        assert [norm.momentum for norm in network] == [0.01, 0.01]
    assert [norm.momentum for norm in network] == [0.1, 0.3]
    with batchnorm_momentum(network, None):
        assert [norm.momentum for norm in network] == [0.1, 0.3]
