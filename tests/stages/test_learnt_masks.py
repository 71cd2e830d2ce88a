"""Learnt masks in the prune stage: frozen weights, exact counts, the recipe's objective, exact resume."""

import itertools
import shutil

import pytest

from bench import masks
from bench.launch.task import run_stage
from bench.spec import Attack
from bench.stages import fit, weights
from bench.store import Store

PRUNABLE = 9 * (2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)


@pytest.fixture(scope="module")
def planned(lab):
    return lab.plan(
        pruner=["lmp", "lmp(allocation=global)", "lmp(on=upstream)", "lmp(objective=adversarial)"],
        override={"prune": {"attack": {"epsilon_255": 64, "step_255": 64, "steps": 1}}, "transfer": {"epochs": 1}},
    )


@pytest.fixture(scope="module")
def stage(lab, planned, pick):
    """pruner -> its stage, the pre-training computed."""

    def stage(pruner="lmp"):
        found = planned.stages[pick(planned, pruner=pruner).ticket]
        for _, source in found.inputs:
            lab.artifact(planned, source)
        return found

    return stage


def files(root, key):
    return {name: entry["sha256"] for name, entry in Store(root).open(key).manifest["files"].items()}


@pytest.mark.parametrize("pruner", ["lmp", "lmp(on=upstream)"])
def test_scores_and_head_are_trained_and_the_weights_are_not(lab, planned, stage, watch, same, tmp_path, pruner):
    found = stage(pruner)
    trainings = watch(fit)
    outcome, store = lab.afresh(found, tmp_path / "runs")
    assert outcome.status == "done", outcome.message
    (training,) = trainings
    pretrained = weights.load_weights(lab.artifact(planned, dict(found.inputs)["pretrain"]))
    originals = {name: name.replace(".parametrizations.weight.original", ".weight") for name in training.start}
    frozen = [name for name in training.start if not name.startswith("fc.") and originals[name] in pretrained]
    # Statistics of normalisation layers follow the masked network; the transfer starts from the pre-trained ones.
    moving = [name for name in frozen if name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert len(frozen) == len(pretrained) - 2
    assert same(training.start, {name: pretrained[originals[name]] for name in frozen}, frozen)
    assert same(training.start, training.end, set(frozen) - set(moving))
    for name in training.start.keys() - set(frozen):
        assert not training.end[name].equal(training.start[name]), name
    assert any(name.endswith(".scores") for name in training.start)
    assert training.start["fc.weight"].equal(pretrained["fc.weight"]) == (pruner == "lmp(on=upstream)")
    files = store.open(found.key).manifest["files"]
    assert set(files) == {"mask.safetensors", "ticket.json", "history.json"}


@pytest.mark.parametrize("pruner", ["lmp", "lmp(allocation=global)"])
def test_the_mask_keeps_exactly_the_count_of_the_round(lab, stage, pruner):
    artifact = lab.compute(stage(pruner))
    found, summary = weights.load_masks(artifact), artifact.json("ticket.json")
    kept = round(0.8**3 * PRUNABLE)
    assert masks.kept(found) == summary["kept"] == kept
    density = [count / total for count, total in summary["layers"].values()]
    # Shares of whole weights: a layer is off by less than one weight.
    even = all(abs(count - 0.8**3 * total) < 1.5 for count, total in summary["layers"].values())
    assert even == (pruner == "lmp")
    assert min(density) > 0


def test_the_history_of_the_scores_is_stored(lab, stage):
    (epoch,) = lab.compute(stage()).json("history.json")
    assert epoch["epoch"] == 1
    assert 0 < epoch["loss"] < 5
    assert 0 <= epoch["validation_accuracy"] <= 1


def test_with_the_adversarial_objective_scores_are_trained_on_the_harder_task(lab, stage):
    losses = {
        word: lab.compute(stage(word)).json("history.json")[0]["loss"] for word in ("lmp", "lmp(objective=adversarial)")
    }
    assert losses["lmp(objective=adversarial)"] > losses["lmp"]
    found = [weights.load_masks(lab.compute(stage(word))) for word in losses]
    assert any(not found[0][name].equal(found[1][name]) for name in found[0])


def test_the_transfer_starts_from_the_pretrained_weights_under_the_learnt_mask(
    lab, planned, pick, watch, same, tmp_path
):
    transfer = planned.stages[pick(planned, pruner="lmp").transfer]
    inputs = {role: lab.artifact(planned, key) for role, key in transfer.inputs}
    trainings = watch(fit)
    assert set(inputs) == {"pretrain", "ticket"}
    outcome, _ = lab.afresh(transfer, tmp_path / "runs")
    assert outcome.status == "done", outcome.message
    pretrained, mask = weights.load_weights(inputs["pretrain"]), weights.load_masks(inputs["ticket"])
    expected = {name: tensor * mask[name] if name in mask else tensor for name, tensor in pretrained.items()}
    assert same(trainings[-1].start, expected, expected.keys() - {"fc.weight", "fc.bias"})


@pytest.mark.parametrize("looks", [3, 20])
def test_interrupted_training_of_scores_ends_bit_identical(lab, stage, changed, tmp_path, looks):
    # Two epochs of 18 steps: stopped in the first and in the second.
    found = changed(stage(), recipe={"epochs": 2})
    outcome, whole = lab.afresh(found, tmp_path / "whole")
    assert outcome.status == "done", outcome.message
    root = tmp_path / "stopped"
    for _, source in found.inputs:
        shutil.copytree(Store(lab.settings.root).folder(source), Store(root).folder(source))
    counter = itertools.count(1)
    settings = type(lab.settings)(root=root, data_root=lab.settings.data_root)
    assert run_stage(found, settings, stop=lambda: next(counter) == looks).status == "interrupted"
    assert (Store(root).scratch(found.key) / "checkpoint.pt").is_file()
    assert next(counter) == looks + 1
    assert run_stage(found, settings).status == "done"
    assert files(root, found.key) == files(whole.root, found.key)


def test_scores_may_be_selected_by_clean_and_by_robust_validation(lab, stage, changed):
    attack = Attack(epsilon_255=16, step_255=8, steps=2)
    recipe = {"select": ("best_robust_validation",), "validation_attack": attack}
    (epoch,) = lab.compute(changed(stage(), recipe=recipe)).json("history.json")
    assert 0 <= epoch["robust_validation_accuracy"] <= epoch["validation_accuracy"]
