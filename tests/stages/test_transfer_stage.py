"""Transfer of a ticket: what is trained, what stays, which splits are read, what is stored."""

import pytest
import torch

from bench import models
from bench.data import open_split
from bench.metrics import accuracy
from bench.metrics.evaluation import Conditions
from bench.stages import fit, weights
from bench.training.optimizers import learning_rate

ATTACK_OF_NO_STRENGTH = {"epsilon_255": 0.0, "step_255": 0.0, "steps": 1, "random_start": False}


@pytest.fixture(scope="module")
def planned(lab):
    return lab.plan(transfer=["finetune", "linear"], evaluate=["accuracy"])


@pytest.fixture(scope="module")
def stage(lab, planned, pick):
    """(transfer, pruner) -> the stage, its inputs computed; round 3 or dense."""

    def stage(kind, pruner="omp"):
        found = planned.stages[pick(planned, transfer=kind, pruner=pruner).transfer]
        for _, source in found.inputs:
            lab.artifact(planned, source)
        return found

    return stage


@pytest.fixture(scope="module")
def start(lab, stage, planned):
    """The pre-trained tensors under the OMP mask, and the mask."""

    def start(found):
        inputs = {role: lab.artifact(planned, key) for role, key in found.inputs}
        mask = weights.load_masks(inputs["ticket"]) if "ticket" in inputs else {}
        state = weights.load_weights(inputs["pretrain"])
        return {name: tensor * mask[name] if name in mask else tensor for name, tensor in state.items()}, mask

    return start


@pytest.fixture
def trained(monkeypatch):
    """The states handed to storage, copied: the networks as training left them."""
    seen = []
    save_sparse = weights.save_sparse

    def save(folder, state, masks, *selection):
        seen.append({name: tensor.clone() for name, tensor in state.items()})
        save_sparse(folder, state, masks, *selection)

    monkeypatch.setattr(weights, "save_sparse", save)
    return seen


