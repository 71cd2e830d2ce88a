"""Recipe fields that change how a stage computes: precision, memory format, attack, loader."""

from dataclasses import replace

import pytest
import torch

from bench.stages import weights


@pytest.fixture(scope="module")
def pretrained(lab):
    """(recipe changes, other changes) -> weights and history of the pre-training."""

    def pretrained(recipe, **changes):
        planned = lab.plan(override={"pretrain": recipe}, **changes)
        (stage,) = (stage for stage in planned.stages.values() if stage.kind == "pretrain")
        artifact = lab.compute(stage)
        return weights.load_weights(artifact), artifact.json("history.json")

    return pretrained


def test_bf16_trains_close_to_fp32(pretrained):
    (exact, exact_history), (rounded, history) = pretrained({}), pretrained({"precision": "bf16"})
    assert all(tensor.dtype == exact[name].dtype for name, tensor in rounded.items())
    # Eight significant bits: a product is off by up to 2^-9, and some ten layers add up to a few percent of the loss.
    assert history[0]["loss"] == pytest.approx(exact_history[0]["loss"], rel=0.05)
    assert history[0]["loss"] != exact_history[0]["loss"]
    distance = torch.cat([(rounded[name] - exact[name]).flatten().float() for name in exact]).norm()
    length = torch.cat([exact[name].flatten().float() for name in exact]).norm()
    assert 0 < distance < 0.1 * length


def test_channels_last_changes_rounding_only(pretrained):
    (planes, _), (last, _) = pretrained({}), pretrained({"channels_last": True})
    assert all(tensor.is_contiguous() for tensor in last.values())
    for name, tensor in planes.items():
        torch.testing.assert_close(last[name], tensor, rtol=1e-2, atol=1e-3)


def test_channels_last_and_bf16_hold_masks_and_store_networks_exactly(lab, pick, changed):
    planned = lab.plan(transfer=["finetune"])
    stage = planned.stages[pick(planned, pruner="omp").transfer]
    inputs = {role: lab.artifact(planned, key) for role, key in stage.inputs}
    found = weights.load_sparse(lab.compute(changed(stage, recipe={"precision": "bf16", "channels_last": True})))
    plain = weights.load_sparse(lab.compute(stage))
    mask = weights.load_masks(inputs["ticket"])
    for name, part in mask.items():
        assert ((found[name] != 0) == part).all()
    distance = torch.cat([(found[name] - plain[name]).flatten() for name in mask]).norm()
    assert 0 < distance < 0.2 * torch.cat([plain[name].flatten() for name in mask]).norm()


def test_adversarial_pretraining_and_transfer_run_and_have_the_harder_task(lab, pretrained, pick):
    attack = {"epsilon_255": 32, "step_255": 16, "steps": 2}
    natural, hard = pretrained({}), pretrained({"attack": attack}, pretraining=["pgd_adversarial"])
    assert hard[1][0]["loss"] > natural[1][0]["loss"]
    planned = lab.plan(
        transfer=["finetune", "linear"],
        objective=["standard", "adversarial"],
        override={"transfer": {"attack": attack}},
    )
    for kind in ("finetune", "linear"):
        losses = {}
        for objective in ("standard", "adversarial"):
            key = pick(planned, pruner="dense", transfer=kind, objective=objective).transfer
            losses[objective] = lab.artifact(planned, key).json("history.json")[-1]["loss"]
        assert losses["adversarial"] > losses["standard"]


def test_a_folder_of_photographs_streams_through_a_torchvision_network_end_to_end(
    lab, pick, changed, photos_root, tmp_path
):
    planned = lab.plan(
        architecture=["resnet18(stem=imagenet)"], pretraining=["random"], dataset=["folder(name=photos, classes=2)"],
        transfer=["finetune"], sparsity={"rate": 0.2, "rounds": [4]},
        override={
            "data": {"imagenet_stem_resolution": 64},
            "transfer": {"epochs": 1, "batch_size": 8, "augmentation": ["resized_crop", "flip"]},
        },
    )  # fmt: skip
    stages = pick(planned, pruner="omp")
    stage = planned.stages[stages.transfer]
    assert (stage.parameters.data.loader, stage.parameters.data.resolution) == ("stream", 64)
    photo_lab = replace(lab, settings=replace(lab.settings, root=tmp_path / "runs", data_root=photos_root))
    for _, source in stage.inputs:
        photo_lab.artifact(planned, source)
    # The catalog's 1,000 validation images are more than this folder has.
    stage = changed(stage, data={"validation": 8})
    (epoch,) = photo_lab.compute(stage).json("history.json")
    assert 0 < epoch["loss"] < 5
    reader = changed(planned.stages[stages.evaluate[0]], {"transfer": stage.key}, data={"validation": 8})
    summary = photo_lab.compute(reader).json("metrics.json")
    assert summary["n_examples"] == 8
    assert summary["ticket"]["sparsity"] == pytest.approx(1 - 0.8**4, abs=1e-4)
