"""BERT of transformers' modules, with their names and initialisation, one function per size, and its heads.

Devlin et al. 2019, arXiv:1810.04805; small sizes: Turc et al. 2019, arXiv:1908.08962. Published weights: external.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.models.body import Body
from bench.models.errors import ModelError
from bench.models.network import Network
from bench.vocabularies import VOCABULARIES

POSITIONS = 512
PAD = 0  # in every vocabulary, and the segment of padding
ATTENTION = "ticketbench"  # this module's function, by transformers' table of them
# Logit of places that no answer begins or ends at. Finite, so that a sum over all logits is.
NOWHERE = -1e4


def bert_base(*, classes: int, vocabulary: str) -> Body:
    return _bert(classes, vocabulary, layers=12, width=768, heads=12, inner=3_072)


def bert_tiny(*, classes: int, vocabulary: str) -> Body:
    """Drawn wider than BERT's 0.02, with which attention of this width begins even and takes long to learn anything."""
    return _bert(classes, vocabulary, layers=2, width=128, heads=2, inner=512, deviation=0.06)


class Bert(nn.Module):
    """Token ids and segments (n, 2, l) int64 -> logits (n, classes), read from the first token's pooled state.

    Padding is attended to by nothing. `sequence` puts out the states of all tokens (n, l, d). Every draw of dropout is
    that of an nn.Dropout.
    """

    def __init__(self, bert: nn.Module, *, classes: int) -> None:
        super().__init__()
        config = cast(Any, bert.config)
        self.bert = bert
        self.sequence = nn.Identity()
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = linear(config.hidden_size, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens, segments = inputs.unbind(1)
        bert = cast(Any, self.bert)
        states = bert.embeddings(input_ids=tokens, token_type_ids=segments)
        # Not BertModel's own forward, whose mask depends on the name of the attention function.
        attended = (tokens != PAD)[:, None, None, :]
        for layer in bert.encoder.layer:
            states = layer(states, attended)
        logits: Tensor = self.classifier(self.dropout(bert.pooler(self.sequence(states))))
        return logits


def attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attended: Tensor, **options: Any
) -> tuple[Tensor, None]:
    """Scaled dot-product attention (n, heads, l, d) -> (n, l, heads, d), with the module's own dropout in training.

    attended (n, 1, 1, l) bool. transformers' functions draw by themselves, which processes that share a batch cannot
    do alike.
    """
    if not module.training:
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attended, scale=options["scaling"])
    else:
        scores = query @ key.transpose(-1, -2) * options["scaling"]
        shares = scores.masked_fill(~attended, torch.finfo(scores.dtype).min).softmax(-1)
        out = cast(nn.Module, module.dropout)(shares) @ value
    return out.transpose(1, 2), None


class Answers(nn.Module):
    """Logits (n, 2, l) float32 or wider of every token to begin and to end an answer; those of padding are very low."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qa_outputs = linear(width, 2)

    def forward(self, maps: Sequence[Tensor], inputs: Tensor) -> Tensor:
        logits = wide(self.qa_outputs(maps[0])).transpose(1, 2)
        return logits.masked_fill((inputs[:, 0] == PAD)[:, None], NOWHERE)


class MaskedTokens(nn.Module):
    """Logits (n, l, V) float32 or wider of every token of the vocabulary at every place.

    The last layer's weight is that of the word embeddings: theirs, not a copy, and no part of this module's state.
    """

    def __init__(self, transform: nn.Module, embeddings: nn.Embedding) -> None:
        super().__init__()
        self.transform = transform
        self.bias = nn.Parameter(torch.zeros(embeddings.num_embeddings))
        # In a tuple it is no submodule, but a copy of the network holds that network's copy of it.
        self.tied = (embeddings,)

    def forward(self, maps: Sequence[Tensor], inputs: Tensor) -> Tensor:
        return self.decoded(maps[0])

    def at(self, hidden: Tensor, chosen: Tensor) -> Tensor:
        """Logits (k, V) at the k places that are `chosen` (n, l) bool, of hidden states (n, l, d), row by row."""
        return self.decoded(hidden[chosen])

    def decoded(self, hidden: Tensor) -> Tensor:
        return wide(F.linear(self.transform(hidden), self.tied[0].weight, self.bias))


def answers(network: Network, _classes: int) -> Answers:
    """A fresh head for question answering; its two outputs are those of every token, whatever the classes."""
    return Answers(_bert_of(network).config.hidden_size)


def masked_tokens(network: Network, _classes: int) -> MaskedTokens:
    """A fresh head that predicts masked tokens, of BERT's initialisation; its classes are the network's vocabulary."""
    from transformers.models.bert.modeling_bert import BertPredictionHeadTransform

    bert = _bert_of(network)
    transform = cast(Any, BertPredictionHeadTransform)(bert.config)
    initialise(transform.dense)
    return MaskedTokens(transform, bert.embeddings.word_embeddings)


def linear(width: int, outputs: int) -> nn.Linear:
    """A linear layer of BERT's initialisation."""
    made = nn.Linear(width, outputs)
    initialise(made)
    return made


def initialise(layer: nn.Linear) -> None:
    """Draw weights of deviation 0.02 and set the bias to 0, in place."""
    nn.init.normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)


def wide(logits: Tensor) -> Tensor:
    return logits if logits.dtype == torch.float64 else logits.float()


def _bert_of(network: Network) -> Any:
    return network.body.get_submodule("bert")


def _bert(
    classes: int, vocabulary: str, *, layers: int, width: int, heads: int, inner: int, deviation: float = 0.02
) -> Body:
    try:
        # It takes seconds to import.
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertModel
    except ImportError as error:
        raise ModelError(f"BERT needs transformers ({error}): pip install 'ticketbench[text]'") from None
    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, attention)
    config = cast(Any, BertConfig)(
        vocab_size=VOCABULARIES[vocabulary].size,
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=inner,
        max_position_embeddings=POSITIONS,
        initializer_range=deviation,
        attn_implementation=ATTENTION,
    )
    return Body(
        module=Bert(BertModel(config), classes=classes),
        head="classifier",
        linear=linear,
        # Files of masked language models hold none.
        optional=("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
        stages=("sequence",),
        blocks="bert.encoder.layer.",
        reads="texts",
        smallest=2,  # of an empty text: where it begins and where it ends
        largest=POSITIONS,
    )
