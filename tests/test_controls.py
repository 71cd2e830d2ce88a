"""Controls change what they say and nothing else."""

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


def test_reversed_masks_keep_what_was_pruned():
    assert controls.reversed_masks({"w": torch.tensor([True, False, False])})["w"].tolist() == [False, True, True]
