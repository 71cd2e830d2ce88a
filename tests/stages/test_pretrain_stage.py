"""Weights before pruning: drawn, trained, or read from a file."""

import pytest
import torch

from bench import models
from bench.models import external
from bench.spec import Word
from bench.stages import weights
from bench.store import Store
from bench.training.seeding import derive


def built(architecture, *, classes, seed):
    return models.state(models.build(architecture, classes=classes, mean=(0.5,) * 3, std=(0.5,) * 3, seed=seed))


def pretrain_stage(planned):
    (stage,) = (stage for stage in planned.stages.values() if stage.kind == "pretrain")
    return stage


def test_random_weights_are_those_of_the_pretraining_seed(lab, pick, same):
    planned = lab.plan(pretraining=["random"], pretraining_seed=[0, 1])
    states = {}
    for stage in planned.stages.values():
        if stage.kind == "pretrain":
            artifact = lab.compute(stage)
            assert set(artifact.manifest["files"]) == {"weights.safetensors"}
            states[stage.parameters.seed] = weights.load_weights(artifact)
    for seed, state in states.items():
        assert same(state, built(Word("resnet8"), classes=10, seed=derive(seed, "initialisation")))
    assert not states[0]["conv1.weight"].equal(states[1]["conv1.weight"])


def test_training_starts_from_the_random_weights_and_depends_on_the_pretraining_seed(lab, same):
    states = {}
    for seed in (0, 1):
        stage = pretrain_stage(lab.plan(pretraining_seed=seed))
        artifact = lab.compute(stage)
        assert [record["epoch"] for record in artifact.json("history.json")] == [1.0]
        states[seed] = weights.load_weights(artifact)
        start = built(Word("resnet8"), classes=10, seed=derive(seed, "initialisation"))
        assert start["fc.weight"].shape == states[seed]["fc.weight"].shape
        assert not same(start, states[seed], ["conv1.weight", "fc.weight"])
    assert not same(states[0], states[1], ["conv1.weight"])


@pytest.mark.parametrize(("classes", "kept_head"), [(10, True), (3, False)])
def test_a_checkpoint_gives_its_weights_and_a_head_of_another_size_stays_random(
    lab, same, tmp_path, classes, kept_head
):
    saved = built(Word("resnet8"), classes=classes, seed=77)
    torch.save(saved, tmp_path / "weights.pt")
    stage = pretrain_stage(lab.plan(pretraining=[f"checkpoint(path={tmp_path}/weights.pt)"]))
    state = weights.load_weights(lab.compute(stage))
    assert same(saved, state, saved.keys() - {"fc.weight", "fc.bias"})
    expected = saved if kept_head else built(Word("resnet8"), classes=10, seed=derive(0, "initialisation"))
    assert same(expected, state, ["fc.weight", "fc.bias"])


def test_a_checkpoint_that_changed_or_went_since_the_plan_is_not_used(lab, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(built(Word("resnet8"), classes=10, seed=78), path)
    stage = pretrain_stage(lab.plan(pretraining=[f"checkpoint(path={path})"]))
    torch.save(built(Word("resnet8"), classes=10, seed=79), path)
    outcome, _ = lab.afresh(stage, tmp_path / "runs")
    assert (outcome.status, outcome.message) == (
        "failed",
        f"ModelError: {path} was replaced after this stage was planned; submit again to plan anew",
    )
    path.unlink()
    outcome, _ = lab.afresh(stage, tmp_path / "runs")
    assert outcome.status == "failed"
    assert outcome.message.startswith(f"ModelError: {path} cannot be read (No such file or directory)")


def test_published_weights_that_are_not_there_name_the_command_that_fetches_them(lab, tmp_path):
    stage = pretrain_stage(lab.plan(architecture=["resnet18(stem=cifar)"], pretraining=["torchvision"]))
    outcome, store = lab.afresh(stage, tmp_path / "runs", data_root=tmp_path)
    assert outcome.status == "failed"
    assert "python -m bench.prepare torchvision:resnet18`" in outcome.message
    assert str(tmp_path / "weights" / "resnet18") in outcome.message
    assert "Traceback" not in outcome.message
    assert Store(store.root).failure(stage.key)["error"] == outcome.message


def test_published_weights_are_read_from_the_data_root(lab, same, tmp_path):
    """A file of the published name and layout; its 1,000-class head gives way to a random one."""
    published = built(Word("mobilenet_v2", (("stem", "imagenet"),)), classes=1000, seed=5)
    name = external.weights_file("mobilenet_v2", "IMAGENET1K_V1")[1]
    (tmp_path / "weights").mkdir()
    torch.save(published, tmp_path / "weights" / name)
    stage = pretrain_stage(lab.plan(architecture=["mobilenet_v2(stem=cifar)"], pretraining=["torchvision"]))
    outcome, store = lab.afresh(stage, tmp_path / "runs", data_root=tmp_path)
    assert outcome.status == "done", outcome.message
    state = weights.load_weights(store.open(stage.key))
    assert same(published, state, published.keys() - {"classifier.1.weight", "classifier.1.bias"})
    assert state["classifier.1.weight"].shape[0] == 10
