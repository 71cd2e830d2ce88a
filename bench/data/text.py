"""Texts in batches of about one length, so that little of what the network computes is padding.

When shuffled, an epoch's random order is cut into chunks of up to 50 batches, each is sorted by length and cut into
batches, and these come in random order: as `group_by_length` of Hugging Face's trainer, whose batches are not shuffled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data import draws, masking
from bench.data.errors import DataError
from bench.data.layout import TOKEN
from bench.data.pool import ahead
from bench.data.records import Batch, Beton, Integers, Passage, View
from bench.data.vocabularies import VOCABULARIES

CHUNK = 50  # batches that are sorted together, but no more than a quarter of the epoch's
BATCHES = 49  # kind of draws, as in bench.data.masking
SHORTEST = 3  # tokens: [CLS], one of a text, [SEP]


class Gathered(NamedTuple):
    """A batch on the CPU. labels: for the device, or a list of `Passage`."""

    inputs: Tensor
    labels: Any
    chosen: Integers


def batches(view: View, epoch: int, start_step: int) -> Iterator[Batch]:
    """The batches of an epoch from start_step on; nothing is read for the steps before it.

    A batch is as long as the longest of its examples, on all ranks alike. Not shuffled, examples come in their own
    order. A text of more than view.resolution tokens keeps the first ones and its last one, [SEP]. Raises DataError
    naming a text that is not of the file's vocabulary.
    """
    if view.resolution < SHORTEST:
        raise DataError(f"texts of {view.resolution} tokens: a length of {SHORTEST} is the shortest that says anything")
    lengths = np.minimum(view.beton.lengths[view.rows] // TOKEN.itemsize, view.resolution)
    visited = order(lengths, batch_size=view.batch_size, seed=view.seed, epoch=epoch, shuffle=view.shuffle)
    tokens = np.asarray(view.beton.buffer).view(TOKEN)

    def gathered(step: int) -> Gathered:
        longest = lengths[visited[step * view.batch_size : (step + 1) * view.batch_size]].max()
        chosen = draws.share(visited, step, batch_size=view.batch_size, rank=view.rank, world_size=view.world_size)
        inputs = torch.empty((len(chosen), 2, int(longest)), dtype=torch.int64, pin_memory=pinned(view))
        fill(view, tokens, chosen, lengths[chosen], inputs.numpy())
        return Gathered(inputs, labels(view, epoch, chosen, lengths[chosen], inputs), chosen)

    def on_device(batch: Gathered) -> Batch:
        shown = batch.labels
        if isinstance(shown, Tensor):
            shown = shown.to(view.device, non_blocking=True)
        return Batch(batch.inputs.to(view.device, non_blocking=True), shown, torch.from_numpy(batch.chosen))

    steps = range(start_step, draws.steps(len(view.rows), view.batch_size, view.drop_last))
    return map(on_device, map(gathered, steps) if view.threads == 1 else ahead(gathered, steps, threads=view.threads))


def order(lengths: Integers, *, batch_size: int, seed: int, epoch: int, shuffle: bool) -> Integers:
    """Positions 0..n-1 in the order in which the epoch visits them; the last batch, if not whole, is a random one."""
    visited = draws.order(len(lengths), seed=seed, epoch=epoch, shuffle=shuffle)
    whole = len(lengths) // batch_size
    if not shuffle or whole == 0:
        return visited
    chunk = min(CHUNK, max(1, whole // 4)) * batch_size
    full = visited[: whole * batch_size]
    for start in range(0, len(full), chunk):
        part = full[start : start + chunk]
        part[:] = part[np.argsort(lengths[part], kind="stable")]
    shuffled = draws.generator(seed, epoch, BATCHES).permutation(whole)
    visited[: len(full)] = full.reshape(whole, batch_size)[shuffled].reshape(-1)
    return visited


def pinned(view: View) -> bool:
    """Is memory to be pinned, so that copies to the device do not wait?"""
    return torch.device(view.device).type == "cuda"


def fill(view: View, tokens: NDArray[np.uint16], chosen: Integers, lengths: Integers, out: Integers) -> None:
    """Fill out (b, 2, l) with the ids and segments of the chosen examples, cut to `lengths` (b,)."""
    file, rows = view.beton, view.rows[chosen]
    size = VOCABULARIES[file.vocabulary].size
    damaged = gather(tokens, file.pointers[rows], file.lengths[rows], file.second[rows], lengths, size, out)
    if damaged >= 0:
        raise DataError(
            f"{file.path}: text {rows[damaged]} has a token that is none of the {size} of its vocabulary. Delete the "
            "file and run bench.prepare again"
        )


@numba.njit(nogil=True, cache=True)
def gather(tokens, pointers, sizes, seconds, lengths, vocabulary, out):  # type: ignore[no-untyped-def]
    """Fill out (b, 2, l): the tokens of b texts, each cut to its length but for the last one, and their segments.

    pointers, sizes (b,) in bytes; seconds (b,): where segment 1 begins, 0: nowhere. Behind a text all is 0. Returns the
    first text with a token that is not below `vocabulary`, or -1.
    """
    for i in range(len(out)):
        first, length, second = pointers[i] // 2, lengths[i], seconds[i]
        ids, segments = out[i, 0], out[i, 1]
        source = tokens[first : first + sizes[i] // 2]
        ids[:length], ids[length:], segments[:] = source[:length], 0, 0
        ids[length - 1] = source[len(source) - 1]
        if 0 < second < length:
            segments[second:length] = 1
        if ids.max() >= vocabulary:
            return i
    return -1


def labels(view: View, epoch: int, chosen: Integers, lengths: Integers, inputs: Tensor) -> Any:
    """What the task asks of the chosen examples; tokens are masked in `inputs` where they are to be found."""
    rows, targets = view.rows[chosen], view.beton.targets
    if view.task == "masked_language_modelling":
        return masked(view, epoch, rows, lengths, inputs)
    if targets is not None and targets.questions is not None:
        return [passage(view.beton, int(row), int(n)) for row, n in zip(rows, lengths, strict=True)]
    found = view.beton.labels if targets is None or targets.values is None else targets.values
    return torch.from_numpy(found[rows])


def masked(view: View, epoch: int, rows: Integers, lengths: Integers, inputs: Tensor) -> Tensor:
    """The ids (b, l) that are to be found, see bench.data.masking; `inputs` (b, 2, l) hides them from now on."""
    vocabulary, ids = VOCABULARIES[view.beton.vocabulary], inputs[:, 0].numpy()
    original = torch.full(ids.shape, masking.NOT_CHOSEN, dtype=torch.int64, pin_memory=pinned(view))
    wanted = original.numpy()
    for i, (row, n) in enumerate(zip(rows.tolist(), lengths.tolist(), strict=True)):
        # The row of the file: a subset of the split masks its texts as the whole split does.
        ids[i, :n], wanted[i, :n] = masking.mask(ids[i, :n], vocabulary, seed=view.seed, epoch=epoch, example=row)
    return original


def passage(file: Beton, row: int, length: int) -> Passage:
    """What is asked of a text of which `length` tokens are read: an answer beyond them is not in the window."""
    assert file.targets is not None
    assert file.targets.questions is not None
    assert file.targets.pointers is not None
    questions, first = file.targets.questions, int(file.targets.pointers[row])
    offsets = questions.offsets[first : first + length]
    start, end, question = int(questions.start[row]), int(questions.end[row]), int(questions.question[row])
    if length < file.lengths[row] // TOKEN.itemsize:
        offsets = offsets.copy()
        offsets[-1] = -1
        if end >= length - 1:
            start = end = 0
    return Passage(
        start,
        end,
        question,
        questions.ids[question],
        offsets,
        questions.passages[question],
        questions.answers[question],
    )
