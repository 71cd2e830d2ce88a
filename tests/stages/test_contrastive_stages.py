"""Pre-training by contrast, and iterative pruning on it: what is saved, what is rewound and what goes on."""

from dataclasses import replace
from typing import Any, NamedTuple

import pytest
import torch

from bench import masks as masking
from bench import models
from bench.models.contrastive import Contrastive
from bench.spec import Word
from bench.stages import fit, networks, weights
from bench.stages.context import Context, plain_split
from bench.training.seeding import derive
from bench.training.state import Run

PROJECTION, TRAINING = "projection.safetensors", "carried_training.safetensors"
HEAD = ("fc.weight", "fc.bias")
QUICK = {"epochs": 1, "warmup_epochs": 0.0, "batch_size": 128, "contrast": {"probe_examples": 100}}


class Seen(NamedTuple):
    """A training's network when it began and when it ended, what its optimiser began with, and what it returned."""

    network: Any
    start: dict[str, torch.Tensor]
    end: dict[str, torch.Tensor]
    optimizer: Any
    trained: Any


@pytest.fixture
def trainings(monkeypatch):
    seen = []
    train = fit.train

    def watched(network, *arguments, **options):
        start = {name: value.clone() for name, value in network.state_dict().items()}
        trained = train(network, *arguments, **options)
        end = {name: value.clone() for name, value in network.state_dict().items()}
        seen.append(Seen(network, start, end, options["optimizer_state"], trained))
        return trained

    monkeypatch.setattr(fit, "train", watched)
    return seen


@pytest.fixture(scope="module")
def planned(lab):
    return lab.plan(
        pretraining=["simclr", "moco"], pruner=["imp"], sparsity={"rate": 0.2, "rounds": [0, 1, 2, 3]},
        override={"pretrain": QUICK, "prune": QUICK},
    )  # fmt: skip


def stage_of(planned, pick, name, round):
    key = pick(planned, pretraining=name, round=round).ticket
    return planned.stages[key]


def pretrain_of(planned, name):
    (found,) = (s for s in planned.stages.values() if s.kind == "pretrain" and s.parameters.pretraining.name == name)
    return found


def part(state, prefix):
    return {name.removeprefix(f"{prefix}."): value for name, value in state.items() if name.startswith(f"{prefix}.")}


def fresh():
    return models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=derive(0, "initialisation"))


@pytest.mark.parametrize("name", ["simclr", "moco"])
def test_pretraining_trains_all_but_the_head_and_keeps_the_projection(lab, planned, same, name):
    artifact = lab.compute(pretrain_of(planned, name))
    assert set(artifact.manifest["files"]) == {"weights.safetensors", "history.json", PROJECTION}
    state, start = weights.load_weights(artifact), models.state(fresh())
    assert same(state, start, HEAD)
    assert not any(state[key].equal(start[key]) for key in state if key not in HEAD)
    shapes = {key: tuple(value.shape) for key, value in weights.load_weights(artifact, PROJECTION).items()}
    assert shapes == {"0.weight": (64, 64), "0.bias": (64,), "2.weight": (128, 64), "2.bias": (128,)}
    (record,) = artifact.json("history.json")
    assert set(record) == {"epoch", "loss", "lr", "knn_accuracy", "linear_accuracy"}
    assert 0.3 < record["knn_accuracy"] <= 1
    assert 0.3 < record["linear_accuracy"] <= 1


def test_probes_read_plain_images_of_so_many_training_examples(lab, planned, opened):
    stage = pretrain_of(planned, "simclr")
    lab.afresh(stage, lab.folder / "again")
    splits = {(name, split.n_examples): next(iter(split.batches(0))) for name, split in opened}
    assert set(splits) == {("train", 1097), ("train", 100), ("validation", 200)}
    assert len(splits["train", 1097].inputs) == 2 * len(splits["train", 1097].labels) == 256
    plain = splits["train", 100].inputs
    assert len(plain) == 100
    assert plain.equal(next(iter(plain_split_of(lab, stage).batches(0))).inputs)


