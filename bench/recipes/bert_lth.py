"""The Lottery Ticket Hypothesis for Pre-trained BERT Networks (Chen et al., NeurIPS 2020, arXiv:2007.12223).

Figures from the released scripts, also where the text says otherwise: a round prunes a tenth of the original
weights, not of those that are left. Deviations, and choices where the release is silent:
- the learning rate of a round falls by a tenth, because the scripts lay its schedule over all rounds and begin it anew
  in each; the heads of tasks go on from round to round, all else returns to the pre-trained weights;
- the released script of masked language modelling keeps a view of the weights instead of a copy and never rewinds:
  imp(rewind=never) is what it did, imp what the text says;
- masks are found with the cell's seed, so that seeds vary search and training; the scripts search with one seed;
- batches hold texts of about one length, and are padded to their longest instead of the set's;
- masked tokens of the test split are drawn once, the scripts draw them at every evaluation;
- answers are trained for 4 epochs (the scripts' README; another of its scripts has 2);
- nothing is held out of the training sets, and the last epoch is measured on the official development sets;
- pre-training by masked language modelling is as in Devlin et al. 2019 (arXiv:1810.04805) without next sentences, and
  linear evaluation is this project's.
"""

import dataclasses

from bench.ladder import Ladder
from bench.recipes.protocol import Protocol
from bench.spec import Attack, Recipe

SENTENCES = Recipe(
    epochs=3, batch_size=32, optimizer="adamw", lr=2e-5, weight_decay=0.0, schedule="linear", clip_norm=1.0,
)
ANSWERS = dataclasses.replace(SENTENCES, epochs=4, batch_size=16, lr=3e-5)
# An epoch of the study's text has 100,000 such steps.
TOKENS = dataclasses.replace(SENTENCES, epochs=1, epoch_steps=10_000, batch_size=16, lr=5e-5)
PRETRAINING = dataclasses.replace(
    TOKENS, epochs=100, batch_size=256, lr=1e-4, weight_decay=0.01, warmup_epochs=1.0, precision="bf16",
)
LINEAR = dataclasses.replace(SENTENCES, epochs=20, lr=1e-3)


def round_of(recipe: Recipe) -> Recipe:
    """The same recipe as one of ten rounds under one schedule."""
    return dataclasses.replace(recipe, final_lr=0.9 * recipe.lr)


PROTOCOL = Protocol(
    name="bert_lth",
    summary="BERT to GLUE, SQuAD and masked language modelling",
    source="mlm",
    ladder=Ladder(of="original", rate=0.1),
    rewind=("weights", "batchnorm"),
    pretrain={"mlm": PRETRAINING},
    prune={
        "upstream/masked_language_modelling": round_of(TOKENS),
        "downstream/standard/masked_language_modelling": round_of(TOKENS),
        "downstream/standard/sentence_classification": round_of(SENTENCES),
        "downstream/standard/sentence_regression": round_of(SENTENCES),
        "downstream/standard/question_answering": round_of(ANSWERS),
    },
    transfer={
        "finetune/standard/masked_language_modelling": dataclasses.replace(TOKENS, epoch_steps=20_000, batch_size=8),
        "finetune/standard/sentence_classification": SENTENCES,
        "finetune/standard/sentence_regression": SENTENCES,
        "finetune/standard/question_answering": ANSWERS,
        "linear/standard/sentence_classification": LINEAR,
    },
    attack=Attack(),
    validation_rule="none",
)
