"""What a stage needs to know about where it runs; nothing here changes a number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.data import Split, open_split
from bench.data.subset import EXAMPLES_SEED
from bench.spec import Data, Recipe
from bench.training.state import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    data_root: Path
    run: Run
    threads: int = 1

    @property
    def device(self) -> str:
        return self.run.device


def training_split(data: Data, recipe: Recipe, seed: int, context: Context) -> Split:
    """The training split as the recipe wants it: shuffled, augmented or in two views, this process's share."""

    def opened(drop_last: bool) -> Split:
        return open_split(
            data,
            "train",
            data_root=context.data_root,
            batch_size=recipe.batch_size,
            augmentation=recipe.augmentation,
            views=recipe.contrast.views if recipe.contrast is not None else None,
            seed=seed,
            shuffle=True,
            drop_last=drop_last,
            device=context.device,
            threads=context.threads,
            rank=context.run.rank,
            world_size=context.run.world_size,
        )

    split = opened(recipe.drop_last)
    # Batch normalisation cannot train on a last batch of one example: it is left out, another one in every epoch.
    lonely = split.n_examples % recipe.batch_size == 1 and split.n_examples > recipe.batch_size > 1
    return opened(True) if lonely and not recipe.drop_last else split


def plain_split(
    data: Data, split: str, batch_size: int, context: Context, *, examples: int | None = None, seed: int | None = None
) -> Split:
    """A split in its own order, not augmented; `examples`: a stratified subset of so many, the same unless seeded."""
    return open_split(
        data,
        split,
        data_root=context.data_root,
        batch_size=batch_size,
        device=context.device,
        threads=context.threads,
        examples=examples,
        examples_seed=EXAMPLES_SEED if seed is None else seed,
    )
