"""Training a network on a data set by a recipe, as three of the four stages do."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bench import models
from bench.masks import Masks
from bench.spec import Data, Recipe
from bench.stages import networks
from bench.stages.context import Context, plain_split, training_split
from bench.training.loop import Trained, train


def fit(
    network: models.Network,
    data: Data,
    recipe: Recipe,
    *,
    seed: int,
    context: Context,
    masks: Masks | None = None,
    parameters: Sequence[nn.Parameter] | None = None,
    frozen: bool = False,
    epochs: int | None = None,
) -> Trained:
    """Train in place on the training split with the recipe's objective, validated on the validation split.

    `masks`, `parameters`, `frozen`, `epochs` and what it raises: see bench.training.loop.train.
    """
    held_out = plain_split(data, "validation", recipe.batch_size, context)
    return train(
        network,
        training_split(data, recipe, seed, context),
        recipe,
        loss=networks.objective(recipe),
        seed=seed,
        run=context.run,
        masks=masks,
        parameters=parameters,
        frozen=frozen,
        validate=networks.validators(held_out, recipe, seed),
        epochs=epochs,
    )
