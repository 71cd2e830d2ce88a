"""What the evaluate stage hands to each metric: which network, which images, which further set; and what it keeps."""

import itertools
import shutil

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from scipy.linalg import sqrtm
from sklearn.metrics import roc_auc_score

from bench import models, results
from bench.corruptions import CORRUPTIONS, SEVERITIES
from bench.data import open_split
from bench.launch.task import Settings, run_stage
from bench.metrics import sensitivity
from bench.spec import Word
from bench.stages import evaluate, weights
from bench.store import Store

PGD, AUTOATTACK = "pgd(steps=2, examples=60)", "autoattack(iterations=2, queries=4, examples=40)"
CORRUPTION = "corruption(examples=40)"
WORDS = [
    "accuracy", PGD, AUTOATTACK, CORRUPTION, "ood(against=digits_noisy)", "sensitivity(draws=1, examples=40)",
    "domain_gap(examples=200)", "domain_gap(features=random, examples=200)",
]  # fmt: skip


@pytest.fixture(scope="module")
def planned(lab):
    return lab.plan(
        pretraining=["supervised", "random"], transfer=["finetune"], evaluate=WORDS, seed=[0, 1],
        override={"transfer": {"epochs": 1}},
    )  # fmt: skip


@pytest.fixture(scope="module")
def stage(lab, planned, pick):
    """(word, columns of the cell) -> the evaluate stage, its inputs computed."""

    def stage(word, pruner="omp", pretraining="supervised", seed=0):
        stages = pick(planned, pruner=pruner, pretraining=pretraining, seed=seed)
        (key,) = (key for key, asked in zip(stages.evaluate, stages.asked, strict=True) if str(asked.metric) == word)
        for _, source in planned.stages[key].inputs:
            lab.artifact(planned, source)
        return planned.stages[key]

    return stage


@pytest.fixture(scope="module")
def inputs(lab):
    """Artifacts that a stage reads, by role."""
    return lambda stage: {role: Store(lab.settings.root).open(key) for role, key in stage.inputs}


def network_of(state):
    network = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    models.load_state(network, state)
    return network.eval()


@torch.no_grad()
def outputs(network, split, function=None):
    """Logits, or what `function` makes of images, and labels of a split."""
    found = [((function or network)(batch.inputs), batch.labels) for batch in split.batches(0)]
    return torch.cat([values for values, _ in found]), torch.cat([labels for _, labels in found])


def summary(artifact):
    return artifact.json("metrics.json")


def examples(artifact):
    return load_file(artifact.file("examples.safetensors"))


def test_every_selection_is_measured_by_itself_and_has_rows_of_its_own(lab, pick, inputs):
    planned = lab.plan(
        transfer=["linear"], evaluate=["accuracy", "calibration"],
        override={"transfer": {"select": ["last", "best_validation"], "epochs": 4, "lr": 3.0, "schedule": "constant"}},
    )  # fmt: skip
    stages = pick(planned, pruner="omp")
    assert [(str(asked.metric), asked.selection) for asked in stages.asked] == [
        (metric, selection) for metric in ("accuracy", "calibration") for selection in ("last", "best_validation")
    ]
    rows = results.rows(planned, root=lab.settings.root)
    assert {row.status for row in rows} == {"missing"}
    found = {}
    for key in stages.evaluate[:2]:
        artifact = lab.artifact(planned, key)
        stage = planned.stages[key]
        selection = stage.parameters.selection
        state = weights.load_sparse(inputs(stage)["transfer"], selection)
        split = open_split(stage.parameters.data, "test", data_root=lab.settings.data_root, batch_size=100)
        logits, labels = outputs(network_of(state), split)
        found[selection] = float((logits.argmax(1) == labels).double().mean())
        assert summary(artifact)["metrics"]["accuracy"] == found[selection]
    assert found["last"] != found["best_validation"]
    rows = [row for row in results.rows(planned, root=lab.settings.root) if row.metric == "accuracy"]
    mine = {row.selection: row for row in rows if row.ticket == stages.ticket}
    assert {selection: row.value for selection, row in mine.items()} == found
    assert len({row.key for row in mine.values()}) == 2


def test_a_subset_of_the_test_split_is_stratified_fixed_and_the_same_for_every_network(lab, stage, opened):
    pixels = []
    for pruner, pretraining, seed in (("omp", "supervised", 0), ("dense", "random", 1)):
        found = stage(PGD, pruner, pretraining, seed)
        opened.clear()
        artifact = lab.compute(found)
        ((name, split),) = opened
        assert (name, split.n_examples, summary(artifact)["n_examples"]) == ("test", 60, 60)
        assert examples(artifact)["correct"].shape == (60,)
        pixels.append(torch.cat([batch.inputs for batch in split.batches(0)]))
        whole = open_split(found.parameters.data, "test", data_root=lab.settings.data_root, batch_size=100)
        assert whole.n_examples == 500
        share = np.bincount(whole.labels, minlength=10) * 60 / len(whole.labels)
        assert (abs(np.bincount(split.labels, minlength=10) - share) < 1).all()
    assert pixels[0].equal(pixels[1])


