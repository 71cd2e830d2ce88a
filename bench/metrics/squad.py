"""How well questions are answered by words of a passage."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from bench.metrics.answers import Passage, Question, Span, best_spans, by_question
from bench.metrics.evaluation import Conditions, Evaluation, in_order
from bench.models.modes import evaluation_mode


@torch.no_grad()
def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`f1` and `exact_match` in [0, 1], means over the questions.

    network(inputs) gives logits (n, 2, l): of first and last token; batch labels are n passages. A question may have
    several inputs, in any batches: the answer is the best of all, see bench.metrics.answers. It is compared with every
    true answer, the best of which counts, without case, punctuation and articles: equal, or by F1 of their words. Per
    question `f1` and `exact_match`, in the order of the questions' first inputs. details: `n_inputs`. The network runs
    in evaluation mode and is left as it was. Raises ValueError for no examples, outputs that are not finite, and where
    the package torchmetrics is missing. Rajpurkar et al. 2016, arXiv:1606.05250.
    """
    compare = official()
    indices: list[Tensor] = []
    found: list[tuple[int, Passage, Span]] = []
    with evaluation_mode(network):
        for batch in conditions.batches():
            conditions.pause()
            passages = cast(Sequence[Passage], batch.labels)
            spans = best_spans(network(batch.inputs).double(), passages)
            indices.append(batch.indices)
            found.extend(zip(batch.indices.tolist(), passages, spans, strict=True))
    in_order(indices, indices)
    questions = by_question(found)
    f1, exact = np.array(compared(questions, compare)).T
    return Evaluation(
        metrics={"f1": float(f1.mean()), "exact_match": float(exact.mean())},
        examples={"f1": f1, "exact_match": exact},
        details={"n_inputs": len(found)},
        n_examples=len(questions),
    )


def official() -> Any:
    """torchmetrics' transcription of the official comparison. Raises ValueError where that package is missing."""
    try:
        # Importing it takes a while.
        return importlib.import_module("torchmetrics.functional.text.squad").squad
    except ImportError as error:
        raise ValueError("squad: answers are compared by torchmetrics: pip install 'ticketbench[text]'") from error


def compared(questions: Sequence[Question], compare: Any) -> list[tuple[float, float]]:
    """F1 and exact match of every question's answer with the true ones, in [0, 1]; compare: see `official`."""
    numbers = []
    for question in questions:
        answer = {"id": question.id, "prediction_text": question.text}
        truth = {"id": question.id, "answers": {"text": list(question.answers)}}
        found = compare([answer], [truth])
        numbers.append((float(found["f1"]) / 100, float(found["exact_match"]) / 100))
    return numbers
