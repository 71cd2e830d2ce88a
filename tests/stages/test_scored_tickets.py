"""One-shot tickets in the prune stage: what scores read, how masks are grouped, and how layers share the sparsity."""

import dataclasses

import numpy as np
import pytest
import torch

from bench.data import open_split
from bench.stages import weights

# The 3 x 3 convolutions of resnet8 behind its first one: (out, in).
LAYERS = [(16, 16), (16, 16), (32, 16), (32, 32), (64, 32), (64, 64)]
PRUNABLE = 9 * sum(out * into for out, into in LAYERS)
KEPT = round(0.8**3 * PRUNABLE)
# Granularity -> dimensions of a weight that a group covers, from the last one.
COVERED = {"row": 1, "kernel": 2, "channel": 3}


@pytest.fixture(scope="module")
def planned(lab):
    return lab.plan(
        pruner=["snip", "snip(examples=64)", "snip(on=upstream)", "grasp", "grasp(on=upstream)", "synflow(rounds=3)"],
        seed=[0, 1],
    )


@pytest.fixture(scope="module")
def stage(lab, planned, pick):
    """(pruner, seed) -> its stage, the pre-training computed."""

    def stage(pruner, seed=0):
        found = planned.stages[pick(planned, pruner=pruner, seed=seed).ticket]
        for _, source in found.inputs:
            lab.artifact(planned, source)
        return found

    return stage


def pixels(split):
    return [image.numpy().tobytes() for batch in split.batches(0) for image in batch.inputs]


@pytest.mark.parametrize(
    ("pruner", "examples"), [("snip", 128), ("snip(examples=64)", 64), ("grasp", 100), ("grasp(on=upstream)", 100)]
)
def test_scores_read_so_many_examples_of_the_training_split_and_nothing_else(
    lab, stage, opened, tmp_path, pruner, examples
):
    found = stage(pruner)
    opened.clear()
    outcome, _ = lab.afresh(found, tmp_path / "runs")
    assert outcome.status == "done", outcome.message
    ((name, split),) = opened
    assert (name, split.n_examples) == ("train", examples)
    # Every class has its share: a tenth, up to how evenly the set is divided.
    assert np.bincount(split.labels, minlength=10).min() >= 0.08 * examples
    # Images of the validation split are not among those, but for a few that are drawn alike.
    training = open_split(found.parameters.data, "train", data_root=lab.settings.data_root, batch_size=100)
    read = set(pixels(split))
    assert read <= set(pixels(training))
    assert len(read) > 0.9 * examples


def test_no_example_is_left_alone_in_the_last_batch(lab, stage, changed, opened):
    """129 in batches of 128 would leave one, and batch normalisation no deviation."""
    found = stage("snip")
    pruner = dataclasses.replace(
        found.parameters.pruner, options=(("on", "downstream"), ("examples", 129), ("allocation", "global"))
    )
    opened.clear()
    lab.compute(changed(found, pruner=pruner))
    assert [len(batch.labels) for batch in opened[0][1].batches(0)] == [65, 64]


def test_the_examples_are_drawn_by_the_seed(lab, stage, opened, tmp_path):
    stage("snip")
    opened.clear()
    for folder, seed in (("first", 0), ("again", 0), ("other", 1)):
        assert lab.afresh(stage("snip", seed), tmp_path / folder)[0].status == "done"
    first, again, other = (pixels(split) for _, split in opened)
    assert first == again
    # 128 of 1,097: two draws share some fifteen.
    assert len(set(first) & set(other)) < 40
    masks = [weights.load_masks(lab.compute(stage("snip", seed))) for seed in (0, 1)]
    assert any(not masks[0][name].equal(masks[1][name]) for name in masks[0])


def test_upstream_scores_read_the_source_with_its_own_head(lab, stage):
    found = stage("snip(on=upstream)")
    assert found.parameters.data.dataset.name == "digits"
    assert found.key == stage("snip(on=upstream)", seed=1).key
    assert lab.compute(found).json("ticket.json")["kept"] == KEPT


def test_synflow_reads_no_data(lab, stage, opened, tmp_path):
    found = stage("synflow(rounds=3)")
    opened.clear()
    outcome, store = lab.afresh(found, tmp_path / "runs", data_root=tmp_path / "nothing")
    assert outcome.status == "done", outcome.message
    assert not opened
    assert store.open(found.key).json("ticket.json")["kept"] == KEPT


@pytest.mark.parametrize("pruner", ["snip", "grasp", "synflow(rounds=3)"])
def test_every_scored_ticket_keeps_the_count_of_its_round(lab, stage, pruner):
    artifact = lab.compute(stage(pruner))
    masks, summary = weights.load_masks(artifact), artifact.json("ticket.json")
    assert sum(int(mask.sum()) for mask in masks.values()) == summary["kept"] == KEPT
    assert summary["sparsity"] == pytest.approx(1 - 0.8**3, abs=1 / PRUNABLE)
    assert set(artifact.manifest["files"]) == {"mask.safetensors", "ticket.json"}


