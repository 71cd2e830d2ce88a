"""Tickets as the prune stage makes them: counts, nesting, rewinding, and what each pruner depends on."""

import pytest
import torch

from bench import masks, models
from bench.ladder import Ladder
from bench.spec import Prunable
from bench.stages import fit, weights
from bench.training import loop

ROUNDS = (1, 2, 3)
IMP = {"upstream": "imp", "downstream": "imp(on=downstream)"}
# The 3 x 3 convolutions of resnet8 behind its first one, widths 16, 32, 64; shortcuts have no weights.
PRUNABLE = 9 * (2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)


@pytest.fixture(scope="module")
def planned(lab):
    return lab.plan(
        pruner=["omp", "random", *IMP.values()], sparsity={"rate": 0.2, "rounds": [0, *ROUNDS]}, seed=[0, 1]
    )


@pytest.fixture(scope="module")
def ticket(lab, planned, pick):
    """(pruner, round, seed) -> the artifact and its masks."""

    def ticket(pruner, round, seed=0):
        artifact = lab.artifact(planned, pick(planned, pruner=pruner, round=round, seed=seed).ticket)
        return artifact, weights.load_masks(artifact)

    return ticket


@pytest.fixture(scope="module")
def pretrained(lab, planned):
    (key,) = (key for key, stage in planned.stages.items() if stage.kind == "pretrain")
    return weights.load_weights(lab.artifact(planned, key))


