"""How well frozen features tell classes apart, though no label trained them: nearest neighbours and a linear probe.

Both learn from features (n, d) of training images and score features (m, d) of others; labels (n,), (m,) int64.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.metrics.evaluation import Batch
from bench.models import Network
from bench.models.modes import evaluation_mode

NEIGHBOURS, TEMPERATURE = 20, 0.07
# Weight of half the squared weights beside the mean cross-entropy, on standardised features.
PENALTY, ITERATIONS = 1e-3, 200
# Scored at a time: bounds the memory of the similarities.
CHUNK = 1024


@torch.no_grad()
def features(network: Network, batches: Iterable[Batch]) -> tuple[Tensor, Tensor]:
    """Features (n, d) float32 and labels (n,) of the batches in their order, in evaluation mode, on the device."""
    values, labels = [], []
    with evaluation_mode(network):
        for batch in batches:
            values.append(network.features(batch.inputs).float())
            labels.append(batch.labels)
    if not values:
        raise ValueError("there are no examples to probe")
    return torch.cat(values), torch.cat(labels)


@torch.no_grad()
def knn_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Share whose class has most votes of the 20 nearest by cosine (all, of fewer), in [0, 1].

    A vote weighs exp(cosine / 0.07); of equal votes the lower class wins. Wu et al. 2018, arXiv:1805.01978.
    """
    train, test = F.normalize(train.double(), dim=1), F.normalize(test.double(), dim=1)
    count = min(NEIGHBOURS, len(train))
    right = 0
    for start in range(0, len(test), CHUNK):
        rows, labels = test[start : start + CHUNK], test_labels[start : start + CHUNK]
        similarity, nearest = (rows @ train.T).topk(count, dim=1)
        votes = similarity.new_zeros(len(rows), int(train_labels.max()) + 1)
        # One neighbour after another: an addition of many at once has no fixed order on a device.
        for weight, index in zip((similarity / TEMPERATURE).exp().T, nearest.T, strict=True):
            votes[torch.arange(len(rows), device=votes.device), train_labels[index]] += weight
        right += int((votes.argmax(dim=1) == labels).sum())
    return right / len(test)


def linear_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Share that a logistic regression on the training features classifies rightly, in [0, 1].

    Features are standardised by the training ones. Minimised is the mean cross-entropy + 0.0005 |W|^2, the bias free,
    in doubles by L-BFGS from zero; nothing is drawn.
    """
    with torch.no_grad():
        centre, spread = train.double().mean(dim=0), train.double().std(dim=0, correction=0)
        # A feature that never changes tells nothing.
        spread[spread == 0] = 1.0
        train, test = ((values.double() - centre) / spread for values in (train, test))
    classes = int(train_labels.max()) + 1
    weight = train.new_zeros(classes, train.shape[1]).requires_grad_()
    bias = train.new_zeros(classes).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=ITERATIONS, tolerance_grad=1e-6, tolerance_change=1e-9, line_search_fn="strong_wolfe"
    )

    def objective() -> float:
        with torch.enable_grad():
            value = F.cross_entropy(train @ weight.T + bias, train_labels) + PENALTY / 2 * weight.square().sum()
            weight.grad, bias.grad = torch.autograd.grad(value, [weight, bias])
        return float(value.detach())

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return float(((test @ weight.T + bias).argmax(dim=1) == test_labels).double().mean())
