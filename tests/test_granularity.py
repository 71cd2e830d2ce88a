"""Weights are chosen in the groups a grid names."""

import math

import pytest
import torch

from bench import catalog, granularity, masks
from bench.ladder import Ladder
from bench.spec import Word

UNSTRUCTURED, ROW, KERNEL, CHANNEL = (Word(name) for name in ("unstructured", "row", "kernel", "channel"))
TWO_OF_FOUR = Word("n_of_m", (("m", 4),))
STRUCTURED = (ROW, KERNEL, CHANNEL)


def two_layers():
    """A convolution of 8 filters of 4 x 3 x 2 weights and a linear layer of 6 x 8: 240 weights without ties."""
    generator = torch.Generator().manual_seed(0)
    return {"conv": torch.rand(8, 4, 3, 2, generator=generator), "linear": torch.rand(6, 8, generator=generator)}


def brute_force(scores, keep, leading):
    """Groups as index tuples, sorted by mean score in Python, kept while they fit."""
    groups = []
    for name, score in scores.items():
        for place in torch.cartesian_prod(*(torch.arange(n) for n in score.shape[:leading])).view(
            -1, min(leading, score.dim())
        ):
            group = score[tuple(place)]
            groups.append((float(group.double().mean()), name, tuple(place.tolist()), group.numel()))
    chosen = {name: torch.zeros_like(score, dtype=torch.bool) for name, score in scores.items()}
    for _, name, place, size in sorted(groups, key=lambda group: -group[0]):
        if size > keep:
            break
        chosen[name][place], keep = True, keep - size
    return chosen


def test_every_granularity_of_the_catalog_can_be_selected():
    assert set(catalog.GRANULARITIES) <= set(granularity.DIMENSIONS)


def test_unstructured_weights_are_kept_one_by_one():
    kept = granularity.keep_top({"w": torch.tensor([[3.0, 1.0], [2.0, 4.0]])}, 2, granularity=UNSTRUCTURED)
    assert kept["w"].tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("keep", [30, 101, 160, 240])
@pytest.mark.parametrize(("word", "leading"), [(ROW, 3), (KERNEL, 2)])
def test_whole_groups_of_the_highest_means_are_kept_while_they_fit(word, leading, keep):
    found = granularity.keep_top(two_layers(), keep, granularity=word)
    expected = brute_force(two_layers(), keep, leading)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    largest = 2 if word is ROW else 6
    assert keep - largest < masks.kept(found) <= keep


def test_a_linear_layer_is_a_1x1_convolution():
    scores = {"linear": two_layers()["linear"]}
    single = granularity.keep_top(scores, 20, granularity=UNSTRUCTURED)
    for word in (ROW, KERNEL):
        assert torch.equal(granularity.keep_top(scores, 20, granularity=word)["linear"], single["linear"])
    # Row means 1, 3, 2: of 3 outputs with 2 inputs the last two are kept.
    linear = {"w": torch.tensor([[0.0, 2.0], [3.0, 3.0], [4.0, 0.0]])}
    kept = granularity.keep_top(linear, 5, granularity=CHANNEL)["w"]
    assert kept.tolist() == [[False, False], [True, True], [True, True]]


def test_every_layer_keeps_its_best_filter():
    scores = {"low": torch.tensor([[0.1, 0.1], [0.2, 0.2]]), "high": torch.tensor([[9.0], [7.0], [8.0]])}
    kept = granularity.keep_top(scores, 4, granularity=CHANNEL)
    assert kept["low"].tolist() == [[False, False], [True, True]]
    assert kept["high"].tolist() == [[True], [False], [True]]
    with pytest.raises(ValueError, match="cannot keep 2 weights: one filter in every layer is 3"):
        granularity.keep_top(scores, 2, granularity=CHANNEL)