def split_names(parameters):
    """Names of the head, of the normalisation layers and of the other tensors of the network."""
    network = models.build(parameters.architecture, classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    head = set(models.head_parameters(network))
    batchnorm = {name for name in models.state(network) if models.is_normalisation(network, name)}
    assert len(batchnorm) > 10
    return {"head": head, "batchnorm": batchnorm, "weights": models.state(network).keys() - head - batchnorm}


def masked(state, mask):
    return {name: tensor * mask[name] if name in mask else tensor for name, tensor in state.items()}


@pytest.mark.parametrize("pruner", ["omp", "random", *IMP.values()])
def test_every_round_keeps_exactly_the_count_of_the_ladder(ticket, pruner):
    for round in ROUNDS:
        artifact, found = ticket(pruner, round)
        summary = artifact.json("ticket.json")
        assert sum(mask.numel() for mask in found.values()) == summary["prunable"] == PRUNABLE
        assert masks.kept(found) == summary["kept"] == Ladder(rate=0.2).kept(PRUNABLE, round)
        assert summary["sparsity"] == pytest.approx(1 - 0.8**round, abs=1 / PRUNABLE)
        assert sum(kept for kept, _ in summary["layers"].values()) == summary["kept"]


@pytest.mark.parametrize("pruner", ["omp", *IMP.values()])
def test_the_tickets_of_a_ladder_are_nested(ticket, pruner):
    for round in ROUNDS[1:]:
        smaller, larger = ticket(pruner, round)[1], ticket(pruner, round - 1)[1]
        assert all((smaller[name] <= larger[name]).all() for name in smaller)


def test_omp_keeps_the_largest_pretrained_weights(ticket, pretrained):
    _, mask = ticket("omp", 3)
    kept = torch.cat([pretrained[name][mask[name]].abs() for name in mask])
    pruned = torch.cat([pretrained[name][~mask[name]].abs() for name in mask])
    assert kept.min() >= pruned.max()
    # Ranked over all layers together: they end with different densities.
    assert len({round(float(part.float().mean()), 3) for part in mask.values()}) > 3


def test_one_shot_tickets_and_the_first_upstream_round_read_no_data_and_are_equal(
    lab, planned, pick, ticket, same, tmp_path
):
    found = {}
    for pruner in ("omp", "imp"):
        ticket(pruner, 1)
        stage = planned.stages[pick(planned, pruner=pruner, round=1, seed=0).ticket]
        outcome, store = lab.afresh(stage, tmp_path / "runs", data_root=tmp_path / "nothing")
        assert outcome.status == "done", outcome.message
        found[pruner] = weights.load_masks(store.open(stage.key))
        assert set(store.open(stage.key).manifest["files"]) == {"mask.safetensors", "ticket.json"}
    assert same(found["imp"], found["omp"])


def test_the_first_downstream_round_trains_before_it_prunes(ticket, same):
    artifact, found = ticket(IMP["downstream"], 1)
    assert len(artifact.json("history.json")) == 1
    assert not same(found, ticket("omp", 1)[1])


def test_random_tickets_depend_on_the_seed_and_others_do_not(planned, pick, ticket, same):
    assert not same(ticket("random", 3, seed=0)[1], ticket("random", 3, seed=1)[1])
    assert not same(ticket("random", 3)[1], ticket("omp", 3)[1])
    for pruner in ("omp", IMP["upstream"]):
        assert (
            pick(planned, pruner=pruner, round=3, seed=0).ticket == pick(planned, pruner=pruner, round=3, seed=1).ticket
        )
    assert not same(ticket(IMP["downstream"], 3, seed=0)[1], ticket(IMP["downstream"], 3, seed=1)[1])


@pytest.mark.parametrize("on", IMP)
def test_every_round_rewinds_everything(lab, planned, pick, ticket, pretrained, same, watch, tmp_path, monkeypatch, on):
    """The training of round k starts from the pre-trained weights under the mask of round k - 1, with nothing kept."""
    fresh = []
    make_optimizer = loop.make_optimizer

    def make(*arguments):
        fresh.append(make_optimizer(*arguments))
        assert not fresh[-1].state
        return fresh[-1]

    monkeypatch.setattr(loop, "make_optimizer", make)
    ticket(IMP[on], 3)
    trainings = watch(fit)
    rounds = (2, 3) if on == "upstream" else ROUNDS
    for round in rounds:
        stage = planned.stages[pick(planned, pruner=IMP[on], round=round, seed=0).ticket]
        outcome, store = lab.afresh(stage, tmp_path / "runs")
        assert outcome.status == "done", outcome.message
        assert "carried.safetensors" not in store.open(stage.key).manifest["files"]
        before = ticket(IMP[on], round - 1)[1] if round > 1 else {}
        names = split_names(stage.parameters)
        expected = masked(pretrained, before)
        assert same(trainings[-1].start, expected, names["weights"] | names["batchnorm"])
        assert same(trainings[-1].start, trainings[0].start, names["head"])
        assert same(trainings[-1].start, expected, names["head"]) == (on == "upstream")
        for kind in names.values():
            assert not same(trainings[-1].start, trainings[-1].end, kind)
        # The new mask is that of the trained weights, not of the rewound ones.
        chosen = masks.keep_top(
            {name: trainings[-1].end[name].abs() for name in ticket(IMP[on], round)[1]},
            Ladder(rate=0.2).kept(PRUNABLE, round),
            within=before or None,
        )
        assert same(chosen, weights.load_masks(store.open(stage.key)))
    assert len(trainings) == len(fresh) == len(rounds)


@pytest.mark.parametrize("rewind", [("weights",), ("weights", "batchnorm"), ("weights", "head")])
@pytest.mark.parametrize("on", IMP)
def test_what_the_protocol_does_not_rewind_goes_on_from_the_end_of_the_round_before(
    lab, planned, pick, ticket, pretrained, changed, same, watch, on, rewind
):
    ticket(IMP[on], 1)
    trainings = watch(fit)
    key = pick(planned, pruner=IMP[on], round=1, seed=0).ticket
    mask = {1: ticket(IMP[on], 1)[1]}
    for round in (2, 3):
        stage = planned.stages[pick(planned, pruner=IMP[on], round=round, seed=0).ticket]
        stage = changed(stage, {"previous": key}, rewind=rewind)
        artifact = lab.compute(stage)
        key, mask[round] = artifact.key, weights.load_masks(artifact)
        names = split_names(stage.parameters)
        carried = set().union(*(names[part] for part in ("batchnorm", "head") if part not in rewind))
        kept = weights.load_weights(artifact, "carried.safetensors")
        assert set(kept) == carried
        assert same(kept, trainings[-1].end)
    first, second = trainings
    assert same(second.start, first.end, carried)
    assert not same(first.start, first.end, carried)
    assert same(second.start, masked(pretrained, mask[2]), names["weights"])
    assert same(second.start, first.start, (names["batchnorm"] | names["head"]) - carried)


def test_pruning_never_modifies_the_pretrained_tensors(lab, planned, pick, ticket, same, tmp_path, monkeypatch):
    """A released script aliases its snapshot and never rewinds: here neither file nor loaded tensors change."""
    ticket(IMP["upstream"], 3)
    loaded = []
    load_weights = weights.load_weights

    def load(*arguments):
        found = load_weights(*arguments)
        loaded.append((found, {name: tensor.clone() for name, tensor in found.items()}))
        return found

    monkeypatch.setattr(weights, "load_weights", load)
    for pruner in ("omp", *IMP.values()):
        ticket(pruner, 3)
        stage = planned.stages[pick(planned, pruner=pruner, round=3, seed=0).ticket]
        outcome, store = lab.afresh(stage, tmp_path / pruner)
        assert outcome.status == "done"
        assert store.problem(dict(stage.inputs)["pretrain"], digests=True) is None
    assert len(loaded) >= 3
    for found, copy in loaded:
        assert same(copy, found)


def test_a_sparsity_off_the_ladder_keeps_the_nearest_count(lab, pick):
    planned = lab.plan(sparsity=[0.5])
    artifact = lab.artifact(planned, pick(planned, pruner="omp").ticket)
    assert artifact.json("ticket.json")["kept"] == PRUNABLE // 2


def test_the_prunable_layers_are_those_of_the_protocol(lab, planned, pick, changed):
    stage = planned.stages[pick(planned, pruner="omp", round=1, seed=0).ticket]
    lab.artifact(planned, stage.key)
    artifact = lab.compute(changed(stage, prunable=Prunable(first_conv=True)))
    # The first convolution: 3 x 3, from 3 channels to 16.
    assert artifact.json("ticket.json")["prunable"] == PRUNABLE + 3 * 3 * 3 * 16