def plain_split_of(lab, stage):
    context = Context(data_root=lab.settings.data_root, run=Run(scratch=lab.folder))
    return plain_split(stage.parameters.data, "train", 128, context, examples=100)


def test_pixels_are_normalised_unless_the_recipe_leaves_them_as_they_are(lab, planned, changed, trainings):
    stage = pretrain_of(planned, "simclr")
    contrast = stage.parameters.recipe.contrast
    lab.afresh(stage, lab.folder / "normalised")
    outcome, _ = lab.afresh(
        changed(stage, recipe={"contrast": replace(contrast, normalise=False)}), lab.folder / "as they are"
    )
    assert outcome.status == "done", outcome.message
    means = [training.network.encoder.normalise.mean.unique().tolist() for training in trainings]
    assert means == [[0.5], [0.0]]


@pytest.mark.parametrize("name", ["simclr", "moco"])
def test_rounds_rewind_the_encoder_and_the_projection_and_carry_what_the_recipe_says(
    lab, planned, pick, same, trainings, tmp_path, name
):
    artifact = lab.artifact(planned, pretrain_of(planned, name).key)
    pretrained, projection = weights.load_weights(artifact), weights.load_weights(artifact, PROJECTION)
    for round in (1, 2, 3):
        lab.artifact(planned, stage_of(planned, pick, name, round).key)
    trainings.clear()
    for round in (2, 3):
        stage = stage_of(planned, pick, name, round)
        outcome, store = lab.afresh(stage, tmp_path / "runs")
        assert outcome.status == "done", outcome.message
        assert set(store.open(stage.key).manifest["files"]) == {
            "mask.safetensors", "ticket.json", "history.json", TRAINING,
        }  # fmt: skip
        training = trainings[-1]
        masks = weights.load_masks(lab.artifact(planned, stage_of(planned, pick, name, round - 1).key))
        rewound = {key: value * masks[key] if key in masks else value for key, value in pretrained.items()}
        assert same(part(training.start, "encoder.body"), rewound)
        assert same(part(training.start, "projection"), projection)
        for key, mask in masks.items():
            assert not training.end[f"encoder.body.{key}"][~mask].any()
        if name == "moco":
            assert same(part(training.start, "momentum_encoder.body"), rewound)
            assert same(part(training.start, "momentum_projection"), projection)
            for key, mask in masks.items():
                assert not training.end[f"momentum_encoder.body.{key}"][~mask].any()
    first, second = trainings
    assert first.optimizer is None
    gathered = first.trained.optimizer["state"]
    assert set(second.optimizer["state"]) == set(gathered) != set()
    for index, values in gathered.items():
        assert values["momentum_buffer"].equal(second.optimizer["state"][index]["momentum_buffer"])
    if name == "moco":
        # Eight batches of 128 keys, the same places in a queue of 1,024.
        assert second.start["queue"].equal(first.end["queue"])
        assert second.start["queue_at"].equal(first.end["queue_at"])
        assert not first.start["queue"].equal(first.end["queue"])


def test_what_is_not_carried_begins_afresh(lab, planned, pick, changed, trainings):
    lab.artifact(planned, stage_of(planned, pick, "moco", 2).key)
    stage = changed(stage_of(planned, pick, "moco", 3), recipe={"carry": ()})
    artifact = lab.compute(stage)
    training = trainings[-1]
    assert training.optimizer is None
    contrast = stage.parameters.recipe.contrast
    seed = derive(derive(stage.parameters.seed, "round", 3), "contrast")
    assert training.start["queue"].equal(Contrastive(fresh(), contrast, seed=seed).queue)
    assert TRAINING not in artifact.manifest["files"]


