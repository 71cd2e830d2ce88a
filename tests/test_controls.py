"""Controls change what they say and nothing else."""

from itertools import permutations

import pytest
import torch

from bench import controls


def test_shuffled_weights_are_the_same_numbers_elsewhere_in_their_layer():
    state = {"a.weight": torch.arange(60.0).view(4, 5, 3), "a.bias": torch.arange(4.0), "b.weight": torch.rand(6, 6)}
    before = {name: tensor.clone() for name, tensor in state.items()}
    found = controls.shuffled(state, ["a.weight"], seed=3)
    assert found["a.weight"].shape == (4, 5, 3)
    assert sorted(found["a.weight"].flatten().tolist()) == list(range(60))
    assert not torch.equal(found["a.weight"], state["a.weight"])
    assert all(torch.equal(found[name], state[name]) for name in ("a.bias", "b.weight"))
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_a_shuffle_is_a_function_of_its_seed():
    state, generator = {"w": torch.arange(100.0)}, torch.get_rng_state()
    first, again, other = (controls.shuffled(state, {"w": None}, seed=seed)["w"] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), generator)


def test_every_place_is_equally_likely():
    state = {"w": torch.tensor([1.0, 0.0, 0.0, 0.0])}
    places = [int(controls.shuffled(state, ["w"], seed=seed)["w"].argmax()) for seed in range(400)]
    # 100 expected in each, standard deviation sqrt(400 * 3 / 16) = 8.7.
    assert all(abs(places.count(place) - 100) < 53 for place in range(4))


def blocks(count):
    """Blocks of a matrix each and a bias, whose numbers tell where they are from, and a layer after them."""
    state = {}
    for block in range(count):
        state |= {
            f"body.layer.{block}.{part}.weight": torch.full((2, 3), 10.0 * block + k) for k, part in enumerate("ab")
        }
        state[f"body.layer.{block}.a.bias"] = torch.full((2,), -float(block))
    return {**state, "body.pooler.weight": torch.full((2, 2), 99.0)}


def matrices(state):
    return [name for name in state if name.endswith(".weight")]


def test_permuted_layers_exchange_whole_blocks_of_matrices_and_leave_the_rest():
    state = blocks(12)
    before = {name: tensor.clone() for name, tensor in state.items()}
    found = controls.permuted_layers(state, matrices(state), "body.layer.", seed=3)
    assert list(found) == list(state)
    places = [int(found[f"body.layer.{block}.a.weight"][0, 0]) // 10 for block in range(12)]
    assert sorted(places) == list(range(12))
    assert places != sorted(places)
    for block, place in enumerate(places):
        for part in "ab":
            assert torch.equal(found[f"body.layer.{block}.{part}.weight"], state[f"body.layer.{place}.{part}.weight"])
        assert torch.equal(found[f"body.layer.{block}.a.bias"], state[f"body.layer.{block}.a.bias"])
    assert torch.equal(found["body.pooler.weight"], state["body.pooler.weight"])
    found["body.layer.0.a.weight"].zero_()
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_every_order_of_blocks_but_their_own_is_equally_likely_and_a_function_of_the_seed():
    state, generator = blocks(3), torch.get_rng_state()
    seen = []
    for seed in [*range(400), 0]:
        found = controls.permuted_layers(state, matrices(state), "body.layer.", seed=seed)
        seen.append(tuple(int(found[f"body.layer.{block}.a.weight"][0, 0]) // 10 for block in range(3)))
    assert seen.pop() == seen[0]
    assert set(seen) == set(permutations(range(3))) - {(0, 1, 2)}
    # 80 expected of each, standard deviation sqrt(400 * 0.2 * 0.8) = 8.
    assert all(abs(seen.count(order) - 80) < 48 for order in set(seen))
    assert torch.equal(torch.get_rng_state(), generator)


def test_two_blocks_always_change_places():
    state = blocks(2)
    for seed in range(20):
        found = controls.permuted_layers(state, matrices(state), "body.layer.", seed=seed)
        assert torch.equal(found["body.layer.0.b.weight"], state["body.layer.1.b.weight"])


@pytest.mark.parametrize(
    ("change", "prefix", "message"),
    [
        ({}, "", "found 0 blocks of names '' and a number: take another control"),
        ({}, "layer", "found 0 blocks of names 'layer' and a number"),
        ({"body.layer.1.b.weight": torch.zeros(3, 3)}, "body.layer.", "blocks body.layer.0 and body.layer.1 differ in"),
        ({"body.layer.2.a.weight": torch.zeros(2, 3)}, "body.layer.", "blocks body.layer.0 and body.layer.2 differ in"),
    ],
)
def test_blocks_that_cannot_be_exchanged_are_named(change, prefix, message):
    state = blocks(2) | change
    with pytest.raises(ValueError, match=message):
        controls.permuted_layers(state, matrices(state), prefix, seed=0)


def test_reversed_masks_keep_what_was_pruned():
    assert controls.reversed_masks({"w": torch.tensor([True, False, False])})["w"].tolist() == [False, True, True]
