"""The embedded demo of texts: Python's documentation upstream and small tasks on it. A choice of this project."""

import dataclasses

from bench.ladder import Ladder
from bench.recipes.protocol import Protocol
from bench.spec import Attack, Recipe

# Beyond what the frequencies of tokens say, which four epochs learn; before that a transfer gains nothing.
PRETRAINING = Recipe(
    epochs=7, batch_size=16, optimizer="adamw", lr=2e-3, weight_decay=0.01, schedule="linear", warmup_epochs=1.0,
    clip_norm=1.0,
)
# Every text at most once: more texts teach more than more epochs.
TOKENS = dataclasses.replace(
    PRETRAINING, epochs=1, epoch_steps=50, lr=1e-3, weight_decay=0.0, warmup_epochs=0.2,
)
SENTENCES = dataclasses.replace(TOKENS, epoch_steps=100, lr=1.5e-3, warmup_epochs=0.3)
LINEAR = dataclasses.replace(SENTENCES, epochs=20, epoch_steps=None, lr=5e-3)


def round_of(recipe: Recipe) -> Recipe:
    """Half of the same recipe as one of ten rounds under one schedule."""
    return dataclasses.replace(recipe, epoch_steps=50, final_lr=0.9 * recipe.lr)


PROTOCOL = Protocol(
    name="bert_demo",
    summary="Python's documentation to small tasks on it",
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
        "lmp/standard": dataclasses.replace(SENTENCES, epochs=3, epoch_steps=None, lr=1e-2),
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
