"""Files and folders that transformers writes give the outputs of the networks that wrote them."""

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from transformers.models.bert import modeling_bert
from transformers.models.bert.configuration_bert import BertConfig

from bench import catalog, masks, models
from bench.models import external
from bench.models.tickets import read_ticket
from bench.spec import Prunable, Word

TINY = Word("bert_tiny", (("vocabulary", "embedded"),), "bert_tiny(vocabulary=embedded)")
# Sums of at most 512 products of single precision, four layers in a row.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def theirs(kind, vocabulary=4096):
    config = BertConfig(
        vocab_size=vocabulary, num_hidden_layers=2, hidden_size=128, num_attention_heads=2, intermediate_size=512
    )
    torch.manual_seed(7)
    model = getattr(modeling_bert, kind)(config).eval()
    with torch.no_grad():
        # Freshly made they are all the same, and would hide an exchange.
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape) / 10)
    return model


def network(path, task=None, **options):
    """A network that starts from a file; drawn from another seed than what wrote it."""
    net = models.build(TINY, classes=2, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0)
    if task is not None:
        models.new_head(net, task, 1, resolution=64, seed=1)
    models.load_state(net, external.read_checkpoint(path, architecture=TINY, **options), allow_head_mismatch=True)
    return net.eval()


def inputs():
    draw = torch.Generator().manual_seed(0)
    tokens = torch.zeros(3, 2, 10, dtype=torch.int64)
    tokens[:, 0] = torch.randint(5, 4096, (3, 10), generator=draw)
    tokens[:, 1, 6:] = 1
    tokens[1, :, 7:] = 0
    return tokens


KEPT = inputs()[:, 0] != 0


def outputs(model):
    tokens = inputs()
    with torch.no_grad():
        return model(input_ids=tokens[:, 0], token_type_ids=tokens[:, 1], attention_mask=KEPT.long())


def states(net):
    with torch.no_grad():
        return net.maps(inputs())[0]


def legacy(state):
    """As files of 2018 and 2019 name their tensors: no decoder's bias, TensorFlow's LayerNorm, a buffer of numbers."""
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in state.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): value for name, value in old.items()}
    old.pop("cls.predictions.decoder.bias", None)
    return {"bert.embeddings.position_ids": torch.arange(512)[None], **old}


@pytest.mark.parametrize("how", ["folder", "file", "legacy folder", "legacy file without zip"])
@pytest.mark.parametrize("kind", ["BertForMaskedLM", "BertForPreTraining"])
def test_a_language_model_gives_its_states_and_its_predictions(kind, how, tmp_path):
    model = theirs(kind)
    path = tmp_path / "model"
    if "legacy" in how:
        path.mkdir()
        torch.save(
            legacy(model.state_dict()),
            path / "pytorch_model.bin",
            _use_new_zipfile_serialization="zip" not in how,
        )
    else:
        model.save_pretrained(path)
    if "file" in how:
        path = next(file for file in path.iterdir() if file.name in catalog.WEIGHTS)
    net, expected = network(path, "masked_language_modelling"), outputs(model)
    torch.testing.assert_close(states(net)[KEPT], outputs(model.bert).last_hidden_state[KEPT], **CLOSE)
    logits = expected.logits if kind == "BertForMaskedLM" else expected.prediction_logits
    with torch.no_grad():
        torch.testing.assert_close(net(inputs())[KEPT], logits[KEPT], **CLOSE)


def test_a_decoders_bias_alone_is_that_of_the_predictions(tmp_path):
    model = theirs("BertForMaskedLM")
    state = model.state_dict()
    found = {}
    for name in ("cls.predictions.bias", "cls.predictions.decoder.bias"):
        torch.save({key: value for key, value in state.items() if key != name}, tmp_path / "model.bin")
        found[name] = external.read_checkpoint(tmp_path / "model.bin", architecture=TINY, format="huggingface")
    assert all(torch.equal(read["top.bias"], state["cls.predictions.bias"]) for read in found.values())


