"""Which weights and which mask a ticket is transferred with: its controls, early rewinding, and no rewinding."""

import dataclasses

import pytest
import torch

from bench import models
from bench.stages import context, fit, networks, weights
from bench.training import loop
from bench.training.seeding import derive
from bench.training.state import Run

CONTROLS = ("reinitialised", "shuffled", "reversed")
REWOUND = "imp(on=downstream, rewind_epoch=1)"
NEVER = {"upstream": "imp(rewind=never)", "downstream": "imp(on=downstream, rewind=never)"}
ROUNDS = (1, 2, 3)


@pytest.fixture(scope="module")
def planned(lab):
    controls = [f"omp(control={control})" for control in CONTROLS]
    rewound = [REWOUND, *(REWOUND.replace(")", f", control={control})") for control in ("shuffled", "reversed"))]
    return lab.plan(
        pruner=["omp", *controls, *rewound, *NEVER.values()],
        sparsity={"rate": 0.2, "rounds": [0, *ROUNDS]},
        override={"prune": {"epochs": 2, "schedule": "cosine"}, "transfer": {"epochs": 1}},
    )


@pytest.fixture(scope="module")
def ticket(lab, planned, pick):
    """(pruner, round) -> the artifact of the ticket and its masks."""

    def ticket(pruner, round=3):
        artifact = lab.artifact(planned, pick(planned, pruner=pruner, round=round).ticket)
        return artifact, weights.load_masks(artifact)

    return ticket


@pytest.fixture(scope="module")
def pretrained(lab, planned):
    (key,) = (key for key, stage in planned.stages.items() if stage.kind == "pretrain")
    return weights.load_weights(lab.artifact(planned, key))


@pytest.fixture(scope="module")
def point(lab, planned):
    """The artifact of the rewind point, and its weights."""
    (stage,) = (stage for stage in planned.stages.values() if getattr(stage.parameters, "epoch", None))
    artifact = lab.artifact(planned, stage.key)
    return artifact, weights.load_weights(artifact, weights.START)


@pytest.fixture
def trained(lab, planned, watch, tmp_path):
    """key -> the training of that stage, computed afresh."""
    trainings = watch(fit)

    def trained(key):
        stage = planned.stages[key]
        for _, source in stage.inputs:
            lab.artifact(planned, source)
        before = len(trainings)
        outcome, _ = lab.afresh(stage, tmp_path / "runs")
        assert outcome.status == "done", outcome.message
        (training,) = trainings[before:]
        return training

    return trained


@pytest.fixture
def transfer_start(planned, pick, trained):
    """(pruner, round) -> the body's tensors when the transfer's training began."""
    return lambda pruner, round=3: trained(pick(planned, pruner=pruner, round=round).transfer).start


def masked(state, mask):
    return {name: tensor * mask[name] if name in mask else tensor for name, tensor in state.items()}


def body(state):
    return state.keys() - {"fc.weight", "fc.bias"}


def test_reinitialised_and_shuffled_tickets_have_the_mask_of_the_ticket_and_the_complement_its_holes(ticket):
    found = ticket("omp")[1]
    for control in ("reinitialised", "shuffled"):
        mask = ticket(f"omp(control={control})")[1]
        assert mask.keys() == found.keys()
        assert all(mask[name].equal(found[name]) for name in found)
    artifact, complement = ticket("omp(control=reversed)")
    assert all(complement[name].equal(~found[name]) for name in found)
    assert "start.safetensors" not in artifact.manifest["files"]
    summary, own = (ticket(word)[0].json("ticket.json") for word in ("omp(control=reversed)", "omp"))
    assert summary["kept"] == own["prunable"] - own["kept"]
    assert summary["sparsity"] == pytest.approx(0.8**3, abs=1e-4)


def test_shuffled_weights_are_the_pretrained_ones_in_another_order_within_each_pruned_layer(ticket, pretrained):
    artifact, mask = ticket("omp(control=shuffled)")
    shuffled = weights.load_weights(artifact, "start.safetensors")
    assert shuffled.keys() == pretrained.keys()
    for name, tensor in pretrained.items():
        if name in mask:
            assert shuffled[name].flatten().sort().values.equal(tensor.flatten().sort().values)
            assert (shuffled[name] != tensor).float().mean() > 0.99
        else:
            assert shuffled[name].equal(tensor)


def test_reinitialised_weights_are_a_fresh_initialisation(ticket, pretrained):
    artifact, mask = ticket("omp(control=reinitialised)")
    fresh = weights.load_weights(artifact, "start.safetensors")
    assert fresh.keys() == pretrained.keys()
    for name in mask:
        assert (fresh[name] != pretrained[name]).all()
    for name, tensor in fresh.items():
        if name.endswith("running_mean"):
            assert (tensor == 0).all()
            assert (pretrained[name] != 0).any()


def test_the_transfer_of_a_control_starts_from_its_weights_under_its_mask(ticket, pretrained, same, transfer_start):
    for control in CONTROLS:
        word = f"omp(control={control})"
        artifact, mask = ticket(word)
        start = pretrained if control == "reversed" else weights.load_weights(artifact, "start.safetensors")
        found = transfer_start(word)
        assert same(found, masked(start, mask), body(found)), control


