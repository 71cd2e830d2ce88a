"""BERT computes what transformers' BERT does, draws as one process would, and takes the heads of its tasks."""

import copy
import sys

import pytest
import torch
from torch import nn
from transformers.models.bert import modeling_bert
from transformers.models.bert.configuration_bert import BertConfig

from bench import catalog, models
from bench.models.network import Network, outline
from bench.spec import Prunable, Word
from bench.training.batchwide import over_all_processes
from bench.training.distributed import Rows

BASE = Word("bert_base", (("vocabulary", "uncased"),))
TINY = Word("bert_tiny", (("vocabulary", "embedded"),), "bert_tiny")
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
MATRICES = (
    "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
    "intermediate.dense", "output.dense",
)  # fmt: skip
# Sums of at most 512 products of single precision, four layers in a row.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def network(task=None, *, classes=3, seed=1):
    net = models.build(TINY, classes=classes, **PLAIN, seed=0)
    if task is not None:
        models.new_head(net, task, classes, resolution=64, seed=seed)
    return net


def theirs(kind, **options):
    """transformers' network of this form, with its plainest attention."""
    config = BertConfig(
        vocab_size=4096, num_hidden_layers=2, hidden_size=128, num_attention_heads=2, intermediate_size=512,
        attn_implementation="eager", **options,
    )  # fmt: skip
    return getattr(modeling_bert, kind)(config).eval()


def texts():
    """Four texts of 12, 9, 2 and 12 tokens, the first and the second of two parts."""
    draw = torch.Generator().manual_seed(0)
    inputs = torch.zeros(4, 2, 12, dtype=torch.int64)
    for row, (length, second) in enumerate([(12, 5), (9, 4), (2, 2), (12, 12)]):
        inputs[row, 0, :length] = torch.randint(5, 4096, (length,), generator=draw)
        inputs[row, 1, second:length] = 1
    return inputs


def words(inputs):
    """Batches as transformers reads them."""
    return {
        "input_ids": inputs[:, 0],
        "token_type_ids": inputs[:, 1],
        "attention_mask": (inputs[:, 0] != 0).long(),
    }


def without_dropout(net):
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