def test_a_model_without_heads_gives_its_states_and_its_pooler(tmp_path):
    model = theirs("BertModel")
    model.save_pretrained(tmp_path)
    net = network(tmp_path)
    torch.testing.assert_close(states(net)[KEPT], outputs(model).last_hidden_state[KEPT], **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(net.features(inputs()), outputs(model).pooler_output, **CLOSE)


@pytest.mark.parametrize("kind", ["BertForSequenceClassification", "BertForQuestionAnswering"])
def test_a_head_of_its_own_is_read(kind, tmp_path):
    model = theirs(kind)
    model.save_pretrained(tmp_path)
    answers = kind == "BertForQuestionAnswering"
    net = network(tmp_path, "question_answering" if answers else None)
    with torch.no_grad():
        found = net(inputs())
    if answers:
        torch.testing.assert_close(found[:, 0][KEPT], outputs(model).start_logits[KEPT], **CLOSE)
    else:
        torch.testing.assert_close(found, outputs(model).logits, **CLOSE)


def test_a_masked_network_computes_what_zeroed_weights_do(tmp_path):
    model = theirs("BertForMaskedLM")
    model.save_pretrained(tmp_path)
    net = network(tmp_path, "masked_language_modelling")
    draw = torch.Generator().manual_seed(3)
    found = {
        name: torch.rand(weight.shape, generator=draw) < 0.3
        for name, weight in models.weights(net, models.prunable(net, Prunable())).items()
    }
    masks.apply_(net, found)
    with torch.no_grad():
        before = outputs(model).logits
        for name, mask in found.items():
            if "pooler" not in name:
                model.get_parameter(name)[~mask] = 0.0
        torch.testing.assert_close(net(inputs())[KEPT], outputs(model).logits[KEPT], **CLOSE)
    assert not torch.allclose(outputs(model).logits, before, atol=0.01)


def test_what_a_file_lacks_keeps_its_initialisation(tmp_path):
    theirs("BertForMaskedLM").save_pretrained(tmp_path)
    read = external.read_checkpoint(tmp_path, architecture=TINY)
    fresh = models.state(models.build(TINY, classes=2, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0))
    assert fresh.keys() - read.keys() == {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"
    }  # fmt: skip
    assert {name for name in read if name not in fresh} == {
        f"top.{name}"
        for name in (
            "bias",
            *(f"transform.{part}.{kind}" for part in ("dense", "LayerNorm") for kind in ("weight", "bias")),
        )
    }
    assert torch.equal(models.state(network(tmp_path))["bert.pooler.dense.weight"], fresh["bert.pooler.dense.weight"])


def test_another_vocabulary_is_named(tmp_path):
    theirs("BertForMaskedLM", vocabulary=300).save_pretrained(tmp_path)
    with pytest.raises(
        models.ModelError,
        match=r"1 have another shape .*expected \(4096, 128\), found \(300, 128\)\)\. Its vocabulary has 300 tokens, "
        r"not 4096: take the architecture's option vocabulary=",
    ):
        external.read_checkpoint(tmp_path, architecture=TINY)


def test_a_folder_without_weights_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(models.ModelError, match=r"is a folder without weights: expected model.safetensors or pytorch_"):
        external.read_checkpoint(tmp_path, architecture=TINY)


def test_published_weights_are_read_from_their_folder_or_the_command_is_named(tmp_path):
    with pytest.raises(
        models.ModelError, match=r"google/it is not there: run `python -m bench.prepare huggingface:goo"
    ):
        external.huggingface_weights(TINY, "google/it", tmp_path)
    model = theirs("BertModel")
    model.save_pretrained(tmp_path / "google" / "it")
    found = external.huggingface_weights(TINY, "google/it", tmp_path)
    assert torch.equal(found["bert.pooler.dense.bias"], model.pooler.dense.bias)


class Hub:
    """Stands for the hub: hands out the files that it has, and notes what was asked for."""

    def __init__(self, *files, error=None):
        self.files, self.error, self.asked = files, error, []

    def __call__(self, model, name, *, local_dir):
        self.asked.append((model, name))
        if self.error is not None:
            raise self.error
        if name not in self.files:
            # Its own constructor wants the hub's answer.
            raise RemoteEntryNotFoundError.__new__(RemoteEntryNotFoundError)
        local_dir.mkdir(parents=True, exist_ok=True)
        (local_dir / name).write_text(name)


def test_a_download_fetches_what_is_not_there(tmp_path, monkeypatch):
    hub = Hub("pytorch_model.bin", "vocab.txt", "config.json")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    assert external.download_huggingface("it", tmp_path) == tmp_path / "it"
    assert [name for _, name in hub.asked] == ["model.safetensors", "pytorch_model.bin", "vocab.txt", "config.json"]
    (tmp_path / "it" / "vocab.txt").unlink()
    hub.asked.clear()
    external.download_huggingface("it", tmp_path)
    assert hub.asked == [("it", "vocab.txt")]


@pytest.mark.parametrize(
    ("hub", "first"),
    [
        (Hub(error=LocalEntryNotFoundError("no network")), "model.safetensors of it"),
        (Hub(error=OSError("disk")), "model.safetensors of it"),
        (Hub("vocab.txt"), "pytorch_model.bin of it"),
        (Hub("model.safetensors"), "vocab.txt of it"),
    ],
    ids=["no network", "disk", "no weights", "no vocabulary"],
)
def test_a_download_that_fails_is_one_sentence(hub, first, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hub)
    with pytest.raises(models.ModelError, match=f"{first} could not be downloaded to .*it .* machine with network"):
        external.download_huggingface("it", tmp_path)


def test_a_mask_of_a_published_ticket_is_read_with_or_without_the_pooler(tmp_path):
    names = models.prunable(models.build(TINY, classes=2, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0), Prunable())
    shapes = {name: value.shape for name, value in theirs("BertForSequenceClassification").named_parameters()}
    flat = {f"{name}_mask": (torch.arange(shapes[name].numel()) % 3 > 0).float().view(shapes[name]) for name in names}
    torch.save(flat, tmp_path / "mask.pt")
    ticket = read_ticket(tmp_path / "mask.pt", architecture=TINY, names=names)
    assert tuple(ticket.masks) == names
    assert all(torch.equal(ticket.masks[name], flat[f"{name}_mask"].bool()) for name in names)
    del flat["bert.pooler.dense.weight_mask"]
    torch.save(flat, tmp_path / "mask.pt")
    ticket = read_ticket(tmp_path / "mask.pt", architecture=TINY, names=names)
    assert ticket.masks["bert.pooler.dense.weight"].all()
    assert ticket.weights is None
    del flat["bert.encoder.layer.0.output.dense.weight_mask"]
    torch.save(flat, tmp_path / "mask.pt")
    with pytest.raises(
        models.ModelError, match=r"no masks for 2 of 13 weights, 2 names \(first: bert.encoder.layer.0.o"
    ):
        read_ticket(tmp_path / "mask.pt", architecture=TINY, names=names)
