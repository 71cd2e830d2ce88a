"""One metric of one transferred network, or of the pre-trained one, on a split of the downstream set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.numpy import save
from torch import Tensor, nn

from bench.catalog import METRICS, load, split_of
from bench.corruptions import CORRUPTIONS, SEVERITIES
from bench.data.corrupted import corrupted
from bench.data.subset import take_examples
from bench.masks import Masks
from bench.metrics.evaluation import Batch, Conditions
from bench.spec import Data, EvaluateParameters
from bench.stages import networks, weights
from bench.stages.context import Context, plain_split
from bench.stages.pretrain import check_digest
from bench.store import Artifact
from bench.training.loop import Interrupted
from bench.training.seeding import derive

BATCH, LARGE_BATCH, LARGE_RESOLUTION = 500, 100, 64
# What the summary of a ticket says by layer stays with the ticket.
BY_LAYER = ("layers", "macs_by_layer")


def run(parameters: EvaluateParameters, inputs: Mapping[str, Artifact], folder: Path, context: Context) -> None:
    """metrics.json (numbers, details, flags, the ticket's counts); examples.safetensors: values by test example.

    gallery.safetensors: a few of the test images with what the network makes of them, where the metric shows some.
    """
    data, entry = parameters.data, METRICS[parameters.metric.name]
    network, masks = subject(parameters, inputs, context)
    network.to(context.device).eval().requires_grad_(False)
    batch = BATCH if data.resolution <= LARGE_RESOLUTION else LARGE_BATCH
    split = plain_split(data, split_of(parameters.metric), batch, context, examples=parameters.examples)

    def pause() -> None:
        if context.run.stop():
            raise Interrupted

    conditions = Conditions(
        batches=lambda: split.batches(0),
        attack=parameters.attack,
        seed=derive(parameters.seed, "evaluation"),
        options=dict(parameters.metric.options),
        others=others(parameters, batch, context),
        masks={name: mask.to(context.device) for name, mask in masks.items()},
        pretrained=cut_from(inputs),
        scratch=context.run.scratch,
        pause=pause,
    )
    found = load(entry.module).evaluate(network, conditions)
    ticket = inputs["transfer"].json(weights.TICKET) if "transfer" in inputs else {}
    summary = {
        "metrics": found.metrics,
        "details": found.details,
        "flags": found.flags,
        "n_examples": split.n_examples if found.n_examples is None else found.n_examples,
        "ticket": {name: value for name, value in ticket.items() if name not in BY_LAYER},
    }
    weights.save_summary(folder, "metrics.json", summary)
    for name, arrays in (("examples", found.examples), ("gallery", found.gallery)):
        if arrays or name == "examples":
            contiguous = {key: np.ascontiguousarray(values) for key, values in arrays.items()}
            weights.write_bytes(folder / f"{name}.safetensors", save(contiguous))


def subject(
    parameters: EvaluateParameters, inputs: Mapping[str, Artifact], context: Context
) -> tuple[nn.Module, Masks]:
    """The network that is measured, and the masks of its ticket: transferred, pre-trained, or read from a file."""
    if "transfer" in inputs:
        state = weights.load_sparse(inputs["transfer"], parameters.selection)
        network = networks.transferred(parameters.architecture, parameters.data, state, context)
        return network, weights.load_masks(inputs["transfer"])
    if parameters.path is not None:
        from bench.models.inception import inception

        check_digest(Path(parameters.path), parameters.digest)
        return inception(Path(parameters.path)), {}
    state = weights.load_weights(inputs["pretrain"])
    # The statistics of the set that its weights were trained on: the same features for every target.
    source = parameters.other or parameters.data
    trained = inputs["pretrain"].manifest["stage"]["parameters"].get("recipe") or {}
    if not (trained.get("contrast") or {}).get("normalise", True):
        # It saw pixels as they are.
        return networks.pretrained(parameters.architecture, None, parameters.source_classes or 0, state, context), {}
    return networks.pretrained(parameters.architecture, source, parameters.source_classes or 0, state, context), {}


def cut_from(inputs: Mapping[str, Artifact]) -> dict[str, Tensor]:
    """The weights that the ticket's mask was laid on: pre-trained, or those it starts from; none where not read."""
    if not {"transfer", "pretrain"} <= set(inputs):
        return {}
    return weights.load_start(inputs)


def others(parameters: EvaluateParameters, batch: int, context: Context) -> dict[str, Callable[[], Iterable[Batch]]]:
    """Further sets by role: the one that the metric compares with, or published corruptions of this one."""
    entry = METRICS[parameters.metric.name]
    if parameters.other is not None:
        role = "source" if entry.other == "source" else "out"
        return {role: partial(_batches, parameters.other, entry.split, batch, context, parameters.examples)}
    if dict(parameters.metric.options).get("origin") == "files":
        return published_corruptions(parameters, batch, context)
    return {}


def published_corruptions(
    parameters: EvaluateParameters, batch: int, context: Context
) -> dict[str, Callable[[], Iterable[Batch]]]:
    """The published corruptions of the test split, or of the same subset of it, by "<corruption>/<severity>"."""
    data = parameters.data
    labels = plain_split(data, "test", batch, context).labels
    rows = np.arange(len(labels), dtype=np.int64)
    if parameters.examples is not None:
        rows = take_examples(labels, rows, parameters.examples)
    return {
        f"{corruption}/{severity}": partial(
            corrupted,
            data.dataset,
            corruption,
            severity,
            data_root=context.data_root,
            resolution=data.resolution,
            batch_size=batch,
            device=context.device,
            loader=data.loader,
            rows=rows,
        )
        for corruption in CORRUPTIONS
        for severity in SEVERITIES
    }


def _batches(data: Data, split: str, batch: int, context: Context, examples: int | None) -> Iterable[Batch]:
    return plain_split(data, split, batch, context, examples=examples).batches(0)