@pytest.fixture(scope="module")
def half(lab):
    return lab.plan(
        pruner=["omp", "random", "snip", "synflow(rounds=3)"],
        granularity=["unstructured", *COVERED, "n_of_m"],
        sparsity={"points": 0.25, "rounds": [0, 2]},
    )


@pytest.mark.parametrize("pruner", ["omp", "random", "snip", "synflow(rounds=3)"])
@pytest.mark.parametrize("granularity", COVERED)
def test_groups_are_kept_or_pruned_whole_and_the_achieved_sparsity_is_reported(lab, half, pick, pruner, granularity):
    artifact = lab.artifact(half, pick(half, pruner=pruner, granularity=granularity).ticket)
    masks, summary = weights.load_masks(artifact), artifact.json("ticket.json")
    for mask in masks.values():
        groups = mask.flatten(start_dim=4 - COVERED[granularity])
        assert groups.all(-1).equal(groups.any(-1))
    kept = sum(int(mask.sum()) for mask in masks.values())
    assert summary["kept"] == kept == sum(count for count, _ in summary["layers"].values())
    assert summary["sparsity"] == 1 - kept / PRUNABLE
    # The next group did not fit: the largest is a filter of 9 x 64 weights.
    largest = max(mask[(0,) * (4 - COVERED[granularity])].numel() for mask in masks.values())
    assert 0 <= PRUNABLE // 2 - kept < largest


@pytest.mark.parametrize("pruner", ["omp", "random", "snip", "synflow(rounds=3)"])
def test_two_of_four_is_exact_in_every_group(lab, half, pick, pruner):
    artifact = lab.artifact(half, pick(half, pruner=pruner, granularity="n_of_m").ticket)
    for mask in weights.load_masks(artifact).values():
        out, into = mask.shape[:2]
        assert (mask.view(out, into // 4, 4, 3, 3).sum(2) == 2).all()
    assert artifact.json("ticket.json")["sparsity"] == 0.5


def test_a_pruner_and_a_granularity_choose_by_the_mean_magnitude_of_the_group(lab, half, pick):
    """Kernels by hand: mean |w| over 3 x 3, the best 9 / 18 of all weights, kernels being of one size."""
    key = pick(half, pruner="omp", granularity="kernel").ticket
    mask = weights.load_masks(lab.artifact(half, key))
    state = weights.load_weights(lab.artifact(half, dict(half.stages[key].inputs)["pretrain"]))
    means = {name: state[name].abs().mean(dim=(2, 3)) for name in mask}
    threshold = (
        torch.cat([value.flatten() for value in means.values()]).sort(descending=True).values[PRUNABLE // 18 - 1]
    )
    assert all((means[name] >= threshold).equal(mask[name][:, :, 0, 0]) for name in mask)


@pytest.fixture(scope="module")
def layers(lab, pick):
    """allocation -> (kept, total) of every layer, at 20 % density."""
    words = {name: f"omp(allocation={name})" for name in ("layerwise", "erk")} | {"global": "omp"}
    planned = lab.plan(pruner=list(words.values()), sparsity=[0.8])

    def layers(allocation):
        summary = lab.artifact(planned, pick(planned, pruner=words[allocation]).ticket).json("ticket.json")
        assert summary["kept"] == PRUNABLE - round(0.8 * PRUNABLE)
        return list(summary["layers"].values())

    return layers


def test_layerwise_every_layer_has_the_same_density(layers):
    assert all(abs(kept - 0.2 * total) < 1 for kept, total in layers("layerwise"))
    assert not all(abs(kept - 0.2 * total) < 1 for kept, total in layers("global"))


def test_erk_gives_small_layers_the_higher_density(layers):
    # In proportion to (out + in + 3 + 3) / (out * in * 9): no layer is full at this sparsity.
    sums = [out + into + 6 for out, into in LAYERS]
    scale = sum(kept for kept, _ in layers("erk")) / sum(sums)
    for (kept, total), (out, into), part in zip(layers("erk"), LAYERS, sums, strict=True):
        assert total == 9 * out * into
        assert abs(kept - min(scale * part, total)) < 1


def test_scores_of_fewer_examples_than_asked_for_are_of_all_there_are(lab, stage, changed, opened):
    found = stage("snip")
    opened.clear()
    word = dataclasses.replace(
        found.parameters.pruner, options=(("on", "downstream"), ("examples", 5000), ("allocation", "global"))
    )
    assert lab.compute(changed(found, pruner=word)).json("ticket.json")["kept"] == KEPT
    assert [split.n_examples for _, split in opened] == [1097]