def test_ties_are_broken_by_position():
    kept = granularity.keep_top({"a": torch.ones(2, 2, 1, 2), "b": torch.ones(2, 2)}, 5, granularity=KERNEL)
    assert kept["a"].flatten().tolist() == [True] * 4 + [False] * 4
    assert not kept["b"].any()


@pytest.mark.parametrize("word", [UNSTRUCTURED, *STRUCTURED])
@pytest.mark.parametrize("allocation", ["global", "layerwise", "erk"])
def test_a_group_pruned_before_does_not_come_back(word, allocation):
    scores, within = two_layers(), None
    for keep in (192, 120, 80, 50):
        kept = granularity.keep_top(scores, keep, granularity=word, allocation=allocation, within=within)
        assert masks.kept(kept) == keep if word is UNSTRUCTURED else keep - 2 * 24 < masks.kept(kept) <= keep
        assert within is None or all((kept[name] <= within[name]).all() for name in scores)
        leading = granularity.DIMENSIONS[word.name]
        for name, mask in kept.items():
            groups = mask.reshape(math.prod(mask.shape[:leading]), -1)
            assert torch.equal(groups.any(1), groups.all(1)), name
        # Other scores in the next round: what was pruned now has the best ones.
        scores, within = {name: score + 2 * ~kept[name] for name, score in scores.items()}, kept


@pytest.mark.parametrize("word", [UNSTRUCTURED, *STRUCTURED])
def test_layerwise_ranks_in_each_layer(word):
    scores = two_layers()
    scores["linear"] += 100
    kept = granularity.keep_top(scores, 120, granularity=word, allocation="layerwise")
    # Half of each layer is a whole number of groups everywhere.
    assert masks.per_layer(kept) == {"conv": (96, 192), "linear": (24, 48)}


def test_first_takes_a_groups_first_score():
    scores = {"w": torch.tensor([[1.0, 9.0, 9.0], [2.0, 0.0, 0.0]])}
    assert granularity.keep_top(scores, 3, granularity=CHANNEL)["w"].any(1).tolist() == [True, False]
    assert granularity.keep_top(scores, 3, granularity=CHANNEL, combine="first")["w"].any(1).tolist() == [False, True]


def test_first_scores_favour_no_layer_of_small_or_large_groups():
    generator = torch.Generator().manual_seed(0)
    scores = {
        "large": torch.rand(100, 100, 3, 3, generator=generator),
        "small": torch.rand(300, 300, generator=generator),
    }
    kept = granularity.keep_top(scores, 36_000, granularity=KERNEL, combine="first")
    density = {name: n / total for name, (n, total) in masks.per_layer(kept).items()}
    # 10,000 kernels at density 0.2 have a standard deviation of 0.004.
    assert all(abs(value - 0.2) < 0.024 for value in density.values()), density
    by_mean = granularity.keep_top(scores, 36_000, granularity=KERNEL)
    assert masks.per_layer(by_mean)["large"][0] < 0.1 * 90_000


