"""Rewinding to the finetuned network, rewinding the prunable weights alone, and a stem that only the target has."""

import pytest
import torch

from bench.stages import fit, weights

FINETUNED, PRUNABLE = "imp(on=downstream, rewind=finetuned)", "imp(on=downstream, rewind=prunable)"
HEAD = ("fc.weight", "fc.bias")


@pytest.fixture(scope="module")
def planned(lab):
    return lab.plan(
        pruner=[FINETUNED, PRUNABLE], sparsity={"rate": 0.2, "rounds": [0, 1, 2]},
        override={"prune": {"epochs": 2}, "transfer": {"epochs": 1}},
    )  # fmt: skip


@pytest.fixture
def training(lab, planned, watch, tmp_path):
    """key -> the training of that stage, computed afresh."""
    trainings = watch(fit)

    def training(key):
        for _, source in planned.stages[key].inputs:
            lab.artifact(planned, source)
        outcome, _ = lab.afresh(planned.stages[key], tmp_path / "runs")
        assert outcome.status == "done", outcome.message
        return trainings[-1]

    return training


def masked(state, mask):
    return {name: tensor * mask[name] if name in mask else tensor for name, tensor in state.items()}


def test_finetuned_rounds_and_tickets_start_from_the_best_dense_network(lab, planned, pick, same, training):
    (point,) = (stage for stage in planned.stages.values() if getattr(stage.parameters, "epoch", None))
    artifact = lab.artifact(planned, point.key)
    state, history = weights.load_weights(artifact, weights.START), artifact.json("history.json")
    assert len(history) == 2
    assert all("validation_accuracy" in record for record in history)
    first, second = (pick(planned, pruner=FINETUNED, round=k) for k in (1, 2))
    mask = weights.load_masks(lab.artifact(planned, first.ticket))
    assert same(training(second.ticket).start, masked(state, mask))
    found = training(second.transfer).start
    final = weights.load_masks(lab.artifact(planned, second.ticket))
    assert same(found, masked(state, final), found.keys() - set(HEAD))


def test_only_prunable_weights_return_and_the_rest_goes_on_to_the_next_round_and_the_transfer(
    lab, planned, pick, same, training
):
    first, second = (pick(planned, pruner=PRUNABLE, round=k) for k in (1, 2))
    (key,) = (key for key, stage in planned.stages.items() if stage.kind == "pretrain")
    pretrained = weights.load_weights(lab.artifact(planned, key))
    one, mask = training(first.ticket), weights.load_masks(lab.artifact(planned, first.ticket))
    two = training(second.ticket)
    rest = pretrained.keys() - mask.keys()
    assert same(two.start, masked(pretrained, mask), mask)
    assert same(two.start, one.end, rest)
    assert "conv1.weight" in rest
    assert not same(one.end, pretrained, ["conv1.weight", "bn1.running_mean"])
    final = weights.load_masks(lab.artifact(planned, second.ticket))
    found = training(second.transfer).start
    assert same(found, masked(pretrained, final), mask)
    assert same(found, two.end, rest)
    assert {*HEAD} <= rest


def test_a_network_with_another_stem_takes_over_everything_but_the_stem_and_the_head(lab, pick, same, watch, tmp_path):
    planned = lab.plan(
        protocol="cv_lth", architecture=["resnet18(stem=cifar)"], pretraining=["random"], pruner=["omp"],
        sparsity={"rate": 0.2, "rounds": [0, 2]}, seed=[0, 1], dataset=["digit_glyphs"],
        override={"transfer": {"epochs": 0}},
    )  # fmt: skip
    (key,) = (key for key, stage in planned.stages.items() if stage.kind == "pretrain")
    pretrained = weights.load_weights(lab.artifact(planned, key))
    assert pretrained["conv1.weight"].shape == (64, 3, 7, 7)
    mask, found = None, {}
    for seed in (0, 1):
        cells = pick(planned, pruner="omp", seed=seed)
        mask = weights.load_masks(lab.artifact(planned, cells.ticket))
        found[seed] = weights.load_sparse(lab.artifact(planned, cells.transfer))
    assert "conv1.weight" not in mask
    for state in found.values():
        assert state["conv1.weight"].shape == (64, 3, 3, 3)
        assert same(state, masked(pretrained, mask), pretrained.keys() - {"conv1.weight", *HEAD})
    # The stem is the seed's, as the head is.
    assert not torch.equal(found[0]["conv1.weight"], found[1]["conv1.weight"])


def test_what_such_a_ticket_was_cut_from_are_the_pretrained_weights(lab, pick):
    """Swaps of its mask and shuffles of its weights read them; its start holds the other weights only."""
    shuffled = PRUNABLE.replace(")", ", control=shuffled)")
    planned = lab.plan(
        pruner=[PRUNABLE, shuffled], sparsity={"rate": 0.2, "rounds": [0, 1]},
        evaluate=["sensitivity(draws=1, examples=10)"], override={"prune": {"epochs": 1}, "transfer": {"epochs": 1}},
    )  # fmt: skip
    (key,) = (key for key, stage in planned.stages.items() if stage.kind == "pretrain")
    pretrained = weights.load_weights(lab.artifact(planned, key))
    lab.artifact(planned, pick(planned, pruner=PRUNABLE, round=1).evaluate[0])
    control = lab.artifact(planned, pick(planned, pruner=shuffled, round=1).ticket)
    start, mask = weights.load_weights(control, weights.START), weights.load_masks(control)
    for name in mask:
        assert start[name].flatten().sort().values.equal(pretrained[name].flatten().sort().values)
