"""Weights are chosen by the granularity a grid names."""

import pytest
import torch

from bench import catalog, granularity, masks


def test_every_granularity_of_the_catalog_can_be_selected_and_no_other():
    assert set(granularity.SELECT) == set(catalog.GRANULARITIES)


@pytest.mark.parametrize("name", catalog.GRANULARITIES)
def test_every_granularity_keeps_the_weights_asked_for_among_the_survivors(name):
    generator = torch.Generator().manual_seed(0)
    scores = {"a": torch.rand(8, 4, 2, 2, generator=generator), "b": torch.rand(8, 8, 2, 2, generator=generator)}
    half = granularity.keep_top(scores, 192, granularity=name)
    quarter = granularity.keep_top(scores, 96, granularity=name, within=half)
    assert (masks.kept(half), masks.kept(quarter)) == (192, 96)
    assert all((quarter[key] <= half[key]).all() for key in scores)


def test_unstructured_weights_are_kept_one_by_one():
    kept = granularity.keep_top({"w": torch.tensor([[3.0, 1.0], [2.0, 4.0]])}, 2, granularity="unstructured")
    assert kept["w"].tolist() == [[True, False], [False, True]]


def test_an_unknown_granularity_is_named():
    with pytest.raises(ValueError, match=r"granularity 'colum' \(known: unstructured"):
        granularity.keep_top({"w": torch.ones(2)}, 1, granularity="colum")
