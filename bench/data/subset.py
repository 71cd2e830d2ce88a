"""Which examples of a training set are trained on, and which validate."""

from __future__ import annotations

import numpy as np

from bench.data.errors import DataError
from bench.data.records import Integers

SPLIT_SEED = 20_220_101  # of the stratified split into training and validation, the same in every cell
EXAMPLES_SEED = 20_220_102  # of the subsets that costly evaluations read, the same for every network


def split_validation(labels: Integers, n_validation: int, rule: str = "stratified") -> tuple[Integers, Integers]:
    """(train, validation) indices, sorted, disjoint, together all of them; exactly n_validation validate.

    stratified: every class gives its share, rounded by largest remainder, drawn with a fixed seed.
    last: the last n_validation examples in file order, as the papers' scripts split CIFAR and SVHN.
    none: nobody validates, n_validation is 0.
    Raises DataError if fewer than one example would be left for training.
    """
    n = len(labels)
    if not 0 <= n_validation < n:
        raise DataError(f"{n_validation} validation examples asked of a training set of {n}: leave at least one")
    if rule == "last":
        chosen = np.arange(n - n_validation, n, dtype=np.int64)
    elif rule == "none" and n_validation == 0:
        chosen = np.zeros(0, dtype=np.int64)
    elif rule == "stratified":
        chosen = _stratified(labels, np.arange(n, dtype=np.int64), n_validation, seed=SPLIT_SEED, at_least=0)
    else:
        raise DataError(f"validation rule {rule!r} (known: stratified, last, and none for 0 of them)")
    held_out = np.zeros(n, dtype=bool)
    held_out[chosen] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def take_fraction(
    labels: Integers, indices: Integers, fraction: float, rule: str = "stratified", seed: int = 0
) -> Integers:
    """The part of `indices` that is trained on: about len(indices) * fraction of them, sorted.

    stratified: by class, at least one of each, drawn with `seed`; a smaller fraction is a subset of a larger one
    up to one example of each class.
    first_n: the first int(len(indices) * fraction), the prefix of the Double-Win study (arXiv:2206.04762).
    Raises DataError if the fraction is not in (0, 1] or leaves nothing.
    """
    if not 0 < fraction <= 1:
        raise DataError(f"fraction {fraction} of the training set: it must lie in (0, 1]")
    if rule not in ("stratified", "first_n"):
        raise DataError(f"fraction rule {rule!r} (known: stratified, first_n)")
    # The float product of 0.29 and 100 is 28.999...: rounding first keeps int() from losing an example.
    count = int(round(len(indices) * fraction, 6))
    if rule == "stratified":
        return _stratified(labels, indices, count, seed=seed, at_least=1)
    if count < 1:
        raise DataError(f"fraction {fraction} of {len(indices)} training examples is none at all")
    return np.sort(indices[:count])


def take_examples(labels: Integers, indices: Integers, count: int, seed: int = EXAMPLES_SEED) -> Integers:
    """`count` of the indices (all, where there are no more), every class by its share, drawn with the seed, sorted."""
    return _stratified(labels, indices, min(count, len(indices)), seed=seed, at_least=0)


def _stratified(labels: Integers, indices: Integers, count: int, *, seed: int, at_least: int) -> Integers:
    """`count` of the indices, every class by its share (largest remainder; ties to the lower class), sorted.

    The draw takes a prefix of one seeded permutation per class, so that draws of different counts are nested.
    """
    classes, members = np.unique(labels[indices], return_inverse=True)
    sizes = np.bincount(members, minlength=len(classes))
    exact = count * sizes / max(len(indices), 1)
    quota = np.floor(exact).astype(np.int64)
    by_remainder = np.argsort(-(exact - quota), kind="stable")
    quota[by_remainder[: count - int(quota.sum())]] += 1
    quota = np.maximum(quota, np.minimum(at_least, sizes))
    chosen = []
    for c, label in enumerate(classes):
        generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, int(label)])))
        chosen.append(indices[members == c][generator.permutation(sizes[c])[: quota[c]]])
    return np.sort(np.concatenate(chosen)) if chosen else indices[:0]
