import itertools
import math

import pytest
import torch
from torch import nn

from bench import granularity, masks, models
from bench.pruners import synflow
from bench.pruners.conditions import Conditions
from bench.spec import Prunable, Word

UNSTRUCTURED = Word("unstructured")


def conditions(keep, rounds=1, resolution=8, word=UNSTRUCTURED, select=None):
    return Conditions(
        keep=keep, select=select or granularity.selector(word), resolution=resolution, options={"rounds": rounds}
    )


def chain():
    """Mean colour, then 3 -> 2 -> 2 units with ReLU between; biases, which the flow ignores."""
    body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    body[2].weight.data = torch.tensor([[1.0, -2.0, 3.0], [-4.0, 0.0, 1.0]])
    body[4].weight.data = torch.tensor([[-1.0, 2.0], [3.0, 0.5]])
    return body


def test_scores_of_two_layers_are_the_products_along_their_paths(make_network):
    net = make_network(chain(), "4").float()
    found = synflow.scores(net, ("2.weight", "4.weight"), conditions(10))
    # |A| sums to 6 and 5 by row, |B| to 4 and 2.5 by column.
    first = torch.tensor([[4.0, 8.0, 12.0], [10.0, 0.0, 2.5]], dtype=torch.float64)
    second = torch.tensor([[6.0, 10.0], [18.0, 2.5]], dtype=torch.float64)
    torch.testing.assert_close(found["2.weight"], first)
    torch.testing.assert_close(found["4.weight"], second)
    assert found["2.weight"].sum() == pytest.approx(found["4.weight"].sum()) == 36.5


def test_flow_is_conserved_from_layer_to_layer_of_a_trained_network(make_network):
    """Also past batch normalisation with statistics, pooling and saturating units."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=4), nn.BatchNorm2d(8),
        nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    )  # fmt: skip
    for norm in (body[1], body[5]):
        for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.5, 2)
    body[0].weight.data *= 100  # an image of ones would saturate all of ReLU6
    net = make_network(body, "9")
    sums = [
        score.sum().item()
        for score in synflow.scores(net, ("0.weight", "4.weight", "9.weight"), conditions(1)).values()
    ]
    assert sums[0] > 0
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)


def test_rounds_follow_the_exponential_schedule():
    net = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    names, asked, selected = models.prunable(net, Prunable()), [], []
    total = sum(weight.numel() for weight in models.weights(net, names).values())

    def select(scores, keep):
        asked.append(keep)
        selected.append(granularity.keep_top(scores, keep, granularity=UNSTRUCTURED))
        return selected[-1]

    found = synflow.scores(net, names, conditions(total // 16, rounds=4, select=select))
    assert asked == [round(total * share) for share in (1 / 2, 1 / 4, 1 / 8)] == [37080, 18540, 9270]
    assert all(
        (later[name] <= earlier[name]).all() for earlier, later in itertools.pairwise(selected) for name in names
    )
    final = granularity.keep_top(found, total // 16, granularity=UNSTRUCTURED)
    for name in names:
        assert (found[name][~selected[-1][name]] == -1).all()
        assert (final[name] <= selected[-1][name]).all()


def test_many_rounds_keep_a_path_where_one_cuts_the_network(make_network):
    """A wide layer between narrow ones has the smallest scores: in one round all of it goes (layer collapse)."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 40),
        nn.ReLU(),
        nn.Linear(40, 40),
        nn.ReLU(),
        nn.Linear(40, 2),
    )
    net, names = make_network(body, "6"), ("2.weight", "4.weight", "6.weight")

    def kept(rounds):
        scores = synflow.scores(net, names, conditions(30, rounds))
        return [n for n, _ in masks.per_layer(granularity.keep_top(scores, 30, granularity=UNSTRUCTURED)).values()]

    assert kept(1)[1] == 0
    assert min(kept(100)) > 0


@pytest.mark.parametrize("word", [Word("kernel"), Word("channel")])
def test_every_round_holds_to_the_groups(word):
    net = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    names, keep, leading = models.prunable(net, Prunable()), 18_540, granularity.DIMENSIONS[word.name]
    scores = synflow.scores(net, names, conditions(keep, 6, word=word))
    for score in scores.values():
        pruned = (score == -1).flatten(leading - 1).unflatten(-1, (score.shape[leading - 1], -1))
        assert torch.equal(pruned.any(-1), pruned.all(-1))
    largest = 9 if word.name == "kernel" else 64 * 9
    assert keep - largest < masks.kept(granularity.keep_top(scores, keep, granularity=word)) <= keep


def test_two_of_four_rounds_go_from_four_to_three_to_two():
    net = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    names, word, counts = models.prunable(net, Prunable()), Word("n_of_m", (("m", 4),)), []

    def select(scores, keep):
        chosen = granularity.selector(word)(scores, keep)
        counts.append(chosen["layer1.0.conv1.weight"].sum().item() / 2304 * 4)
        return chosen

    scores = synflow.scores(net, names, conditions(37_080, 6, select=select))
    # Shares 0.89, 0.79, 0.71, 0.63 and 0.56, each raised to the next quarter.
    assert counts == [4, 4, 3, 3, 3]
    kept = granularity.keep_top(scores, 37_080, granularity=word)["layer1.0.conv1.weight"]
    assert (kept.view(16, 4, 4, 3, 3).sum(2) == 2).all()


def test_the_flow_of_a_deep_network_does_not_overflow():
    net = models.build(Word("resnet50", (("stem", "cifar"),)), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    scores = synflow.scores(net, models.prunable(net, Prunable()), conditions(1))
    largest = max(score.max().item() for score in scores.values())
    assert 3.4e38 < largest < math.inf  # more than float32 holds
    assert all(score.min() >= 0 for score in scores.values())


def test_networks_without_a_sum_over_paths_are_refused(make_network):
    net = make_network(nn.Sequential(nn.Flatten(), nn.LayerNorm(192), nn.Linear(192, 2)), "2")
    with pytest.raises(ValueError, match=r"toy has LayerNorm \(1\); take another pruner"):
        synflow.scores(net, ("2.weight",), conditions(1))
    with pytest.raises(ValueError, match="synflow needs rounds >= 1, found 0"):
        synflow.scores(net, ("2.weight",), conditions(1, rounds=0))
