"""The four stages on texts: what is pre-trained, pruned, rewound, kept and measured, at toy size."""

import dataclasses
import itertools
import shutil

import pytest
import torch

from bench import models, prepare, results
from bench.launch.task import run_stage
from bench.stages import fit, weights
from bench.store import Store

MASKED, PAIRS, SCORES, ANSWERS = (f"toy(of={name})" for name in ("mlm", "mnli", "stsb", "squad"))
CHANGES = {
    "protocol": "bert_lth",
    "architecture": ["bert_tiny"],
    "pretraining": ["mlm"],
    "source": [MASKED],
    "sparsity": {"points": 0.1, "rounds": [0, 1, 2, 3]},
    "evaluate": ["glue", "squad", "mlm"],
    "override": {
        "pretrain": {"epochs": 2, "batch_size": 16, "lr": 1e-3, "warmup_epochs": 0.0, "precision": "fp32"},
        "prune": {"epochs": 1, "batch_size": 16, "lr": 1e-3},
        "transfer": {"epochs": 1, "batch_size": 16, "lr": 1e-3},
        "data": {"text_length": 24},
    },
}
HEAD = ("classifier.weight", "classifier.bias")


@pytest.fixture(scope="module")
def texts(lab):
    """The lab with the stand-ins of text sets."""
    assert prepare.main([MASKED, PAIRS, SCORES, ANSWERS, "--data", str(lab.settings.data_root)]) == 0
    return lab


@pytest.fixture
def training(texts, watch, tmp_path):
    """(plan, key) -> the training of that stage, computed afresh."""
    trainings = watch(fit)

    def training(planned, key):
        for _, source in planned.stages[key].inputs:
            texts.artifact(planned, source)
        outcome, _ = texts.afresh(planned.stages[key], tmp_path / "runs")
        assert outcome.status == "done", outcome.message
        return trainings[-1]

    return training


def pretrained(texts, planned):
    (key,) = (key for key, stage in planned.stages.items() if stage.kind == "pretrain")
    return weights.load_weights(texts.artifact(planned, key))


def masked(state, mask):
    return {name: tensor * mask[name] if name in mask else tensor for name, tensor in state.items()}


def test_masked_language_modelling_rounds_prune_first_and_rewind_all_but_the_head(texts, pick, same, training):
    planned = texts.plan(dataset=[MASKED], pruner=["imp"], **CHANGES)
    first, second, third = (pick(planned, pruner="imp", round=k) for k in (1, 2, 3))
    start = pretrained(texts, planned)
    head = [name for name in start if name.startswith(models.TOP)]
    assert len(head) == 5
    assert planned.stages[first.ticket].parameters.recipe is None
    mask = weights.load_masks(texts.artifact(planned, first.ticket))
    assert sum(int(kept.sum()) for kept in mask.values()) == 409_600 * 9 // 10
    smallest = min(float(start[name][kept].abs().min()) for name, kept in mask.items())
    assert max(float(start[name][~kept].abs().max()) for name, kept in mask.items()) <= smallest
    one = training(planned, second.ticket)
    assert same(one.start, masked(start, mask), start)
    assert not same(one.end, start, head)
    assert not same(one.end, start, ["bert.embeddings.LayerNorm.weight"])
    mask = weights.load_masks(texts.artifact(planned, second.ticket))
    two = training(planned, third.ticket).start
    assert same(two, masked(start, mask), start.keys() - set(head))
    assert same(two, one.end, head)


def test_rounds_on_a_task_rewind_the_network_and_not_the_head(texts, pick, same, training):
    planned = texts.plan(dataset=[SCORES], pruner=["imp(on=downstream)"], **CHANGES)
    first, second = (pick(planned, pruner="imp(on=downstream)", round=k) for k in (1, 2))
    start = pretrained(texts, planned)
    one, mask = training(planned, first.ticket), weights.load_masks(texts.artifact(planned, first.ticket))
    two = training(planned, second.ticket)
    body = one.start.keys() - set(HEAD)
    assert same(one.start, start, body)
    assert same(two.start, masked(start, mask), body)
    assert "bert.embeddings.LayerNorm.weight" in body
    assert not same(one.end, start, ["bert.embeddings.word_embeddings.weight"])
    assert same(two.start, one.end, HEAD)
    final = training(planned, second.transfer).start
    assert not same(final, two.end, HEAD)


def test_never_rewinding_goes_on_with_all_weights(texts, pick, same, training):
    planned = texts.plan(dataset=[PAIRS], pruner=["imp(on=downstream, rewind=never)"], **CHANGES)
    first, second = (pick(planned, pruner="imp(on=downstream, rewind=never)", round=k) for k in (1, 2))
    one = training(planned, first.ticket)
    mask = weights.load_masks(texts.artifact(planned, first.ticket))
    assert same(training(planned, second.ticket).start, masked(one.end, mask), one.end.keys())


