"""Texts: tokens per second and padding of the text loader against what one writes with transformers and torch.

All cases read the same generated pairs of sentences in the same batch size, so that their batches hold equally many
tokens on average; the rates count those that are no padding. One plain loop pads every text to 128 tokens, as the
study's released code does (arXiv:2007.12223), the other to the longest of a random batch (DataCollatorWithPadding).
All train the same BERT; the suite's own network is one more case.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from bench import models
from bench.data import layout, text
from bench.data.beton import digest
from bench.data.records import Batch, Integers, View
from bench.data.vocabularies import VOCABULARIES
from bench.objectives import supervised
from bench.perf import Unavailable, timing
from bench.perf.loader import view_of
from bench.spec import Recipe, Word
from bench.training import distributed
from bench.training.loop import one_step
from bench.training.optimizers import make_optimizer

LENGTH, BATCH, CLASSES = 128, 32, 3
MEDIAN, SPREAD, SHORTEST = 36, 0.5, 8  # of lengths: log-normal, 40 on average, where those of MNLI are 39, of QNLI 51
VOCABULARY = "embedded"
ARCHITECTURE = Word("bert_tiny", (("vocabulary", VOCABULARY),))
RECIPE = Recipe(epochs=1, lr=2e-5, optimizer="adamw", weight_decay=0.0, batch_size=BATCH)
SIZES = ("vocab_size", "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size")
RELEASED, COLLATED, OURS, SUITE = "padded to 128", "longest of a random batch", "text loader", "text loader, suite"

Named = dict[str, Tensor]  # the keyword arguments of transformers' networks


class Pairs(NamedTuple):
    """n pairs of sentences as ids, where the second one begins (n,) and labels (n,)."""

    ids: list[Integers]
    second: Integers
    labels: Integers


def run(repeats: int, quick: bool) -> list[dict[str, Any]]:
    """Rows: the share of padding and the rate of whole epochs that are read; the rate of training on a part of one.

    quick: a fiftieth of the texts and two batches.
    """
    n, trained = (256, 2) if quick else (12_800, 40)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = made(n)
    with tempfile.TemporaryDirectory() as folder:
        view = view_of_texts(Path(folder) / "texts.beton", pairs, device)
        loaders: dict[str, Callable[[], Iterator[Named]]] = {
            RELEASED: released(pairs, device),
            COLLATED: collated(pairs, device),
            OURS: lambda: (named(batch) for batch in text.batches(view, 0, 0)),
        }
        counts = {
            case: [(int(batch["attention_mask"].sum()), batch["input_ids"].numel()) for batch in batches()]
            for case, batches in loaders.items()
        }
        shares = {case: [1 - sum(real for real, _ in of) / sum(n for _, n in of)] for case, of in counts.items()}
        rows = timing.rows("padding of texts", "share", shares)
        seconds = timing.interleaved({case: functools.partial(consume, loaders[case]) for case in loaders}, repeats)
        rows += timing.rows("load texts", "tokens/s", rates(seconds, counts))
        counts = {case: of[:trained] for case, of in counts.items()} | {SUITE: counts[OURS][:trained]}
        seconds = timing.interleaved(training(loaders, view, trained, device), repeats)
    return rows + timing.rows(f"train {ARCHITECTURE.name} x{BATCH}", "tokens/s", rates(seconds, counts))


def rates(seconds: Mapping[str, list[float]], counts: Mapping[str, list[tuple[int, int]]]) -> dict[str, list[float]]:
    """Tokens per second of every call."""
    return {case: [sum(real for real, _ in counts[case]) / value for value in found] for case, found in seconds.items()}


def made(n: int) -> Pairs:
    """Random pairs of which every part has at least two tokens."""
    draw, special = np.random.default_rng(0), VOCABULARIES[VOCABULARY]
    lengths = np.clip(np.exp(draw.normal(np.log(MEDIAN), SPREAD, n)), SHORTEST, LENGTH).astype(np.int64)
    second = lengths // 2
    ids = []
    for length, at in zip(lengths, second, strict=True):
        row = draw.integers(special.mask + 1, special.size, size=length)
        row[[0, at - 1, -1]] = special.cls, special.sep, special.sep
        ids.append(row)
    return Pairs(ids, second, draw.integers(CLASSES, size=n))


def view_of_texts(path: Path, pairs: Pairs, device: str) -> View:
    """The pairs as a `.beton` file that is read shuffled."""
    with path.open("w+b") as out:
        layout.write_texts(out, pairs.labels, pairs.second, (ids.astype(layout.TOKEN).tobytes() for ids in pairs.ids))
    sidecar = {
        "n": len(pairs.ids),
        "classes": CLASSES,
        "resolution": LENGTH,
        "storage": "tokens",
        "vocabulary": VOCABULARY,
        "tokens": sum(map(len, pairs.ids)),
        "sha256": digest(path),
    }
    view = view_of(layout.mapped(path, pairs.labels, sidecar), LENGTH, BATCH, ())
    return dataclasses.replace(view, device=device, threads=1, task="sentence_classification")


def features(pairs: Pairs) -> Iterator[dict[str, Any]]:
    """The pairs as a tokenizer of transformers gives them."""
    for ids, second, label in zip(pairs.ids, pairs.second, pairs.labels, strict=True):
        segments = [0] * int(second) + [1] * (len(ids) - int(second))
        yield {
            "input_ids": ids.tolist(),
            "token_type_ids": segments,
            "attention_mask": [1] * len(ids),
            "labels": int(label),
        }


def released(pairs: Pairs, device: str) -> Callable[[], Iterator[Named]]:
    """Tensors of all texts at full length, as the released code has them."""
    rows = list(features(pairs))
    names = ("input_ids", "token_type_ids", "attention_mask")
    padded = [torch.tensor([row[name] + [0] * (LENGTH - len(row[name])) for row in rows]) for name in names]
    tensors = TensorDataset(*padded, torch.tensor([row["labels"] for row in rows]))

    def batches() -> Iterator[Named]:
        for batch in DataLoader(tensors, BATCH, shuffle=True, generator=torch.Generator().manual_seed(0)):
            yield {name: part.to(device) for name, part in zip((*names, "labels"), batch, strict=True)}

    return batches


def collated(pairs: Pairs, device: str) -> Callable[[], Iterator[Named]]:
    """Random batches padded to their longest text. Raises Unavailable without transformers."""
    try:
        from tokenizers import Tokenizer
        from tokenizers.models import WordLevel
        from transformers.data.data_collator import DataCollatorWithPadding
        from transformers.tokenization_utils_tokenizers import PreTrainedTokenizerFast
    except ImportError as error:
        raise Unavailable(f"text: needs {error.name}: pip install 'ticketbench[text]'") from error
    words = Tokenizer(WordLevel({"[PAD]": 0}, unk_token="[PAD]"))
    tokenizer: Any = PreTrainedTokenizerFast
    collator = DataCollatorWithPadding(tokenizer(tokenizer_object=words, pad_token="[PAD]"))
    rows: Any = list(features(pairs))

    def batches() -> Iterator[Named]:
        generator = torch.Generator().manual_seed(0)
        for batch in DataLoader(rows, BATCH, shuffle=True, generator=generator, collate_fn=collator):
            yield {name: part.to(device) for name, part in batch.items()}

    return batches


def named(batch: Batch) -> Named:
    """A batch of the text loader as transformers' networks read it."""
    ids, segments = batch.inputs.unbind(1)
    return {"input_ids": ids, "token_type_ids": segments, "attention_mask": (ids != 0).long(), "labels": batch.labels}


