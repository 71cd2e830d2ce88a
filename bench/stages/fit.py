"""Training a network on a data set by a recipe, as three of the four stages do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from bench import models
from bench.masks import Masks
from bench.models.contrastive import Contrastive
from bench.spec import Data, Recipe
from bench.stages import contrastive, networks
from bench.stages.context import Context, plain_split, training_split
from bench.training.loop import Trained, Validate, train


def fit(
    network: models.Network | Contrastive,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    context: Context,
    masks: Masks | None = None,
    parameters: Sequence[nn.Parameter] | None = None,
    frozen: bool = False,
    epochs: int | None = None,
    optimizer_state: Mapping[str, Any] | None = None,
) -> Trained:
    """Train in place on the training split with the recipe's objective, validated on the validation split, if any.

    By contrast: all but the encoder's head, its features probed. `masks`, `parameters`, `frozen`, `epochs`,
    `optimizer_state` and what it raises: see bench.training.loop.train.
    """
    held_out = plain_split(data, "validation", recipe.batch_size, context) if data.validation else None
    heads: Sequence[nn.Parameter] = ()
    validate: Validate = {}
    if isinstance(network, Contrastive):
        assert recipe.contrast is not None
        assert held_out is not None
        learnt = plain_split(data, "train", recipe.batch_size, context, examples=recipe.contrast.probe_examples)
        validate, parameters = contrastive.validators(learnt, held_out), network.trained_parameters()
    else:
        if held_out is not None:
            validate = networks.validators(held_out, recipe, seed, data)
        heads = models.head_weights(network) if recipe.head_lr != 1 else ()
    return train(
        network,
        training_split(data, recipe, seed, context),
        recipe,
        loss=networks.objective(recipe, data.task),
        seed=seed,
        run=context.run,
        masks=masks,
        parameters=parameters,
        heads=heads,
        frozen=frozen,
        validate=validate,
        epochs=epochs,
        optimizer_state=optimizer_state,
    )
