"""Masks keep exactly what is asked, agree with torch's own pruning, and hold through training."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from bench import masks, models
from bench.ladder import Ladder
from bench.models.network import outline
from bench.spec import Prunable, Word

LADDER = Ladder(of="survivors", rate=0.2)
RESNET50 = Word("resnet50", (("stem", "imagenet"),))


def network(seed=0):
    return models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=seed)


def test_the_highest_scores_of_all_layers_are_kept():
    scores = {"a": torch.tensor([[1.0, 9.0], [3.0, 2.0]]), "b": torch.tensor([8.0, 0.0, 7.0])}
    kept = masks.keep_top(scores, 3)
    assert kept["a"].tolist() == [[False, True], [False, False]]
    assert kept["b"].tolist() == [True, False, True]


def test_ties_are_broken_by_position():
    scores = {"a": torch.tensor([[1.0, 1.0]]), "b": torch.tensor([2.0, 1.0, 1.0])}
    kept = masks.keep_top(scores, 3)
    assert kept["a"].tolist() == [[True, True]]
    assert kept["b"].tolist() == [True, False, False]


@pytest.mark.parametrize("keep", range(9))
def test_the_count_is_exact_whatever_the_ties(keep):
    scores = {"w": torch.tensor([0.0, 0.0, 5.0, 5.0, 5.0, 1.0, 0.0, 5.0])}
    kept = masks.keep_top(scores, keep)
    assert masks.kept(kept) == keep
    order = [2, 3, 4, 7, 5, 0, 1, 6]  # by score, then by position
    assert sorted(kept["w"].nonzero().flatten().tolist()) == sorted(order[:keep])


def test_only_survivors_can_be_kept_again():
    scores = {"a": torch.tensor([9.0, 1.0, 2.0]), "b": torch.tensor([8.0, 0.0])}
    # In another order than the scores, as a file may give them back.
    within = {"b": torch.tensor([True, True]), "a": torch.tensor([False, True, True])}
    kept = masks.keep_top(scores, 3, within=within)
    assert {name: mask.tolist() for name, mask in kept.items()} == {"a": [False, True, True], "b": [True, False]}
    assert list(kept) == ["a", "b"]


def test_a_survivor_of_score_zero_goes_before_a_pruned_weight():
    kept = masks.keep_top({"a": torch.zeros(4)}, 2, within={"a": torch.tensor([False, True, False, True])})
    assert kept["a"].tolist() == [False, True, False, True]


def test_doubles_are_not_rounded_into_ties():
    kept = masks.keep_top({"a": torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64)}, 1)
    assert kept["a"].tolist() == [False, True]


@pytest.mark.parametrize(
    ("scores", "keep", "within", "message"),
    [
        ({"a": torch.ones(3)}, 4, None, "cannot keep 4 of 3 weights"),
        ({"a": torch.ones(3)}, -1, None, "cannot keep -1 of 3 weights"),
        ({"a": torch.ones(3)}, 2, {"a": torch.tensor([True, False, False])}, "cannot keep 2 of 1 weights"),
        ({"a": torch.tensor([1.0, float("nan")])}, 1, None, "1 of 2 scores are not a number"),
        ({"a": torch.ones(3)}, 1, {"b": torch.ones(3, dtype=torch.bool)}, "names and shapes of the scores"),
        ({}, 0, None, "there are no weights to prune"),
    ],
)
def test_what_cannot_be_kept_is_said(scores, keep, within, message):
    with pytest.raises(ValueError, match=message):
        masks.keep_top(scores, keep, within=within)


def test_every_round_of_a_ladder_equals_torchs_global_pruning():
    """The oracle prunes 20 % of the survivors 19 times; weights drawn from a continuum have no ties."""
    generator = torch.Generator().manual_seed(0)
    layers = nn.ModuleList([nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 3), nn.Linear(50, 40)])
    for layer in layers:
        layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
    scores = {str(k): layer.weight.detach().abs().clone() for k, layer in enumerate(layers)}
    total = sum(score.numel() for score in scores.values())
    assert len(torch.cat([score.flatten() for score in scores.values()]).unique()) == total
    chained = None
    for round in range(1, 20):
        prune.global_unstructured([(layer, "weight") for layer in layers], prune.L1Unstructured, amount=0.2)
        chained = masks.keep_top(scores, LADDER.kept(total, round), within=chained)
        one_shot = masks.keep_top(scores, LADDER.kept(total, round))
        for name, layer in enumerate(layers):
            assert torch.equal(chained[str(name)], layer.weight_mask.bool())
            assert torch.equal(one_shot[str(name)], chained[str(name)])


def test_the_ladder_on_resnet50_has_the_published_sparsities():
    body = outline(RESNET50, classes=1000).module
    total = sum(parameter.numel() for parameter in body.parameters() if parameter.dim() == 4)
    # Chen et al. 2021 and 2022 report these, in percent.
    published = (
        "20.00 36.00 48.80 59.04 67.23 73.79 79.03 83.22 86.58 89.26 "
        "91.41 93.13 94.50 95.60 96.48 97.19 97.75 98.20 98.56"
    )
    assert total == 23_454_912
    found = [f"{100 * (1 - LADDER.kept(total, round) / total):.2f}" for round in range(1, 20)]
    assert found == published.split()


def test_a_ladder_of_masks_on_resnet50_achieves_its_sparsities():
    generator = torch.Generator().manual_seed(0)
    parameters = outline(RESNET50, classes=1000).module.named_parameters()
    scores = {name: torch.rand(weight.shape, generator=generator) for name, weight in parameters if weight.dim() == 4}
    total = 23_454_912
    fourth = masks.keep_top(scores, LADDER.kept(total, 4))
    last = masks.keep_top(scores, LADDER.kept(total, 19), within=fourth)
    assert f"{100 * masks.sparsity(fourth):.2f} {100 * masks.sparsity(last):.2f}" == "59.04 98.56"
    assert all((mask <= fourth[name]).all() for name, mask in last.items())


def test_counts():
    mask = {"a": torch.tensor([True, False, False, True]), "b": torch.tensor([False, False])}
    assert masks.kept(mask) == 2
    assert masks.sparsity(mask) == 1 - 2 / 6
    assert masks.per_layer(mask) == {"a": (2, 4), "b": (0, 2)}
    assert masks.sparsity({}) == 0.0


def test_ones_keep_everything_and_have_the_weights_shapes():
    net = network()
    mask = masks.ones(net, models.prunable(net, Prunable()))
    assert masks.sparsity(mask) == 0.0
    assert mask["layer3.0.conv1.weight"].shape == (64, 32, 3, 3)


def test_applying_a_mask_zeroes_the_pruned_weights_and_nothing_else():
    net = network()
    before = {name: value.clone() for name, value in models.state(net).items()}
    mask = {"conv1.weight": torch.rand(16, 3, 3, 3) > 0.5}
    net.body.conv1.weight.data[~mask["conv1.weight"]] = float("inf")  # zero, not inf x 0
    masks.apply_(net, mask)
    after = models.state(net)
    assert torch.equal(after["conv1.weight"], before["conv1.weight"].masked_fill(~mask["conv1.weight"], 0))
    assert all(torch.equal(after[name], value) for name, value in before.items() if name != "conv1.weight")


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"fc.wait": torch.ones(1, dtype=torch.bool)}, "fc.wait of shape .* no such weight"),
        ({"fc.weight": torch.ones(4, dtype=torch.bool)}, r"fc.weight of shape \(4,\) does not fit resnet8: \(10, 64\)"),
    ],
)
def test_a_mask_of_another_network_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        masks.apply_(network(), mask)
    with pytest.raises(ValueError, match=message):
        masks.Holder(network(), mask)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_held_mask_trains_like_one_applied_to_weights_and_gradients(optimizer, channels_last):
    """Reference: the mask is multiplied into the weights in every forward pass, so pruned ones get no gradient."""
    images, labels = torch.rand(8, 3, 8, 8), torch.arange(8)
    held, reference = network(), network()
    if channels_last:
        held = held.to(memory_format=torch.channels_last)
    scores = {name: p.detach().abs() for name, p in models.weights(held, models.prunable(held, Prunable())).items()}
    mask = masks.keep_top(scores, 20_000)
    for net in (held, reference):
        masks.apply_(net, mask)
    make = {
        "sgd": lambda net: torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
        "adamw": lambda net: torch.optim.AdamW(net.parameters(), lr=0.01),
    }[optimizer]
    optimizers = [make(held), make(reference)]
    holder = masks.Holder(held, mask)
    for _ in range(4):
        for net, step in zip((held, reference), optimizers, strict=True):
            step.zero_grad()
            nn.functional.cross_entropy(net(images), labels).backward()
            if net is reference:
                for name, parameter in net.body.named_parameters():
                    if name in mask:
                        parameter.grad *= mask[name]
            step.step()
        holder.apply_()
    for name, parameter in held.body.named_parameters():
        if name in mask:
            assert (parameter[~mask[name]] == 0).all()
        if not channels_last:  # another memory format sums in another order
            assert torch.equal(parameter, reference.body.get_parameter(name))
    assert masks.sparsity(mask) > 0.7


def test_the_holders_masks_have_the_strides_of_their_weights():
    net = network().to(memory_format=torch.channels_last)
    holder = masks.Holder(net, masks.ones(net, models.prunable(net, Prunable())))
    assert [m.stride() for m in holder._masks] == [w.stride() for w in holder._weights]


def test_holding_no_masks_does_nothing():
    masks.Holder(network(), {}).apply_()


@pytest.mark.parametrize("shape", [(3,), (2, 4), (3, 5, 3, 3), (0, 4)])
def test_packed_masks_unpack_to_themselves(shape):
    mask = {"b.weight": torch.rand(shape) > 0.5, "a.weight": torch.tensor([[True]])}
    packed = masks.pack(mask)
    assert packed["b.weight:bits"].dtype == np.uint8
    assert packed["b.weight:bits"].size == -(-mask["b.weight"].numel() // 8)
    unpacked = masks.unpack(packed)
    assert list(unpacked) == list(mask)
    assert all(torch.equal(unpacked[name], mask[name]) and unpacked[name].dtype == torch.bool for name in mask)


def test_bits_that_do_not_fill_the_shape_are_refused():
    packed = masks.pack({"w": torch.ones(20, dtype=torch.bool)})
    packed["w:shape"] = np.array([40])
    with pytest.raises(ValueError, match=r"mask w of shape \(40,\) needs 5 bytes, found 3"):
        masks.unpack(packed)
