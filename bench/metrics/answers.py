"""Answers as spans of tokens: the best span of each input, the best input of each question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.metrics.evaluation import finite

CANDIDATES = 20  # first tokens of an input, and as many last ones
LONGEST = 30  # tokens


class Passage(Protocol):
    """What an input was cut from: its question, the passage, and where in it the input's tokens lie.

    offsets (l, 2): a token's first character and the one after its last; (-1, -1) of tokens that are not the passage's.
    """

    @property
    def question(self) -> int: ...
    @property
    def id(self) -> str: ...
    @property
    def offsets(self) -> npt.NDArray[np.integer]: ...
    @property
    def passage(self) -> str: ...
    @property
    def answers(self) -> tuple[str, ...]: ...


class Span(NamedTuple):
    """Sum of both logits, and the answer; minus infinity and "" where an input has none."""

    score: float
    text: str


def best_spans(logits: Tensor, passages: Sequence[Passage]) -> list[Span]:
    """Best answer of each of n inputs: the largest sum of a first and a last token's logits.

    logits (n, 2, l) float64; tokens behind those of `offsets` are padding. Both tokens are the passage's, in order,
    each among the 20 of the highest logits of all tokens of the input; an answer has at most 30 tokens. Of equal ones
    the first counts. Raises ValueError for logits that are not finite. As Hugging Face's scripts for SQuAD 1.1 do.
    """
    allowed = torch.zeros(len(passages), logits.shape[-1], dtype=torch.bool)
    padding = torch.ones_like(allowed)
    for i, passage in enumerate(passages):
        allowed[i, : len(passage.offsets)] = torch.from_numpy(passage.offsets[:, 0] >= 0)
        padding[i, : len(passage.offsets)] = False
    padding = padding.to(logits.device)[:, None]
    finite(logits.masked_fill(padding, 0))
    ranked = logits.masked_fill(padding, -torch.inf).sort(descending=True, stable=True)
    logits, tokens = ranked.values[..., :CANDIDATES].cpu(), ranked.indices[..., :CANDIDATES].cpu()
    starts, ends = tokens[:, 0, :, None], tokens[:, 1, None, :]
    rows = torch.arange(len(passages))[:, None, None]
    valid = allowed[rows, starts] & allowed[rows, ends] & (ends >= starts) & (ends < starts + LONGEST)
    sums = (logits[:, 0, :, None] + logits[:, 1, None, :]).masked_fill(~valid, -torch.inf).flatten(1)
    best = sums.argmax(dim=1)
    found = []
    for i, (passage, pair) in enumerate(zip(passages, best.tolist(), strict=True)):
        first, last = divmod(pair, tokens.shape[-1])
        text = ""
        if sums[i, pair] > -torch.inf:
            text = passage.passage[passage.offsets[tokens[i, 0, first], 0] : passage.offsets[tokens[i, 1, last], 1]]
        found.append(Span(float(sums[i, pair]), text))
    return found


class Question(NamedTuple):
    """A question's answer, the true ones, and the position of its first input in the split."""

    first: int
    id: str
    text: str
    answers: tuple[str, ...]


def by_question(found: Sequence[tuple[int, Passage, Span]]) -> list[Question]:
    """Answer of each question, the best of its inputs' (of equal ones the first input's), in the order of their first.

    found: position in the split, passage and best span of every input, in any order.
    """
    questions: dict[int, tuple[Span, Question]] = {}
    for position, passage, span in sorted(found, key=lambda row: row[0]):
        seen = questions.get(passage.question)
        if seen is None:
            questions[passage.question] = span, Question(position, passage.id, span.text, passage.answers)
        elif span.score > seen[0].score:
            questions[passage.question] = span, seen[1]._replace(text=span.text)
    return [question for _, question in questions.values()]
