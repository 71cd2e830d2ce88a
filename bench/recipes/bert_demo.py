"""The embedded demo of texts: Python's documentation upstream and three tasks on it. A choice of this project."""

import dataclasses

from bench.ladder import Ladder
from bench.recipes.protocol import Protocol
from bench.spec import Attack, Recipe

PRETRAINING = Recipe(
    epochs=6, batch_size=16, optimizer="adamw", lr=2e-3, weight_decay=0.01, schedule="linear", warmup_epochs=1.0,
    clip_norm=1.0,
)
TOKENS = dataclasses.replace(PRETRAINING, epochs=1, epoch_steps=100, weight_decay=0.0, lr=1e-3, warmup_epochs=0.0)
SENTENCES = dataclasses.replace(TOKENS, epochs=2, epoch_steps=None, lr=1e-3)
LINEAR = dataclasses.replace(SENTENCES, epochs=20, lr=5e-3)


def round_of(recipe: Recipe) -> Recipe:
    """The same recipe as one of ten rounds under one schedule."""
    return dataclasses.replace(recipe, final_lr=0.9 * recipe.lr)


PROTOCOL = Protocol(
    name="bert_demo",
    summary="Python's documentation to three small tasks on it",
    source="python_docs",
    ladder=Ladder(of="original", rate=0.1),
    rewind=("weights", "batchnorm"),
    pretrain={"mlm": PRETRAINING},
    prune={
        "upstream/masked_language_modelling": round_of(TOKENS),
        "downstream/standard/masked_language_modelling": round_of(TOKENS),
        "downstream/standard/sentence_classification": round_of(SENTENCES),
        "downstream/standard/sentence_regression": round_of(SENTENCES),
        "downstream/standard/question_answering": round_of(SENTENCES),
        "lmp/standard": dataclasses.replace(SENTENCES, lr=1e-2),
    },
    transfer={
        "finetune/standard/masked_language_modelling": TOKENS,
        "finetune/standard/sentence_classification": SENTENCES,
        "finetune/standard/sentence_regression": SENTENCES,
        "finetune/standard/question_answering": SENTENCES,
        "linear/standard/sentence_classification": LINEAR,
    },
    attack=Attack(),
)
