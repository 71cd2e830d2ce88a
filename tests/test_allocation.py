"""Layers keep the shares that a rule gives them, in whole weights that add up."""

import math

import pytest

from bench import allocation

# A 3 x 3 convolution from 4 to 8 channels (288 weights, dimensions summing to 18) and a linear layer from 16 to 12
# units (192 weights, summing to 28).
TWO = {"conv": (8, 4, 3, 3), "linear": (12, 16)}


def test_erk_shares_on_two_layers():
    # 92 weights in the proportion 18 : 28 are 36 and 56: densities 36 / 288 and 56 / 192.
    assert allocation.counts(TWO, 92, allocation="erk") == {"conv": 36, "linear": 56}


def test_erk_layers_that_would_be_overfull_are_dense_and_the_others_share_the_rest():
    # Sums 5, 11 and 20 of 100 weights: 13.9, 30.6 and 55.6. The first has 6 weights only; 94 in the proportion 11 : 20
    # are 33.4 and 60.6 of 30 and 100, so the second is full as well, which leaves 64 to the third.
    shapes = {"a": (2, 3), "b": (5, 6), "c": (10, 10)}
    assert allocation.counts(shapes, 100, allocation="erk") == {"a": 6, "b": 30, "c": 64}


def test_layerwise_counts_have_one_density_within_one_weight():
    shapes = {"a": (3, 5), "b": (7, 11), "c": (2, 2, 3, 3), "d": (1, 1)}
    total = sum(map(math.prod, shapes.values()))
    for keep in range(total + 1):
        found = allocation.counts(shapes, keep, allocation="layerwise")
        assert sum(found.values()) == keep
        assert all(abs(found[name] - keep * math.prod(shapes[name]) / total) < 1 for name in shapes)


def test_erk_counts_sum_to_keep_and_fit():
    shapes = {"a": (2, 3), "b": (5, 6), "c": (10, 10), "d": (4, 4, 3, 3)}
    total = sum(map(math.prod, shapes.values()))
    for keep in range(total + 1):
        found = allocation.counts(shapes, keep, allocation="erk")
        assert sum(found.values()) == keep
        assert all(0 <= found[name] <= math.prod(shapes[name]) for name in shapes)


@pytest.mark.parametrize("name", ["layerwise", "erk"])
def test_no_layer_keeps_more_than_survivors(name):
    found = allocation.counts(TWO, 60, allocation=name, available={"conv": 20, "linear": 45})
    assert sum(found.values()) == 60
    assert found["conv"] <= 20
    assert found["linear"] <= 45


def test_leftover_weights_go_to_the_largest_remainders_then_by_position():
    # Shares 2.5, 2.5 and 1: the first of the equal remainders gains.
    assert allocation.counts({"a": (5,), "b": (5,), "c": (2,)}, 6, allocation="layerwise") == {"a": 3, "b": 2, "c": 1}


def test_scores_decide_where_allocation_is_global():
    assert allocation.counts(TWO, 92, allocation="global") is None


@pytest.mark.parametrize(
    ("name", "keep", "message"),
    [
        ("er", 3, r"allocation 'er' \(known: global, layerwise, erk\)"),
        ("erk", 481, "cannot keep 481 of 480 weights"),
        ("layerwise", -1, "cannot keep -1 of 480 weights"),
    ],
)
def test_what_cannot_be_allocated_is_said(name, keep, message):
    with pytest.raises(ValueError, match=message):
        allocation.counts(TWO, keep, allocation=name)
