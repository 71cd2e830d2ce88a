"""The encoder with its projection, its momentum copy and its queue, by hand."""

import copy

import pytest
import torch

from bench import masks as masking
from bench import models
from bench.models.contrastive import Contrastive
from bench.models.errors import ModelError
from bench.spec import Contrast, Word

SMALL = Contrast(dimensions=4, queue=6, momentum=0.75)


def encoder():
    return models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)


def images(n=4):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def keys(first, n, d=4):
    """n keys, every coordinate of the i-th being first + i."""
    return torch.arange(first, first + n).float()[:, None].expand(n, d)


def test_outputs_are_projected_features_of_length_one():
    network = Contrastive(encoder(), SMALL, seed=1).eval()
    found = network(images())
    expected = network.projection(network.encoder.features(images()))
    torch.testing.assert_close(found, expected / expected.norm(dim=1, keepdim=True))
    assert [tuple(layer.weight.shape) for layer in network.projection if hasattr(layer, "weight")] == [
        (64, 64),
        (4, 64),
    ]
    assert Contrastive(encoder(), Contrast(hidden=7), seed=1).projection[0].weight.shape == (7, 64)


def test_projection_and_queue_are_functions_of_the_seed_alone():
    torch.manual_seed(5)
    first = Contrastive(encoder(), SMALL, seed=1)
    drawn = torch.rand(1)
    torch.manual_seed(6)
    second, other = Contrastive(encoder(), SMALL, seed=1), Contrastive(encoder(), SMALL, seed=2)
    assert all(value.equal(second.state_dict()[name]) for name, value in first.state_dict().items())
    assert not first.queue.equal(other.queue)
    assert not first.projection[0].weight.equal(other.projection[0].weight)
    torch.manual_seed(5)
    assert torch.rand(1).equal(drawn)


def test_the_queue_begins_with_keys_of_length_one():
    torch.testing.assert_close(Contrastive(encoder(), SMALL, seed=1).queue.norm(dim=0), torch.ones(6))


def test_without_a_queue_there_is_no_copy():
    network = Contrastive(encoder(), Contrast(dimensions=4), seed=1)
    assert {name.split(".")[0] for name in network.state_dict()} == {"encoder", "projection"}


def test_all_but_the_head_and_the_copies_is_trained():
    network = Contrastive(encoder(), SMALL, seed=1)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    trained = {names[id(parameter)] for parameter in network.trained_parameters()}
    head = {"encoder.body.fc.weight", "encoder.body.fc.bias"}
    assert trained == {name for name in names.values() if not name.startswith("momentum")} - head


def test_keys_carry_no_gradient_and_queries_do():
    network = Contrastive(encoder(), SMALL, seed=1)
    assert not network.keys(images()).requires_grad
    network(images()).sum().backward()
    assert all(p.grad is None for p in network.momentum_encoder.parameters())
    assert all(p.grad is None for p in models.head(network.encoder).parameters())
    assert all(p.grad is not None for p in network.trained_parameters())


def test_copies_follow_by_the_momentum_and_keep_their_own_statistics():
    network = Contrastive(encoder(), SMALL, seed=1)
    theirs = copy.deepcopy(network.momentum_encoder.state_dict())
    with torch.no_grad():
        for value in [*network.encoder.state_dict().values(), *network.projection.parameters()]:
            value += 4
    network.follow(0.75)
    for name, parameter in network.momentum_encoder.named_parameters():
        # 0.75 x + 0.25 (x + 4)
        torch.testing.assert_close(parameter, theirs[name] + 1)
    for name, buffer in network.momentum_encoder.named_buffers():
        assert name.endswith(("mean", "std")) or buffer.equal(theirs[name])
    torch.testing.assert_close(network.momentum_projection[2].bias, network.projection[2].bias - 3)


def test_the_queue_forgets_the_oldest_keys_and_wraps_round():
    network = Contrastive(encoder(), SMALL, seed=1)
    network.enqueue(keys(0, 4))
    assert network.queue[:, :4].tolist() == [[0, 1, 2, 3]] * 4
    assert int(network.queue_at) == 4
    # Batches need not divide the queue.
    network.enqueue(keys(4, 4))
    assert network.queue.tolist() == [[6, 7, 2, 3, 4, 5]] * 4
    assert int(network.queue_at) == 2


def test_of_more_keys_than_the_queue_holds_the_last_stay():
    network = Contrastive(encoder(), SMALL, seed=1)
    network.enqueue(keys(0, 2))
    network.enqueue(keys(2, 9))
    # Keys 5 to 10; key i lies at i modulo 6.
    assert network.queue.tolist() == [[6, 7, 8, 9, 10, 5]] * 4
    assert int(network.queue_at) == 5


def test_shuffled_keys_come_back_in_order():
    network = Contrastive(encoder(), SMALL, seed=1).eval()
    seen = []
    network.momentum_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    plain, shuffled = network.keys(images(8)), network.keys(images(8), shuffle=(3, 0))
    torch.testing.assert_close(shuffled, plain)
    assert not seen[1].equal(images(8))
    network.keys(images(8), shuffle=(3, 1))
    network.keys(images(8), shuffle=(3, 0))
    assert seen[3].equal(seen[1])
    assert not seen[2].equal(seen[1])


def test_masks_act_on_the_encoder_and_its_copy_stays_masked():
    masked = encoder()
    weight = masked.body.layer1[0].conv1.weight
    masks = {"layer1.0.conv1.weight": torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) < 0.5}
    pruned = ~masks["layer1.0.conv1.weight"]
    masking.apply_(masked, masks)
    network = Contrastive(masked, SMALL, seed=1)
    holder = masking.Holder(network, masks)
    optimizer = torch.optim.SGD(network.trained_parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        network(images()).sum().backward()
        optimizer.step()
        holder.apply_()
        network.follow(0.5)
    copied = network.momentum_encoder.body.layer1[0].conv1.weight
    assert not weight[pruned].any()
    assert not copied[pruned].any()
    assert copied[~pruned].all()


def test_a_projection_is_taken_over_with_its_copy_or_not_at_all():
    network, other = Contrastive(encoder(), SMALL, seed=1), Contrastive(encoder(), SMALL, seed=2)
    network.load_projection(other.projection.state_dict())
    assert network.projection[0].weight.equal(other.projection[0].weight)
    assert network.momentum_projection[0].weight.equal(other.projection[0].weight)
    wider = Contrastive(encoder(), Contrast(dimensions=5), seed=1).projection.state_dict()
    with pytest.raises(ModelError, match=r"projection head of resnet8 .*expected \(4, 64\), found \(5, 64\)"):
        network.load_projection(wider)