def test_without_a_pretrained_projection_it_goes_on_from_the_round_before(lab, planned, pick, changed, same, trainings):
    """Supervised or published weights have none."""
    supervised = lab.plan(pruner=["imp"], sparsity={"rate": 0.2, "rounds": [0, 1]})
    (pretrain,) = (stage for stage in supervised.stages.values() if stage.kind == "pretrain")
    first = lab.artifact(supervised, pick(supervised, round=1).ticket)
    trainings.clear()
    second = lab.compute(
        changed(stage_of(planned, pick, "simclr", 2), {"pretrain": pretrain.key, "previous": first.key})
    )
    lab.compute(changed(stage_of(planned, pick, "simclr", 3), {"pretrain": pretrain.key, "previous": second.key}))
    contrast = pretrain_of(planned, "simclr").parameters.recipe.contrast
    drawn = Contrastive(fresh(), contrast, seed=derive(derive(0, "round", 2), "contrast")).projection.state_dict()
    assert same(part(trainings[0].start, "projection"), drawn)
    assert same(part(trainings[1].start, "projection"), part(trainings[0].end, "projection"))
    assert not same(part(trainings[0].end, "projection"), drawn)


def test_masks_of_contrastive_rounds_are_those_of_the_trained_encoder(lab, planned, pick, same, trainings, tmp_path):
    stage = stage_of(planned, pick, "moco", 3)
    lab.artifact(planned, stage.key)
    outcome, store = lab.afresh(stage, tmp_path / "runs")
    assert outcome.status == "done", outcome.message
    before = weights.load_masks(lab.artifact(planned, stage_of(planned, pick, "moco", 2).key))
    end = part(trainings[-1].end, "encoder.body")
    found = weights.load_masks(store.open(stage.key))
    expected = masking.keep_top({name: end[name].abs() for name in before}, masking.kept(found), within=before)
    assert same(expected, found)


def test_the_recipe_decides_which_contrast_is_trained(planned):
    modules = {
        name: networks.objective(pretrain_of(planned, name).parameters.recipe).__module__ for name in ("simclr", "moco")
    }
    assert modules == {"simclr": "bench.objectives.simclr", "moco": "bench.objectives.moco"}


def moco_file(path, dimensions):
    """A file as MoCo v2's code saves it, of this architecture, its projection all ones."""
    network = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.5,) * 3, seed=4)
    encoder = {name: value for name, value in models.state(network).items() if not name.startswith("fc.")}
    encoder |= {"fc.0.weight": torch.ones(64, 64), "fc.0.bias": torch.ones(64)}
    encoder |= {"fc.2.weight": torch.ones(dimensions, 64), "fc.2.bias": torch.ones(dimensions)}
    torch.save({"state_dict": {f"module.encoder_q.{name}": value for name, value in encoder.items()}}, path)


@pytest.mark.parametrize(("method", "dimensions"), [("moco", 128), ("supervised", 128), ("moco", 32)])
def test_rounds_on_a_file_begin_with_the_projection_it_holds(lab, pick, trainings, tmp_path, method, dimensions):
    moco_file(tmp_path / "moco.pth.tar", dimensions)
    word = f"checkpoint(path={tmp_path}/moco.pth.tar, method={method})"
    planned = lab.plan(pretraining=[word], pruner=["imp"], sparsity={"rate": 0.2, "rounds": [0, 2]}, override={"prune": QUICK})  # fmt: skip
    ticket = pick(planned, pruner="imp").ticket
    inputs = dict(planned.stages[ticket].inputs)
    assert (PROJECTION in lab.artifact(planned, inputs["pretrain"]).manifest["files"]) == (method == "moco")
    if dimensions == 32:
        lab.artifact(planned, inputs["previous"])
        outcome, _ = lab.afresh(planned.stages[ticket], tmp_path / "runs")
        assert outcome.status == "failed"
        assert "the projection head of resnet8 has other weights than the recipe's" in outcome.message
        return
    lab.artifact(planned, ticket)
    (seen,) = trainings
    assert isinstance(seen.network, Contrastive) == (method == "moco")
    if method == "moco":
        assert all((value == 1).all() for name, value in seen.start.items() if name.startswith("projection."))
