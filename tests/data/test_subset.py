"""Which examples validate and which are trained on."""

import numpy as np
import pytest

from bench.data import DataError
from bench.data.subset import split_validation, take_fraction

LABELS = np.array([0, 1] * 6 + [2] * 8)  # 6, 6 and 8 examples


def test_stratified_validation_takes_every_class_in_proportion():
    train, validation = split_validation(LABELS, 10)
    assert np.bincount(LABELS[validation]).tolist() == [3, 3, 4]
    assert sorted([*train, *validation]) == list(range(20))


def test_validation_has_exactly_the_number_asked_where_shares_are_not_whole():
    _, validation = split_validation(LABELS, 7)  # shares 2.1, 2.1, 2.8
    assert np.bincount(LABELS[validation]).tolist() == [2, 2, 3]


def test_last_takes_the_end_of_the_file():
    train, validation = split_validation(LABELS, 3, "last")
    assert train.tolist() == list(range(17))
    assert validation.tolist() == [17, 18, 19]


def test_no_validation_leaves_all_for_training():
    train, validation = split_validation(LABELS, 0)
    assert (len(train), len(validation)) == (20, 0)


def test_a_fraction_keeps_one_example_of_every_class():
    chosen = take_fraction(LABELS, np.arange(20), 0.05)  # one example would be the share
    assert sorted(LABELS[chosen].tolist()) == [0, 1, 2]


def test_first_n_is_the_prefix_of_the_papers():
    indices = np.arange(100, 200)
    assert take_fraction(np.zeros(200, np.int64), indices, 0.29, "first_n").tolist() == list(range(100, 129))


def test_a_smaller_fraction_is_a_subset_of_a_larger_one():
    labels, indices = np.arange(1000) % 10, np.arange(1000)
    tenth, hundredth = (set(take_fraction(labels, indices, f, seed=3).tolist()) for f in (0.1, 0.01))
    assert len(tenth) == 100
    assert len(hundredth) == 10
    assert hundredth < tenth


def test_another_seed_draws_other_examples():
    labels, indices = np.arange(1000) % 10, np.arange(1000)
    draws = [take_fraction(labels, indices, 0.1, seed=seed).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_fraction_draws_only_from_the_indices_given():
    assert set(take_fraction(LABELS, np.array([1, 3, 12, 13]), 0.5)) <= {1, 3, 12, 13}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split_validation(LABELS, 20), "leave at least one"),
        (lambda: split_validation(LABELS, 2, "first"), "known: stratified, last"),
        (lambda: take_fraction(LABELS, np.arange(20), 0.0), r"must lie in \(0, 1\]"),
        (lambda: take_fraction(LABELS, np.arange(20), 0.01, "first_n"), "none at all"),
        (lambda: take_fraction(LABELS, np.arange(20), 0.5, "random"), "known: stratified, first_n"),
    ],
)
def test_wrong_requests_are_named(call, message):
    with pytest.raises(DataError, match=message):
        call()
