"""Weights before pruning: random, trained on the source set, or read from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from bench import models
from bench.catalog import TASKS
from bench.models import external
from bench.models.contrastive import Contrastive
from bench.spec import PretrainParameters
from bench.stages import contrastive, networks, weights
from bench.stages.context import Context
from bench.stages.fit import fit
from bench.store import Artifact
from bench.training.seeding import derive


def run(parameters: PretrainParameters, inputs: Mapping[str, Artifact], folder: Path, context: Context) -> None:
    """weights.safetensors: the body's state; history.json where it was trained here.

    projection.safetensors: the projection head, where it was trained by contrast or a file of such weights holds one.
    """
    name, data, recipe = parameters.pretraining.name, parameters.data, parameters.recipe
    seed = derive(parameters.seed, "initialisation")
    seen = contrastive.seen(data, recipe)
    network = networks.build(parameters.architecture, seen, parameters.classes, seed=seed)
    read: Mapping[str, Tensor] = {}
    if name == "torchvision":
        read = external.torchvision_weights(
            parameters.architecture, str(parameters.pretraining["weights"]), context.data_root / "weights"
        )
    elif name == "huggingface":
        read = external.huggingface_weights(
            parameters.architecture, str(parameters.pretraining["model"]), context.data_root / "weights"
        )
    elif name == "checkpoint":
        path = Path(str(parameters.path))
        check_digest(path, parameters.digest)
        options = dict(parameters.pretraining.options)
        read = external.read_checkpoint(
            path,
            architecture=parameters.architecture,
            format=str(options["format"]),
            unpickle=bool(options["unpickle"]),
        )
        if options.get("method", "supervised") != "supervised":
            head = external.read_projection(path, unpickle=bool(options["unpickle"]))
            if head:
                weights.save_weights(folder, head, contrastive.PROJECTION)
    if read:
        models.load_state(network, read, allow_head_mismatch=True)
    if data is not None and TASKS[data.task].top:
        networks.new_head(network, data, seed=derive(seed, "head"))
    network.to(context.device)
    if data is not None and recipe is not None:
        seed = derive(parameters.seed, "pretraining")
        learner = contrastive.begin(network, recipe, inputs, seed=seed)
        trained = fit(learner, data, recipe, seed=seed, context=context)
        weights.save_summary(folder, "history.json", trained.history)
        if isinstance(learner, Contrastive):
            contrastive.save_projection(learner, folder)
    # A head on maps of features that a file holds stays with its weights, for the tasks that keep it.
    tops = {name: tensor for name, tensor in read.items() if name.startswith(models.TOP)}
    weights.save_weights(folder, {**tops, **models.state(network)})


def check_digest(path: Path, digest: str | None) -> None:
    """Raise ModelError unless the file holds what it held when the stage was planned: its key stands for that."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise models.ModelError(f"{path} cannot be read ({error.strerror}); put it back, or submit again") from None
    if found != digest:
        raise models.ModelError(f"{path} was replaced after this stage was planned; submit again to plan anew")
