"""One metric of one transferred network on the test split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from bench import models
from bench.catalog import METRICS, load
from bench.spec import EvaluateParameters
from bench.stages import networks, weights
from bench.stages.context import Context, plain_split
from bench.store import Artifact
from bench.training.seeding import derive

BATCH = 500


def run(parameters: EvaluateParameters, inputs: Mapping[str, Artifact], folder: Path, context: Context) -> None:
    """metrics.json (numbers, n_examples, the ticket's counts) and examples.safetensors (one value per test example)."""
    data, transfer = parameters.data, inputs["transfer"]
    network = networks.build(parameters.architecture, data, data.classes, seed=0)
    models.load_state(network, weights.load_sparse(transfer))
    network.to(context.device).eval().requires_grad_(False)
    entry = METRICS[parameters.metric.name]
    split = plain_split(data, "test", BATCH if data.resolution <= 64 else 100, context)
    found = load(entry.module).evaluate(
        network,
        split.batches(0),
        attack=parameters.attack,
        seed=derive(parameters.seed, "evaluation"),
        options=dict(parameters.metric.options),
    )
    summary = {"metrics": found.metrics, "n_examples": split.n_examples, "ticket": transfer.json(weights.TICKET)}
    weights.save_summary(folder, "metrics.json", summary)
    examples = {name: np.ascontiguousarray(values) for name, values in found.examples.items()}
    weights.write_bytes(folder / "examples.safetensors", save(examples))