@pytest.mark.parametrize("training", [False, True])
def test_logits_and_gradients_are_transformers(training):
    net = without_dropout(network()).train(training)
    oracle = without_dropout(
        theirs("BertForSequenceClassification", num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    )
    oracle.train(training)
    oracle.load_state_dict(models.state(net))
    expected, found = oracle(**words(texts())).logits, net(texts())
    torch.testing.assert_close(found, expected, **CLOSE)
    for logits in (expected, found):
        logits.square().sum().backward()
    for name, parameter in oracle.named_parameters():
        torch.testing.assert_close(net.body.get_parameter(name).grad, parameter.grad, rtol=1e-3, atol=1e-5)


def test_padding_changes_nothing():
    net = network().eval()
    with torch.no_grad():
        longer, alone = net(texts())[1], net(texts()[1:2, :, :9])[0]
    torch.testing.assert_close(longer, alone, **CLOSE)


def test_the_states_of_the_tokens_are_the_feature_map():
    net = network().eval()
    oracle = theirs("BertModel")
    oracle.load_state_dict(net.body.bert.state_dict())
    states = net.maps(texts())
    assert [tuple(found.shape) for found in states] == [(4, 12, 128)]
    kept = texts()[:, 0] != 0
    torch.testing.assert_close(states[0][kept], oracle(**words(texts())).last_hidden_state[kept], **CLOSE)


def test_the_head_reads_the_pooled_state():
    net = network().eval()
    features = net.features(texts())
    assert features.shape == (4, 128)
    assert torch.equal(models.head(net)(features), net(texts()))


def test_two_processes_draw_what_one_would():
    """Every dropout, that of attention too: rows of a global batch have the outputs and gradients of the whole."""
    net = network().double()

    def outputs(rows, inputs):
        with over_all_processes(net, rows):
            torch.manual_seed(5)
            net.zero_grad()
            logits = net(inputs)
            logits.square().sum().backward()
        return logits.detach(), {name: value.grad.clone() for name, value in net.named_parameters()}

    whole, gradients = outputs(Rows(n=4, n_global=4), texts())
    (first, ours), (second, others) = (
        outputs(Rows(rank=rank, world_size=2, first=2 * rank, n=2, n_global=4), texts()[2 * rank : 2 * rank + 2])
        for rank in range(2)
    )
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-9, atol=1e-12)
    for name, gradient in gradients.items():
        torch.testing.assert_close(ours[name] + others[name], gradient, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(whole, net.eval()(texts()), atol=1e-3)


def test_no_draw_is_outside_a_dropout_module():
    net = without_dropout(network()).train()
    assert torch.equal(net(texts()), net(texts()))


def test_attention_drops_a_share_of_the_weights_of_every_query():
    net = network().train()
    attention = net.body.get_submodule("bert.encoder.layer.0.attention.self")
    attention.dropout.p = 0.25
    seen = []
    attention.dropout.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    net(texts())
    [(shares, dropped)] = seen
    assert shares.shape == (4, 2, 12, 12)
    assert torch.allclose(shares.sum(-1), torch.ones(4, 2, 12))
    assert (shares[1, :, :, 9:] == 0).all()
    # 576 shares are not of padding: 4 standard deviations are 4 * sqrt(0.25 * 0.75 / 576) = 0.07.
    assert 0.18 < float((dropped[shares > 0] == 0).double().mean()) < 0.32


@pytest.mark.parametrize(
    ("architecture", "layers", "weights", "parameters"),
    [
        # In each of 12 layers 4 * 768^2 + 2 * 768 * 3,072 weights, and 768^2 of the pooler.
        (BASE, 12, 85_524_480, 109_482_240),
        # In each of 2 layers 4 * 128^2 + 2 * 128 * 512, and 128^2 of the pooler.
        (TINY, 2, 409_600, None),
    ],
    ids=str,
)
def test_six_matrices_of_every_layer_and_the_pooler_are_prunable(architecture, layers, weights, parameters):
    net = Network(outline(architecture, classes=2), label="bert", **PLAIN)
    names = models.prunable(net, Prunable())
    inside = [f"bert.encoder.layer.{layer}.{matrix}.weight" for layer in range(layers) for matrix in MATRICES]
    assert names == (*inside, "bert.pooler.dense.weight")
    assert sum(net.body.get_parameter(name).numel() for name in names) == weights
    if parameters is not None:
        assert sum(parameter.numel() for parameter in net.body.bert.parameters()) == parameters
    assert all(name.startswith(net.blocks) for name in inside)
    assert models.is_normalisation(net, "bert.embeddings.LayerNorm.bias")
    assert not models.is_normalisation(net, "bert.pooler.dense.weight")


@pytest.mark.parametrize("name", [name for name, entry in catalog.ARCHITECTURES.items() if entry.reads == "texts"])
def test_the_catalog_tells_sizes_and_lengths(name):
    entry = catalog.ARCHITECTURES[name]
    body = outline(Word(name, (("vocabulary", entry.options["vocabulary"].default),)), classes=2)
    millions = sum(parameter.numel() for parameter in body.module.parameters()) / 1e6
    assert millions == pytest.approx(entry.parameters_m, abs=0.05)
    assert entry.sides == {"": (body.smallest, body.largest)}
    assert (entry.reads, entry.blocks) == (body.reads, bool(body.blocks))


def test_building_is_a_function_of_the_seed_and_of_berts_initialisation():
    drawn = torch.get_rng_state()
    first, again = network(), network()
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(map(torch.equal, models.state(first).values(), models.state(again).values()))
    models.new_head(first, "sentence_classification", 100, resolution=64, seed=3)
    assert models.head(first).weight.shape == (100, 128)
    assert models.head(first).bias.abs().sum() == 0
    # 12,800 draws: the deviation of their spread is 0.02 / sqrt(2 * 12,800) = 0.6 % of it.
    assert float(models.head(first).weight.detach().std()) == pytest.approx(0.02, rel=0.03)


def test_lengths_that_cannot_be_read_are_named():
    net = network()
    assert net(net.blank(512)[:, :, :2]).shape == (1, 3)
    with pytest.raises(models.ModelError, match="bert_tiny reads texts of 2 to 512 tokens, found 513 tokens: set the"):
        net(net.blank(513))


def test_texts_and_images_are_told_apart():
    with pytest.raises(models.ModelError, match="bert_tiny reads texts, but segmentation is of images"):
        network("segmentation")
    images = models.build(Word("resnet8"), classes=3, **PLAIN, seed=0)
    with pytest.raises(models.ModelError, match="resnet8 reads images, but question_answering is of texts"):
        models.new_head(images, "question_answering", 1, resolution=64, seed=0)


def test_a_matrix_is_used_once_per_token_and_the_pooler_once():
    for net, head in ((network(), {"classifier.weight": 1}), (network("masked_language_modelling"), {})):
        inside = {f"bert.encoder.layer.{layer}.{matrix}.weight": 7 for layer in range(2) for matrix in MATRICES}
        assert models.uses(net, 7) == {**inside, "bert.pooler.dense.weight": 1, **head}


def test_answers_are_transformers_and_never_in_the_padding():
    net = network("question_answering", classes=1).eval()
    oracle = theirs("BertForQuestionAnswering")
    state = {name.removeprefix("top."): value for name, value in models.state(net).items()}
    oracle.load_state_dict({name: value for name, value in state.items() if not name.startswith("bert.pooler")})
    with torch.no_grad():
        logits, expected = net(texts()), oracle(**words(texts()))
    assert logits.shape == (4, 2, 12)
    kept = texts()[:, 0] != 0
    torch.testing.assert_close(logits[:, 0][kept], expected.start_logits[kept], **CLOSE)
    torch.testing.assert_close(logits[:, 1][kept], expected.end_logits[kept], **CLOSE)
    assert (logits.softmax(-1)[:, 0][~kept] == 0).all()
    assert models.head_parameters(net) == ("top.qa_outputs.weight", "top.qa_outputs.bias")


def test_masked_tokens_are_transformers():
    net = network("masked_language_modelling", classes=1).eval()
    torch.nn.init.normal_(net.top.bias)
    oracle = theirs("BertForMaskedLM")
    state = {name.replace("top.", "cls.predictions."): value for name, value in models.state(net).items()}
    state = {name: value for name, value in state.items() if not name.startswith("bert.pooler")}
    state["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"]
    state["cls.predictions.decoder.bias"] = state["cls.predictions.bias"]
    oracle.load_state_dict(state)
    with torch.no_grad():
        logits, expected = net(texts()), oracle(**words(texts())).logits
    kept = texts()[:, 0] != 0
    torch.testing.assert_close(logits[kept], expected[kept], **CLOSE)
    chosen = torch.zeros(4, 12, dtype=torch.bool)
    chosen[0, 3] = chosen[1, 1] = chosen[1, 8] = True
    some = net.top.at(net.maps(texts())[0], chosen)
    torch.testing.assert_close(some, expected[[0, 1, 1], [3, 1, 8]], **CLOSE)


def test_the_decoder_shares_the_word_embeddings():
    net = network("masked_language_modelling").eval()
    assert set(models.head_parameters(net)) == {
        f"top.{name}"
        for name in (
            "bias",
            *(f"transform.{part}.{kind}" for part in ("dense", "LayerNorm") for kind in ("weight", "bias")),
        )
    }
    embeddings = net.body.bert.embeddings.word_embeddings
    assert all(parameter is not embeddings.weight for parameter in models.head_weights(net))
    twin = copy.deepcopy(net).double()
    before = net(texts())
    with torch.no_grad():
        twin.body.bert.embeddings.word_embeddings.weight[4095] = 0.0
    # The token is in no text, so only the decoder reads its row: what is left is its bias, 0.
    assert 4095 not in texts()
    assert (twin(texts())[:, :, 4095] == 0).all()
    assert twin(texts()).dtype == torch.float64
    assert torch.equal(net(texts()), before)
    assert (before[:, :, 4095] != 0).all()
    net(texts())[:, :, 4095].sum().backward()
    assert embeddings.weight.grad[4095].abs().sum() > 0


@pytest.mark.parametrize("task", ["question_answering", "masked_language_modelling"])
def test_half_precision_gives_logits_in_single_precision(task):
    net = network(task).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(texts())
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def copied(net):
    return {name: value.clone() for name, value in models.state(net).items()}


def test_heads_of_other_tasks_are_ignored_on_request_only():
    source = copied(network("masked_language_modelling", seed=1))
    for target in (network(), network("question_answering")):
        own = copied(target)
        with pytest.raises(models.ModelError, match=r"names are unknown \(first: top\."):
            models.load_state(target, source)
        assert all(torch.equal(value, own[name]) for name, value in models.state(target).items())
        models.load_state(target, source, allow_head_mismatch=True)
        heads = models.head_parameters(target)
        for name, value in models.state(target).items():
            assert torch.equal(value, own[name] if name in heads else source[name])
    # One that was trained on sentences has a last linear layer, where this network has a top.
    target = network("masked_language_modelling", seed=2)
    models.load_state(target, copied(network()), allow_head_mismatch=True)
    # And its own head is taken where it fits.
    models.load_state(target, source, allow_head_mismatch=True)
    assert all(torch.equal(value, source[name]) for name, value in models.state(target).items())


def test_a_pooler_may_be_missing_on_request_only():
    target = network()
    own = copied(target)
    source = {name: value + 1 for name, value in own.items() if "pooler" not in name}
    with pytest.raises(models.ModelError, match=r"2 of 41 names are missing \(first: bert.pooler.dense.weight"):
        models.load_state(target, source)
    models.load_state(target, source, allow_head_mismatch=True)
    for name, value in models.state(target).items():
        assert torch.equal(value, own[name] if "pooler" in name else source[name])
    with pytest.raises(models.ModelError, match="1 have another shape"):
        models.load_state(target, {**own, "bert.pooler.dense.bias": torch.zeros(4)}, allow_head_mismatch=True)


def test_without_transformers_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers.modeling_utils", None)
    with pytest.raises(models.ModelError, match=r"BERT needs transformers .*: pip install 'ticketbench\[text\]'"):
        network()