def test_controls_of_a_rewound_ticket_are_made_of_the_weights_it_is_rewound_to(ticket, point, same, transfer_start):
    shuffled, mask = ticket(REWOUND.replace(")", ", control=shuffled)"))
    start = weights.load_weights(shuffled, "start.safetensors")
    for name in mask:
        assert start[name].flatten().sort().values.equal(point[1][name].flatten().sort().values)
    word = REWOUND.replace(")", ", control=reversed)")
    found = transfer_start(word)
    assert same(found, masked(point[1], ticket(word)[1]), body(found))


def test_the_rewind_point_is_the_dense_network_after_that_epoch_of_the_whole_recipe(
    lab, planned, pick, pretrained, point, same, tmp_path
):
    """Recomputed by training on: both epochs of the recipe in one go, the network looked at after each."""
    artifact, state = point
    parameters = planned.stages[artifact.key].parameters
    assert (parameters.epoch, parameters.recipe.epochs) == (1, 2)
    where = context.Context(data_root=lab.settings.data_root, run=Run(scratch=tmp_path))
    network = networks.downstream(
        parameters.architecture, parameters.data, parameters.source_classes, pretrained, parameters.seed, where
    )
    seen = []

    def look(network):
        seen.append({name: tensor.clone() for name, tensor in models.state(network).items()})
        return 0.0

    # Validated after every epoch, so that there is a look at each.
    recipe = dataclasses.replace(parameters.recipe, select=("best_validation",))
    seed = derive(parameters.seed, "round", 0)
    split = context.training_split(parameters.data, recipe, seed, where)
    loss = networks.objective(recipe)
    loop.train(network, split, recipe, loss=loss, seed=seed, run=where.run, validate={"validation_accuracy": look})
    assert len(seen) == 2
    assert same(seen[0], state)
    assert not same(seen[1], state)
    assert [record["epoch"] for record in artifact.json("history.json")] == [1]
    assert artifact.json("ticket.json")["sparsity"] == 0


def test_every_round_starts_from_the_rewind_point_with_its_head(ticket, planned, pick, point, same, trained):
    ticket(REWOUND)
    for round in ROUNDS:
        training = trained(pick(planned, pruner=REWOUND, round=round).ticket)
        before = ticket(REWOUND, round - 1)[1] if round > 1 else {}
        assert same(training.start, masked(point[1], before))
        assert not same(training.end, training.start, ["fc.weight"])


def test_a_rewound_ticket_is_transferred_from_the_rewind_point_with_a_new_head(
    ticket, point, pretrained, same, transfer_start
):
    found = transfer_start(REWOUND)
    assert same(found, masked(point[1], ticket(REWOUND)[1]), body(found))
    assert not same(found, masked(pretrained, ticket(REWOUND)[1]), body(found))
    assert not found["fc.weight"].equal(point[1]["fc.weight"])
    # The head of every other ticket of this seed.
    assert same(found, transfer_start("omp"), ["fc.weight", "fc.bias"])


@pytest.mark.parametrize("on", NEVER)
def test_without_rewinding_every_round_goes_on_from_the_last(ticket, planned, pick, pretrained, same, trained, on):
    word = NEVER[on]
    ticket(word)
    first = 2 if on == "upstream" else 1
    trainings = {round: trained(pick(planned, pruner=word, round=round).ticket) for round in range(first, 4)}
    if on == "upstream":
        # The first round prunes what was pre-trained, before any training.
        artifact, mask = ticket(word, 1)
        assert set(artifact.manifest["files"]) == {"mask.safetensors", "ticket.json"}
        assert same(trainings[2].start, masked(pretrained, mask))
    for round in range(first + 1, 4):
        mask = ticket(word, round - 1)[1]
        assert same(trainings[round].start, masked(trainings[round - 1].end, mask))
        assert not same(trainings[round].end, trainings[round].start, ["fc.weight"])


@pytest.mark.parametrize("on", NEVER)
def test_without_rewinding_the_transfer_starts_from_the_trained_weights(
    ticket, planned, pick, same, trained, transfer_start, on
):
    artifact, mask = ticket(NEVER[on])
    end = trained(pick(planned, pruner=NEVER[on], round=3).ticket).end
    assert same(end, weights.load_weights(artifact, "start.safetensors"))
    found = transfer_start(NEVER[on])
    assert same(found, masked(end, mask), body(found))
    assert not found["fc.weight"].equal(end["fc.weight"])


def test_without_training_there_is_nothing_but_the_pretrained_weights_to_start_from(
    ticket, pretrained, same, transfer_start
):
    found = transfer_start(NEVER["upstream"], 1)
    assert same(found, masked(pretrained, ticket(NEVER["upstream"], 1)[1]), body(found))
    assert (
        sum(int(torch.count_nonzero(found[name])) for name in ticket("omp", 1)[1])
        == ticket("omp", 1)[0].json("ticket.json")["kept"]
    )