def test_a_mask_found_on_a_set_is_that_of_the_set_whatever_the_target_is(texts, pick):
    words = ["imp(on=downstream)", f"imp(on={PAIRS})"]
    planned = texts.plan(dataset=[PAIRS, SCORES], pruner=words, **CHANGES)
    own = pick(planned, pruner="imp(on=downstream)", dataset=PAIRS, round=2)
    there = pick(planned, pruner=f"imp(on={PAIRS})", dataset=SCORES, round=2)
    assert own.ticket == there.ticket
    assert own.transfer != there.transfer
    assert pick(planned, pruner="imp(on=downstream)", dataset=SCORES, round=2).ticket != own.ticket


def test_the_pre_trained_head_is_kept_for_masked_tokens_unless_all_weights_are_drawn_anew(texts, pick, same, training):
    words = plain, anew, permuted = "omp", "omp(control=reinitialised)", "omp(control=permuted_layers)"
    planned = texts.plan(dataset=[MASKED, ANSWERS], pruner=list(words), **CHANGES)
    start = pretrained(texts, planned)
    cells = {word: pick(planned, pruner=word, dataset=MASKED, round=2) for word in words}
    mask = weights.load_masks(texts.artifact(planned, cells[plain].ticket))
    begun = {word: training(planned, cell.transfer).start for word, cell in cells.items()}
    assert same(begun[plain], masked(start, mask), start)
    drawn = [name for name, tensor in start.items() if name.endswith("weight") and "LayerNorm" not in name]
    assert "top.transform.dense.weight" in drawn
    assert "bert.embeddings.word_embeddings.weight" in drawn
    assert [name for name in drawn if torch.equal(begun[anew][name], masked(start, mask)[name])] == []
    assert same(begun[permuted], start, start.keys() - mask.keys())
    for part in ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense"):
        one, other = (f"bert.encoder.layer.{i}.{part}.weight" for i in (0, 1))
        assert torch.equal(begun[permuted][one], start[other] * mask[one])
        assert torch.equal(begun[permuted][other], start[one] * mask[other])
    # Answers begin with a head of their own.
    answers = training(planned, pick(planned, pruner=plain, dataset=ANSWERS, round=2).transfer).start
    assert {name for name in answers if name.startswith(models.TOP)} == {"top.qa_outputs.weight", "top.qa_outputs.bias"}


def test_rows_of_a_set_have_the_numbers_it_is_judged_by_on_the_splits_it_has(texts):
    planned = texts.plan(
        dataset=[MASKED, PAIRS, SCORES, ANSWERS], pruner=["dense"],
        **CHANGES | {"evaluate": ["glue", "glue(split=mismatched)", "squad", "mlm"]},
    )  # fmt: skip
    for cell in planned.cells:
        for key in cell.evaluate:
            texts.artifact(planned, key)
    found: dict[str, list[str]] = {}
    for row in results.rows(planned, root=texts.settings.root):
        assert row.status == "done"
        assert row.value is not None
        found.setdefault(str(row.cell.dataset), []).append(row.metric)
    assert found == {
        MASKED: ["accuracy", "perplexity"],
        PAIRS: ["accuracy", "accuracy(split=mismatched)"],
        SCORES: ["pearson", "spearman"],
        ANSWERS: ["f1", "exact_match"],
    }


@pytest.mark.parametrize("kind", ["pretrain", "transfer"])
def test_a_training_that_was_stopped_ends_bit_identical(texts, pick, tmp_path, kind):
    planned = texts.plan(dataset=[ANSWERS], pruner=["omp"], **CHANGES)
    cell = pick(planned, pruner="omp", round=1)
    key = cell.transfer if kind == "transfer" else dict(planned.stages[cell.transfer].inputs)["pretrain"]
    stage, looks = planned.stages[key], itertools.count(1)
    whole, root = texts.artifact(planned, key), tmp_path / "stopped"
    for _, source in stage.inputs:
        shutil.copytree(Store(texts.settings.root).folder(source), Store(root).folder(source))
    settings = dataclasses.replace(texts.settings, root=root)
    assert run_stage(stage, settings, stop=lambda: next(looks) == 4).status == "interrupted"
    assert (Store(root).scratch(key) / "checkpoint.pt").is_file()
    assert run_stage(stage, settings).status == "done"
    again, file = Store(root).open(key), "sparse" if kind == "transfer" else "weights"
    assert again.file(f"{file}.safetensors").read_bytes() == whole.file(f"{file}.safetensors").read_bytes()
    assert [r["loss"] for r in again.json("history.json")] == [r["loss"] for r in whole.json("history.json")]


def test_published_weights_are_read_from_their_folder_head_included(texts, same):
    from safetensors.torch import save_file

    planned = texts.plan(dataset=[MASKED], pruner=["omp"], **CHANGES)
    state = pretrained(texts, planned)
    renamed = {name.replace(models.TOP, "cls.predictions."): tensor for name, tensor in state.items()}
    folder = texts.settings.data_root / "weights" / "small-bert"
    folder.mkdir(parents=True)
    save_file({name: tensor for name, tensor in renamed.items() if name not in HEAD}, folder / "model.safetensors")
    for word in ("huggingface(model=small-bert)", f"checkpoint(path={folder}, method=mlm)"):
        read = texts.plan(dataset=[MASKED], pruner=["omp"], **CHANGES | {"pretraining": [word]})
        assert same(pretrained(texts, read), state, state.keys() - set(HEAD))
