"""What holding a mask costs: seconds of a training step with and without it."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench import masks, models
from bench.models import Network
from bench.spec import Prunable, Word

SPARSITY = 0.9
# Label, architecture, batch size, steps timed together.
CASES = (
    ("resnet20", Word("resnet20"), 32, 4),
    ("resnet18(stem=cifar)", Word("resnet18", (("stem", "cifar"),)), 32, 1),
)


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows for every network, dense first; `ratio` is relative to dense. `quick` takes smaller batches."""
    rows = []
    for label, architecture, batch, steps in CASES:
        # A difference of a percent shows only over many repeats.
        seconds = _step_seconds(architecture, batch // 4 if quick else batch, steps, repeats if quick else 5 * repeats)
        for case, values in seconds.items():
            ratio = statistics.median(values) / statistics.median(seconds["dense"])
            rows.append(
                {
                    "benchmark": "mask",
                    "case": f"{label} {case}",
                    "value": statistics.median(values),
                    "unit": "s/step",
                    "ratio": ratio,
                }
            )
    return rows


def _step_seconds(architecture: Word, batch: int, steps: int, repeats: int) -> dict[str, list[float]]:
    """Seconds a step, `repeats` values for each case, each the mean of `steps` steps."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, 3, 32, 32, generator=generator).to(device)
    labels = torch.randint(10, (batch,), generator=generator).to(device)
    trainings = {case: _Training(architecture, device, held=case == "held") for case in ("dense", "held")}
    for training in trainings.values():
        training.steps(1, images, labels)
    seconds: dict[str, list[float]] = {case: [] for case in trainings}
    for repeat in range(repeats):
        # Interleaved, and in turn first: drift of the machine falls on both.
        for case in sorted(trainings, reverse=bool(repeat % 2)):
            began = time.perf_counter()
            trainings[case].steps(steps, images, labels)
            seconds[case].append((time.perf_counter() - began) / steps)
    return seconds


class _Training:
    def __init__(self, architecture: Word, device: str, *, held: bool) -> None:
        self.network = models.build(architecture, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0).to(device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
        self.holder = _holder(self.network) if held else None

    def steps(self, count: int, images: Tensor, labels: Tensor) -> None:
        for _ in range(count):
            self.optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(self.network(images), labels).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            if self.holder is not None:
                self.holder.apply_()
        if images.is_cuda:
            torch.cuda.synchronize()


def _holder(network: Network) -> masks.Holder:
    names = models.prunable(network, Prunable())
    scores = {name: weight.detach().abs() for name, weight in models.weights(network, names).items()}
    total = sum(score.numel() for score in scores.values())
    kept = masks.keep_top(scores, round(total * (1 - SPARSITY)))
    masks.apply_(network, kept)
    return masks.Holder(network, kept)
