"""The order in which texts are read: batches of about one length, at random."""

import numpy as np
import pytest

from bench.data import text


def lengths_of(n):
    """Log-normal, as the texts of pairs of sentences are: 36 in the middle, a sixth above 60."""
    return np.clip(np.exp(np.random.default_rng(0).normal(np.log(36), 0.5, n)), 8, 128).astype(np.int64)


def padded(lengths, visited, batch_size):
    """Share of padding in batches of the visited examples."""
    batches = [lengths[visited[start : start + batch_size]] for start in range(0, len(lengths), batch_size)]
    return 1 - lengths.sum() / sum(len(batch) * batch.max() for batch in batches)


def test_little_of_shuffled_batches_is_padding():
    lengths = lengths_of(10_016)
    visited = text.order(lengths, batch_size=32, seed=0, epoch=0, shuffle=True)
    random = np.random.default_rng(1).permutation(len(lengths))
    # Of 1,600 sorted examples the 50 batches span, but for the longest, about a fiftieth of the lengths each.
    assert padded(lengths, visited, 32) < 0.06
    assert padded(lengths, random, 32) > 0.5


@pytest.mark.parametrize("n", [7, 8, 9, 64, 213, 1_000])
def test_the_batch_that_is_not_whole_is_the_last_one_and_random(n):
    lengths = lengths_of(n)
    orders = [text.order(lengths, batch_size=8, seed=0, epoch=epoch, shuffle=True) for epoch in range(3)]
    assert all(sorted(visited) == list(range(n)) for visited in orders)
    if n % 8 and n > 9:
        assert len({tuple(sorted(visited[n - n % 8 :])) for visited in orders}) == 3


def test_batches_come_in_random_order_and_are_mixed_anew_in_every_epoch():
    lengths = lengths_of(3_200)
    orders = [
        text.order(lengths, batch_size=32, seed=0, epoch=epoch, shuffle=True).reshape(100, 32) for epoch in (0, 1)
    ]
    longest = lengths[orders[0]].max(axis=1)
    # Of independent values the rank correlation with their place has a standard deviation of 1 / sqrt(99).
    ranks = longest.argsort(kind="stable").argsort(kind="stable")
    assert abs(np.corrcoef(ranks, np.arange(100))[0, 1]) < 0.5
    batches = [{frozenset(batch.tolist()) for batch in order} for order in orders]
    assert not batches[0] & batches[1]
