"""The numbers that sentence tasks are judged by: accuracy, F1, two correlations of classes and of scores."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef
from torch import Tensor, nn
from torch.nn import functional as F

from bench.metrics.evaluation import Conditions, Evaluation
from bench.metrics.outputs import correct, per_example


def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """Of classes `accuracy` in [0, 1], of two classes also `f1` of class 1 in [0, 1] and `matthews` in [-1, 1]; of
    scores `pearson` and `spearman` in [-1, 1].

    network(inputs) gives logits (n, classes) and batch labels are (n,) int64; or logits (n, 1) and labels (n,) float.
    f1 is 0 where class 1 is neither there nor predicted; every correlation is 0 where it is undefined, because truth or
    predictions are constant, which a flag says of scores. Per example `correct` and `nll`, which is -log p(label) in
    nats; or `predicted` and `squared_error`. The network runs in evaluation mode and is left as it was. Raises
    ValueError for no examples and outputs that are not finite. Wang et al. 2018, arXiv:1804.07461.
    """
    found = per_example(network, conditions.batches(), _measure, pause=conditions.pause)
    logits, labels = torch.from_numpy(found["logits"]), torch.from_numpy(found["labels"])
    return of_scores(logits[:, 0], labels) if labels.is_floating_point() else of_classes(logits, labels)


def of_classes(logits: Tensor, labels: Tensor) -> Evaluation:
    """logits (n, k) float64, labels (n,) int64."""
    examples = correct(logits, labels) | {"nll": F.cross_entropy(logits, labels, reduction="none")}
    metrics = {"accuracy": float(examples["correct"].double().mean())}
    if logits.shape[1] == 2:
        truth, predicted = labels.numpy(), logits.argmax(dim=1).numpy()
        metrics["f1"] = float(f1_score(truth, predicted, zero_division=0.0))
        metrics["matthews"] = float(matthews_corrcoef(truth, predicted)) if np.ptp(predicted) else 0.0
    return Evaluation(metrics=metrics, examples={name: values.numpy() for name, values in examples.items()})


def of_scores(predicted: Tensor, truth: Tensor) -> Evaluation:
    """Both (n,), predicted float64."""
    x, y = predicted.numpy(), truth.double().numpy()
    constant = [name for name, values in (("predictions", x), ("true scores", y)) if np.ptp(values) == 0]
    return Evaluation(
        metrics={
            "pearson": 0.0 if constant else float(pearsonr(x, y).statistic),
            "spearman": 0.0 if constant else float(spearmanr(x, y).statistic),
        },
        examples={"predicted": x, "squared_error": (x - y) ** 2},
        flags=tuple(f"the {name} are all the same: the correlations are undefined and given as 0" for name in constant),
    )


def _measure(logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
    return {"logits": logits, "labels": labels}
