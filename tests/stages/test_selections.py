"""Both networks that a transfer may select, and what is left of them: parameters and multiply-accumulates."""

import pytest
import torch

from bench import masks, models
from bench.data import open_split
from bench.metrics import accuracy, robust
from bench.metrics.evaluation import Conditions
from bench.spec import Attack, Word
from bench.stages import transfer, weights
from bench.training.seeding import derive

ATTACK = Attack(epsilon_255=32, step_255=16, steps=2)
CLEAN, ROBUST = "best_validation", "best_robust_validation"
MEASURES = {CLEAN: "validation_accuracy", ROBUST: "robust_validation_accuracy"}


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
def measured(lab):
    """(stage, artifact, selection) -> clean and robust validation accuracy of the stored network."""

    def measured(stage, artifact, selection):
        parameters = stage.parameters
        network = models.build(parameters.architecture, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
        models.load_state(network, weights.load_sparse(artifact, selection))
        split = open_split(parameters.data, "validation", data_root=lab.settings.data_root, batch_size=50)
        clean = accuracy.evaluate(network, Conditions(batches=lambda: split.batches(0)))
        # The starts that the training's own validation had.
        seed = derive(derive(parameters.seed, "transfer"), "validation")
        conditions = Conditions(batches=lambda: split.batches(0), attack=ATTACK, seed=seed, options={"margin": False})
        attacked = robust.evaluate(network, conditions)
        return {
            "validation_accuracy": clean.metrics["accuracy"],
            "robust_validation_accuracy": attacked.metrics["pgd_accuracy"],
        }

    return measured


def best(history, measure):
    """Epoch, from 0, of the first largest value."""
    values = [record[measure] for record in history]
    return values.index(max(values))


def selecting(stage, changed, select, **recipe):
    # On clean images at this rate clean accuracy goes up, and robust accuracy up and down.
    fields = {"epochs": 4, "lr": 0.2, "schedule": "constant", "validation_attack": ATTACK, **recipe}
    return changed(stage, recipe={"select": select, **fields})


@pytest.mark.parametrize("kind", ["finetune", "linear"])
@pytest.mark.parametrize("select", [(CLEAN, ROBUST), (ROBUST, CLEAN)])
def test_both_selections_are_stored_and_are_the_best_epochs_of_the_history(lab, stage, changed, measured, kind, select):
    found = selecting(stage(kind), changed, select, lr=0.2 if kind == "finetune" else 3.0)
    artifact = lab.compute(found)
    assert set(artifact.manifest["files"]) == {
        "sparse.safetensors", f"sparse-{select[1]}.safetensors", "mask.safetensors", "ticket.json", "history.json",
    }  # fmt: skip
    history = artifact.json("history.json")
    epochs = {selection: best(history, measure) for selection, measure in MEASURES.items()}
    # Else both files would hold the last network.
    assert {*epochs.values()} != {3}
    for selection, epoch in epochs.items():
        recomputed = measured(found, artifact, selection)
        for measure in MEASURES.values():
            assert recomputed[measure] == pytest.approx(history[epoch][measure], abs=1e-9), (selection, measure)


def test_the_two_networks_differ_where_their_epochs_do_and_have_one_mask(lab, stage, changed):
    found = selecting(stage("finetune"), changed, (CLEAN, ROBUST))
    artifact = lab.compute(found)
    history = artifact.json("history.json")
    assert best(history, MEASURES[CLEAN]) != best(history, MEASURES[ROBUST])
    first, second = (weights.load_sparse(artifact, selection) for selection in (None, ROBUST))
    assert any(not first[name].equal(second[name]) for name in first)
    for name, mask in weights.load_masks(artifact).items():
        assert (first[name][~mask] == 0).all()
        assert (second[name][~mask] == 0).all()


@pytest.mark.parametrize("select", [(CLEAN, "last"), ("last", CLEAN)])
def test_heads_on_features_computed_once_have_two_selections_as_well(
    lab, stage, changed, measured, monkeypatch, same, select
):
    computed = []
    features = transfer.features
    monkeypatch.setattr(transfer, "features", lambda *given: computed.append(given) or features(*given))
    found = selecting(stage("linear"), changed, select, epochs=6, lr=3.0, validation_attack=None)
    artifact = lab.compute(found)
    assert len(computed) == 2
    history = [record["validation_accuracy"] for record in artifact.json("history.json")]
    assert max(history) > history[-1]
    states = {selection: weights.load_sparse(artifact, selection) for selection in select}
    for selection, expected in ((CLEAN, max(history)), ("last", history[-1])):
        found_accuracy = measured(found, artifact, selection)["validation_accuracy"]
        assert found_accuracy == pytest.approx(expected, abs=1e-9)
    head = {"fc.weight", "fc.bias"}
    assert same(states[CLEAN], states["last"], states["last"].keys() - head)
    assert not any(states[CLEAN][name].equal(states["last"][name]) for name in head)


def test_no_epoch_before_the_first_that_may_be_selected_is(lab, stage, changed, measured):
    found = selecting(stage("finetune"), changed, (CLEAN, ROBUST), select_from=3)
    artifact = lab.compute(found)
    history = artifact.json("history.json")
    assert ["robust_validation_accuracy" in record for record in history] == [False] * 2 + [True] * 2
    late = {selection: max(record[measure] for record in history[2:]) for selection, measure in MEASURES.items()}
    for selection, measure in MEASURES.items():
        assert measured(found, artifact, selection)[measure] == pytest.approx(late[selection], abs=1e-9)


# Output positions of resnet8's convolutions on 8 x 8 images, in order; the head has one.
POSITIONS = {"conv1": 64, "layer1": 64, "layer2": 16, "layer3": 4, "fc": 1}
DENSE_PARAMETERS = 75_290


@pytest.mark.parametrize("kind", ["finetune", "linear"])
def test_the_cost_of_a_ticket_counts_what_each_layer_keeps(lab, stage, kind):
    artifact = lab.compute(stage(kind))
    mask, ticket = weights.load_masks(artifact), artifact.json("ticket.json")
    assert ticket["layers"] == {name: [int(part.sum()), part.numel()] for name, part in mask.items()}
    # What is not pruned: the first convolution, 3 x 3 from 3 to 16 channels, and the head, 64 to 10.
    left = {"conv1.weight": 432, "fc.weight": 640} | {name: int(part.sum()) for name, part in mask.items()}
    whole = {"conv1.weight": 432, "fc.weight": 640} | {name: part.numel() for name, part in mask.items()}
    by_hand = {
        name: [count * POSITIONS[name.split(".")[0]], whole[name] * POSITIONS[name.split(".")[0]]]
        for name, count in left.items()
    }
    assert ticket["macs_by_layer"] == by_hand
    assert (ticket["macs"], ticket["dense_macs"]) == tuple(map(sum, zip(*by_hand.values(), strict=True)))
    pruned = sum(part.numel() for part in mask.values()) - masks.kept(mask)
    assert pruned == ticket["prunable"] - ticket["kept"] > 30_000
    assert (ticket["parameters"], ticket["dense_parameters"]) == (DENSE_PARAMETERS - pruned, DENSE_PARAMETERS)


def test_the_cost_of_a_dense_network_is_that_of_all_of_it(lab, stage):
    artifact = lab.compute(stage("linear", "dense"))
    ticket = artifact.json("ticket.json")
    assert ticket["parameters"] == ticket["dense_parameters"] == DENSE_PARAMETERS
    assert all(left == whole for left, whole in ticket["macs_by_layer"].values())
    assert sum(whole for _, whole in ticket["macs_by_layer"].values()) == ticket["macs"] == ticket["dense_macs"]
    network = models.build(Word("resnet8"), classes=10, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0)
    assert ticket["macs"] == counted(network)


def counted(network):
    """Multiply-accumulates of one 8 x 8 image by the shapes that pass through the layers."""
    total = []

    def count(module, inputs, output):
        total.append(output.numel() * module.weight[0].numel())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    network.eval()(torch.rand(1, 3, 8, 8))
    return sum(total)
