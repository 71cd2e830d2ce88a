"""How well the chosen tokens of texts are predicted."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.metrics.evaluation import Conditions, Evaluation, finite, in_order
from bench.models import Network
from bench.models.modes import evaluation_mode

NOT_CHOSEN = -100
AT_ONCE = 8  # examples decoded together: each chosen token has a logit for every entry of the vocabulary
LARGEST = 700.0  # nats whose exponential is still a double


@torch.no_grad()
def evaluate(network: nn.Module, conditions: Conditions) -> Evaluation:
    """`accuracy` in [0, 1] and `perplexity` of all chosen tokens: e to the mean of their -log p(token) in nats.

    network.top.at(network.maps(inputs)[0], chosen) gives the logits (k, vocabulary) of the chosen tokens; batch labels
    are (n, l) int64: the true tokens, -100 = not chosen. Of equal logits the first entry counts; means above 700 nats
    are taken for 700. Per example `right` and `chosen`, counts of tokens, and `nll`, the sum over its chosen ones.
    details: `n_tokens`, the chosen ones. The network runs in evaluation mode and is left as it was. Raises ValueError
    for no examples, no chosen token and outputs that are not finite. Devlin et al. 2019, arXiv:1810.04805.
    """
    indices: list[Tensor] = []
    sums: list[Tensor] = []
    with evaluation_mode(network):
        for batch in conditions.batches():
            conditions.pause()
            indices.append(batch.indices)
            sums.append(by_example(cast(Network, network), batch.inputs, batch.labels))
    right, chosen, nll = in_order(indices, sums).T
    n_tokens = int(chosen.sum())
    if not n_tokens:
        raise ValueError(f"none of the tokens of {len(chosen)} examples is chosen: there is nothing to predict")
    return Evaluation(
        metrics={
            "accuracy": float(right.sum() / n_tokens),
            "perplexity": math.exp(min(float(nll.sum()) / n_tokens, LARGEST)),
        },
        examples={"right": right.astype("int32"), "chosen": chosen.astype("int32"), "nll": nll},
        details={"n_tokens": n_tokens},
    )


def by_example(network: Network, inputs: Tensor, labels: Tensor) -> Tensor:
    """Chosen tokens predicted right, chosen tokens, and the sum of their -log p in nats, (n, 3) float64."""
    hidden = network.maps(inputs)[0]
    found = []
    for states, truth in zip(torch.split(hidden, AT_ONCE), torch.split(labels, AT_ONCE), strict=True):
        chosen = truth != NOT_CHOSEN
        logits = finite(cast(Any, network.top).at(states, chosen)).double()
        tokens = torch.zeros(*truth.shape, 3, dtype=torch.float64, device=truth.device)
        of_each = (
            logits.argmax(dim=1) == truth[chosen],
            torch.ones(len(logits), device=truth.device),
            F.cross_entropy(logits, truth[chosen], reduction="none"),
        )
        tokens[chosen] = torch.stack([values.double() for values in of_each], dim=1)
        found.append(tokens.sum(dim=1))
    return torch.cat(found)