def test_out_of_distribution_images_are_the_other_sets_test_split(lab, stage, inputs, opened):
    found = stage("ood(against=digits_noisy)")
    opened.clear()
    artifact = lab.compute(found)
    assert [(name, split.n_examples) for name, split in opened] == [("test", 500), ("test", 500)]
    network = network_of(weights.load_sparse(inputs(found)["transfer"]))
    confidence = []
    for data in (found.parameters.data, found.parameters.other):
        split = open_split(data, "test", data_root=lab.settings.data_root, batch_size=100)
        confidence.append(outputs(network, split)[0].double().softmax(1).amax(1).numpy())
    assert found.parameters.other.dataset.name == "digits_noisy"
    expected = roc_auc_score([1] * 500 + [0] * 500, np.concatenate(confidence))
    # Confidences are in single precision: some of 250,000 pairs may change places.
    assert summary(artifact)["metrics"]["ood_auroc"] == pytest.approx(expected, abs=1e-3)
    assert summary(artifact)["details"] == {"n_out": 500}
    np.testing.assert_allclose(examples(artifact)["confidence"], confidence[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("word", "pretraining"),
    [("domain_gap(examples=200)", "supervised"), ("domain_gap(features=random, examples=200)", "random")],
)
def test_the_domain_gap_is_that_of_training_images_in_the_named_networks_features(
    lab, planned, pick, stage, word, pretraining
):
    found = stage(word)
    # One stage for every ticket of a pre-training.
    assert len({stage(word, pruner, seed=seed).key for pruner in ("omp", "dense") for seed in (0, 1)}) == 1
    named = planned.stages[dict(found.inputs)["pretrain"]]
    assert named.parameters.pretraining.name == pretraining
    state = weights.load_weights(lab.artifact(planned, named.key))
    network, moments = network_of(state), []
    for data in (found.parameters.data, found.parameters.other):
        split = open_split(data, "train", data_root=lab.settings.data_root, batch_size=100, examples=200)
        values = outputs(network, split, network.features)[0].double().numpy()
        moments.append((values.mean(0), np.cov(values, rowvar=False)))
    (a, root_a), (b, root_b) = moments
    expected = ((a - b) ** 2).sum() + np.trace(root_a + root_b - 2 * sqrtm(root_a @ root_b).real)
    artifact = lab.compute(found)
    assert summary(artifact)["metrics"]["frechet_distance"] == pytest.approx(expected, rel=1e-3)
    assert summary(artifact)["details"] == {"n_target": 200, "n_source": 200, "dimension": 64}
    assert expected > 1e-3
    assert summary(artifact)["ticket"] == {}


def test_the_gap_in_named_features_is_the_same_stage_for_every_pretraining(stage):
    word = "domain_gap(features=random, examples=200)"
    assert stage(word).key == stage(word, pretraining="random").key
    assert stage("domain_gap(examples=200)").key != stage("domain_gap(examples=200)", pretraining="random").key


@pytest.mark.parametrize("pruner", ["omp", "dense"])
def test_sensitivity_reads_the_ticket_and_what_it_was_pretrained_to(lab, stage, pruner):
    found = stage("sensitivity(draws=1, examples=40)", pruner)
    assert {role for role, _ in found.inputs} == {"transfer", "pretrain"}
    artifact = lab.compute(found)
    assert examples(artifact)["correct"].shape == (40, 10, 1)
    metrics, details = summary(artifact)["metrics"], summary(artifact)["details"]
    swaps = [metrics[f"accuracy_mask_swap_{rate}"] for rate in (0.001, 0.005, 0.01, 0.05, 0.1)]
    if pruner == "dense":
        assert swaps == [details["clean"]] * 5
        assert summary(artifact)["flags"] == ["no mask to swap: accuracy_mask_swap is the clean accuracy"]
    else:
        assert summary(artifact)["flags"] == []
        assert len({details["clean"], *swaps}) > 1


def test_a_swap_brings_back_what_the_ticket_was_cut_from(lab, pick, monkeypatch):
    """Of a control with weights of its own, those; pre-trained ones would be strangers in its network."""
    words = ["omp", "omp(control=shuffled)"]
    planned = lab.plan(
        pruner=words, evaluate=["sensitivity(draws=1, examples=10)"], override={"transfer": {"epochs": 1}}
    )
    read = []
    exchanged = sensitivity._exchanged

    def watched(before, pretrained, pruned, revived):
        read.append(pretrained)
        return exchanged(before, pretrained, pruned, revived)

    monkeypatch.setattr(sensitivity, "_exchanged", watched)
    own = {}
    for word in words:
        read.clear()
        stages = pick(planned, pruner=word)
        lab.artifact(planned, stages.evaluate[0])
        own[word] = read[0]
        if word == "omp":
            pretrained = weights.load_weights(
                lab.artifact(planned, dict(planned.stages[stages.ticket].inputs)["pretrain"])
            )
        else:
            shuffled = weights.load_weights(lab.artifact(planned, stages.ticket), "start.safetensors")
    name = "layer3.0.conv2.weight"
    assert own["omp"][name].equal(pretrained[name])
    assert own["omp(control=shuffled)"][name].equal(shuffled[name])
    assert not shuffled[name].equal(pretrained[name])


def test_corruptions_are_generated_from_the_subset(lab, stage, opened):
    found = stage(CORRUPTION)
    opened.clear()
    artifact = lab.compute(found)
    assert {(name, split.n_examples) for name, split in opened} == {("test", 40)}
    details = summary(artifact)["details"]
    assert set(details["accuracy"]) == set(CORRUPTIONS)
    correct = examples(artifact)["correct"]
    assert correct.shape == (40, 75)
    assert summary(artifact)["metrics"]["corruption_accuracy"] == correct.mean()
    table = correct.mean(0).reshape(15, 5)
    assert [details["accuracy"][name] for name in CORRUPTIONS] == table.tolist()


def test_corruptions_of_files_are_those_of_the_images_in_the_subset(lab, stage, changed, monkeypatch):
    """Files without any corruption: the clean accuracy on the subset, 75 times over."""
    found, asked = changed(stage(CORRUPTION), metric=Word("corruption", (("origin", "files"),))), []
    clean = open_split(found.parameters.data, "test", data_root=lab.settings.data_root, batch_size=500)
    (batch,) = clean.batches(0)

    def corrupted(dataset, corruption, severity, *, rows, resolution, loader, **_):
        asked.append((dataset.name, corruption, severity, resolution, loader))
        yield batch._replace(inputs=batch.inputs[rows], labels=batch.labels[rows], indices=torch.arange(len(rows)))

    monkeypatch.setattr(evaluate, "corrupted", corrupted)
    correct = examples(lab.compute(found))["correct"]
    kinds = [(corruption, severity) for corruption in CORRUPTIONS for severity in SEVERITIES]
    assert asked == [("digit_glyphs", *kind, 8, "resident") for kind in kinds]
    accuracy = stage("accuracy")
    subset = open_split(found.parameters.data, "test", data_root=lab.settings.data_root, batch_size=40, examples=40)
    (shown,) = subset.batches(0)
    state = weights.load_sparse(Store(lab.settings.root).open(dict(accuracy.inputs)["transfer"]))
    right = (outputs(network_of(state), subset)[0].argmax(1) == shown.labels).numpy()
    assert (correct == right[:, None]).all()
    assert 0 < right.mean() < 1


def test_autoattack_stopped_at_any_look_goes_on_and_ends_with_the_same_numbers(lab, stage, tmp_path):
    found = stage(AUTOATTACK)
    whole = lab.compute(found)
    root = tmp_path / "runs"
    for _, source in found.inputs:
        shutil.copytree(Store(lab.settings.root).folder(source), Store(root).folder(source))
    settings, stops = Settings(root=root, data_root=lab.settings.data_root), 0
    # It looks after each attack: stopped at every second look until it comes through.
    for _ in range(10):
        looks = itertools.count(1)
        outcome = run_stage(found, settings, stop=lambda looks=looks: next(looks) == 2)
        if outcome.status == "done":
            break
        assert outcome.status == "interrupted"
        assert any(Store(root).scratch(found.key).iterdir())
        stops += 1
    assert outcome.status == "done"
    assert stops == 2
    again = Store(root).open(found.key)
    assert summary(again) == summary(whole)
    assert again.manifest["files"]["examples.safetensors"] == whole.manifest["files"]["examples.safetensors"]


def test_flags_and_details_reach_the_numbers_file_and_the_rows(lab, planned, pick, stage):
    artifact = lab.compute(stage(AUTOATTACK))
    found = summary(artifact)
    assert found["details"]["budget"] == {"steps": 2, "targets": 9, "queries": 4}
    assert set(found["details"]["accuracy_after"]) == {"clean", "apgd_ce", "apgd_t", "fab_t", "square"}
    assert found["flags"]
    row = next(row for row in results.rows(planned, root=lab.settings.root) if row.key == artifact.key)
    assert row.metric == "autoattack_accuracy(iterations=2, queries=4, examples=40)"
    assert row.flags == "; ".join(found["flags"])
    assert row.n_examples == 40
    assert (row.macs, row.dense_macs) == (found["ticket"]["macs"], found["ticket"]["dense_macs"])
    assert row.macs < row.dense_macs