def parts(stage):
    network = models.build(stage.parameters.architecture, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    names = models.state(network)
    return set(models.head_parameters(network)), {n for n in names if models.is_normalisation(network, n)}, set(names)


def test_finetuning_keeps_pruned_weights_at_zero_and_trains_everything_else(
    lab, stage, start, same, watch, trained, tmp_path
):
    found = stage("finetune")
    trainings = watch(fit)
    outcome, store = lab.afresh(found, tmp_path / "runs")
    assert outcome.status == "done", outcome.message
    before, mask = start(found)
    head, batchnorm, names = parts(found)
    (training,) = trainings
    assert same(training.start, before, names - head)
    (end,) = trained
    for name in mask:
        assert (end[name][~mask[name]] == 0).all()
        assert (end[name][mask[name]] != before[name][mask[name]]).float().mean() > 0.99
    for name in head | batchnorm:
        assert not end[name].equal(training.start[name]), name
    # Bit for bit what training left, though pruned weights are not stored.
    loaded = weights.load_sparse(store.open(found.key))
    assert set(loaded) == set(end)
    assert same(end, loaded)
    raw = weights.load_weights(store.open(found.key), "sparse.safetensors")
    assert sum(raw[name].numel() for name in mask) == sum(int(part.sum()) for part in mask.values())


def test_a_dense_network_is_stored_whole(lab, stage, same, trained, tmp_path):
    found = stage("finetune", "dense")
    outcome, store = lab.afresh(found, tmp_path / "runs")
    assert outcome.status == "done", outcome.message
    artifact = store.open(found.key)
    assert set(artifact.manifest["files"]) == {"sparse.safetensors", "ticket.json", "history.json"}
    ticket = artifact.json("ticket.json")
    assert (ticket["kept"], ticket["prunable"], ticket["sparsity"]) == (None, None, 0.0)
    # ResNet-8 on 8 x 8 images by hand: 8^2 * 27 * 16, two of 8^2 * 9 * 16^2, then half the side and twice the width.
    macs = 64 * 27 * 16 + 2 * 64 * 9 * 256 + 16 * 9 * (16 * 32 + 32 * 32) + 4 * 9 * (32 * 64 + 64 * 64) + 640
    assert ticket["macs"] == ticket["dense_macs"] == macs
    assert ticket["parameters"] == ticket["dense_parameters"] == 75_290
    assert same(trained[0], weights.load_sparse(artifact))


@pytest.mark.parametrize("pruner", ["omp", "dense"])
def test_linear_transfer_trains_the_head_alone(lab, stage, start, same, trained, tmp_path, pruner):
    found = stage("linear", pruner)
    outcome, store = lab.afresh(found, tmp_path / "runs")
    assert outcome.status == "done", outcome.message
    before, _ = start(found)
    head, batchnorm, names = parts(found)
    (end,) = trained
    assert batchnorm < names - head
    assert same(end, before, names - head)
    assert same(end, weights.load_sparse(store.open(found.key)))
    network = models.build(found.parameters.architecture, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    assert end["fc.weight"].shape == network.body.fc.weight.shape


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_head_trained_on_features_computed_once_is_the_one_trained_through_the_network(
    lab, stage, changed, opened, same, drop_last
):
    """An attack of no strength leaves every image as it is but makes the stage run the whole network in every step.

    Both see the same batches, so they differ by the rounding of sums only: relative 1e-7 a sum and some hundred
    sums, far below 1e-4; the steps of the head themselves are some 0.1.
    """
    found = stage("linear")
    quick = changed(found, recipe={"drop_last": drop_last, "epochs": 3})
    attack = type(lab.plan().grid.protocol.attack)(**ATTACK_OF_NO_STRENGTH)
    slow = changed(found, recipe={"drop_last": drop_last, "epochs": 3, "attack": attack})
    ends, histories = [], []
    for each in (quick, slow):
        artifact = lab.compute(each)
        ends.append(weights.load_sparse(artifact))
        histories.append(artifact.json("history.json"))
    head, _, names = parts(found)
    assert same(ends[0], ends[1], names - head)
    for name in head:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-4, atol=1e-4)
    once = weights.load_sparse(lab.compute(changed(found, recipe={"drop_last": drop_last, "epochs": 1})))
    assert max(float((ends[0][name] - once[name]).abs().max()) for name in head) > 1e-2
    for one, other in zip(*histories, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["lr"] == other["lr"]
    # 1,097 examples in batches of 128; 8 or 9 steps set the last learning rate.
    steps = 8 if drop_last else 9
    assert histories[0][-1]["lr"] == learning_rate(quick.parameters.recipe, 3 * steps - 1, steps)
    assert {name for name, _ in opened} == {"train", "validation"}


@pytest.mark.parametrize("kind", ["finetune", "linear"])
def test_selection_reads_the_validation_split_and_never_the_test_split(lab, stage, changed, opened, kind):
    # A learning rate at which epochs go up and down, so that the best one is not the last.
    found = changed(
        stage(kind), recipe={"select": ("best_validation",), "epochs": 4, "lr": 3.0, "schedule": "constant"}
    )
    artifact = lab.compute(found)
    assert {name for name, _ in opened} == {"train", "validation"}
    by_epoch = [record["validation_accuracy"] for record in artifact.json("history.json")]
    assert max(by_epoch) > by_epoch[-1]
    parameters = found.parameters
    network = models.build(parameters.architecture, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    models.load_state(network, weights.load_sparse(artifact))
    held_out = open_split(parameters.data, "validation", data_root=lab.settings.data_root, batch_size=64)
    stored = accuracy.evaluate(network, Conditions(batches=lambda: held_out.batches(0)))
    assert stored.metrics["accuracy"] == pytest.approx(max(by_epoch), abs=1e-9)


def test_every_stage_that_trains_reads_no_test_split_and_evaluation_nothing_else(lab, opened, pick, tmp_path):
    planned = lab.plan(
        pruner=["imp", "imp(on=downstream)"], sparsity={"rate": 0.2, "rounds": [2]}, pretraining_seed=5, seed=5,
        evaluate=["accuracy", "pgd"], override={"attack": {"steps": 1}},
    )  # fmt: skip
    kinds = {}
    for key, stage in planned.stages.items():
        before = len(opened)
        lab.artifact(planned, key)
        kinds.setdefault(stage.kind, set()).update(name for name, _ in opened[before:])
    training = {"train", "validation"}
    assert kinds == {"pretrain": training, "prune": training, "transfer": training, "evaluate": {"test"}}


@pytest.mark.parametrize(("fraction", "examples", "steps"), [(1.0, 1097, 18), (0.1, 109, 2)])
@pytest.mark.parametrize("kind", ["finetune", "linear"])
def test_a_fraction_of_the_labels_is_that_fraction_of_examples_and_steps(
    lab, planned, pick, changed, opened, kind, fraction, examples, steps
):
    fractions = lab.plan(transfer=["finetune", "linear"], fraction=[1.0, 0.1])
    key = pick(fractions, pruner="dense", transfer=kind, fraction=fraction).transfer
    for _, source in fractions.stages[key].inputs:
        lab.artifact(fractions, source)
    opened.clear()
    stage = changed(fractions.stages[key], recipe={"batch_size": 64, "lr": 0.01})
    history = lab.compute(stage).json("history.json")
    found = dict(opened)
    assert found["train"].n_examples == examples
    assert set(found["train"].labels) == set(range(10))
    assert found["validation"].n_examples == 200
    recipe = stage.parameters.recipe
    assert history[-1]["lr"] == learning_rate(recipe, recipe.epochs * steps - 1, steps)