def consume(batches: Callable[[], Iterable[object]]) -> None:
    """Read a whole epoch."""
    for _ in batches():
        pass


def training(
    loaders: Mapping[str, Callable[[], Iterator[Named]]], view: View, steps: int, device: str
) -> dict[str, Callable[[], object]]:
    """The first `steps` of an epoch: transformers' network with every loader, the suite's with ours."""
    network = models.build(ARCHITECTURE, classes=CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0).to(device).train()
    theirs = as_built(network).to(device).train()
    cases: dict[str, Callable[[], object]] = {
        case: plain(copy.deepcopy(theirs), batches, steps) for case, batches in loaders.items()
    }
    optimizer, count = make_optimizer(list(network.parameters()), RECIPE), itertools.count()
    alone = functools.partial(one_step, rows=distributed.Rows(), stop=distributed.Stop(lambda: False))

    def suite() -> None:
        for batch in itertools.islice(text.batches(view, 0, 0), steps):
            alone(network, batch, RECIPE, optimizer, loss=supervised.loss, seed=0, step=next(count))

    return cases | {SUITE: suite}


def as_built(network: models.Network) -> nn.Module:
    """BertForSequenceClassification of the network's sizes, as transformers builds it."""
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertForSequenceClassification

    config: Any = network.body.get_submodule("bert").config
    made: Any = BertConfig
    return BertForSequenceClassification(made(**{name: getattr(config, name) for name in SIZES}, num_labels=CLASSES))


def plain(network: nn.Module, batches: Callable[[], Iterator[Named]], steps: int) -> Callable[[], object]:
    """Training as one writes it."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=RECIPE.lr, weight_decay=0.0)

    def train() -> None:
        for batch in itertools.islice(batches(), steps):
            optimizer.zero_grad()
            network(**batch).loss.backward()
            optimizer.step()

    return train