@pytest.mark.parametrize("n", [1, 2, 3])
def test_n_of_every_m_inputs_are_kept(n):
    generator = torch.Generator().manual_seed(0)
    scores = {"conv": torch.rand(8, 12, 3, 3, generator=generator), "linear": torch.rand(5, 16, generator=generator)}
    kept = granularity.keep_top(scores, n * 944 // 4, granularity=TWO_OF_FOUR)
    for out in range(8):
        for row in range(3):
            for column in range(3):
                for start in (0, 4, 8):
                    group = scores["conv"][out, start : start + 4, row, column]
                    flags = kept["conv"][out, start : start + 4, row, column]
                    assert sorted(group[flags].tolist()) == sorted(group.tolist())[4 - n :]
    assert (kept["linear"].view(5, 4, 4).sum(-1) == n).all()


def test_n_of_m_prunes_one_to_three_of_four_in_rounds():
    scores, within, ladder = {"w": torch.rand(6, 8, 3, 3)}, None, Ladder(of="original", rate=0.25)
    for round in (1, 2, 3):
        kept = granularity.keep_top(scores, ladder.kept(432, round), granularity=TWO_OF_FOUR, within=within)
        assert (kept["w"].view(6, 2, 4, 3, 3).sum(2) == 4 - round).all()
        assert within is None or (kept["w"] <= within["w"]).all()
        scores, within = {"w": torch.rand(6, 8, 3, 3)}, kept
    with pytest.raises(ValueError, match="w has fewer than 2 weights left to keep in a group of 4"):
        granularity.keep_top(scores, 216, granularity=TWO_OF_FOUR, within=within)


def test_layers_that_m_does_not_divide_stay_dense():
    scores = {"first": torch.rand(4, 3, 3, 3), "second": torch.rand(4, 4, 3, 3)}
    kept = granularity.keep_top(scores, 126, granularity=TWO_OF_FOUR)
    assert masks.per_layer(kept) == {"first": (108, 108), "second": (72, 144)}


@pytest.mark.parametrize("m", [2, 4, 8, 16])
@pytest.mark.parametrize("total", [432, 43_216, 1000])
def test_every_round_of_a_ladder_down_to_one_of_m_can_be_selected(m, total):
    scores, ladder = {"w": torch.zeros(1, total)}, Ladder(of="original", rate=1 / m)
    word = Word("n_of_m", (("m", m),))
    for round in range(1, m):
        kept = granularity.keep_top(scores, ladder.kept(total, round), granularity=word)
        expected = total * (m - round) // m if total % m == 0 else total
        assert masks.kept(kept) == expected


def test_a_selector_takes_the_next_share_that_the_granularity_has():
    scores = {"w": torch.rand(40, 8)}
    select = granularity.selector(TWO_OF_FOUR)
    # 161 is 160 but for a ladder's rounding.
    for keep, expected in {320: 320, 245: 320, 240: 240, 165: 240, 161: 160, 160: 160, 85: 160, 80: 80, 3: 80}.items():
        assert masks.kept(select(scores, keep)) == expected, keep
    assert masks.kept(granularity.selector(UNSTRUCTURED)(scores, 13)) == 13


BAD = {"w": torch.tensor([[1.0, float("nan"), 0.0, 0.0]])}


@pytest.mark.parametrize(
    ("scores", "keep", "word", "options", "message"),
    [
        ({"w": torch.ones(2)}, 1, Word("colum"), {}, r"granularity 'colum' \(known: unstructured, row"),
        (
            {"w": torch.ones(4, 4)},
            4,
            TWO_OF_FOUR,
            {"allocation": "erk"},
            "allocation is global or layerwise, not erk",
        ),
        ({"w": torch.ones(40, 4)}, 128, TWO_OF_FOUR, {}, r"a sparsity of 0.2 \(known: 0, 0.25, 0.5, 0.75\)"),
        ({"w": torch.ones(40, 4)}, 0, TWO_OF_FOUR, {}, "cannot have a sparsity of 1"),
        ({"w": torch.ones(4, 4)}, 8, Word("n_of_m", (("m", 1),)), {}, "a whole number m from 2, found 1"),
        ({}, 0, KERNEL, {}, "there are no weights to prune"),
        ({"w": torch.ones(4, 4)}, 17, KERNEL, {}, "cannot keep 17 of 16 weights"),
        ({"w": torch.ones(2, 2)}, 1, ROW, {"within": {"v": torch.ones(2, 2, dtype=torch.bool)}}, "names and shapes"),
        (BAD, 2, KERNEL, {}, "1 of 4 scores are not a number"),
        (BAD, 2, TWO_OF_FOUR, {}, "1 of 4 scores are not a number"),
        (BAD, 2, UNSTRUCTURED, {"allocation": "erk"}, "1 of 4 scores are not a number"),
    ],
)
def test_what_cannot_be_kept_is_said(scores, keep, word, options, message):
    with pytest.raises(ValueError, match=message):
        granularity.keep_top(scores, keep, granularity=word, **options)
