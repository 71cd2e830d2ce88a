"""Plans whose networks change shape on their way down: another stem, a head on feature maps; and how rounds rewind."""

import pytest

from bench import grid
from bench.grid import GridError
from bench.plan import plan

CV = {
    "protocol": "cv_lth", "architecture": ["resnet18(stem=cifar)", "resnet18"], "pretraining": ["supervised"],
    "pruner": ["imp", "imp(on=downstream)"], "dataset": ["cifar10", "voc2012", "voc2007"],
    "evaluate": ["accuracy", "segmentation", "detection"], "transfer": ["finetune"], "override": None,
    "exclude": [
        {"architecture": "resnet18(stem=cifar)", "dataset": ["voc2007", "voc2012"]},
        {"architecture": "resnet18(stem=imagenet)", "dataset": "cifar10"},
    ],
}  # fmt: skip


@pytest.fixture
def planned(write_grid):
    def planned(**changes):
        return plan(grid.read(write_grid({**CV, "sparsity": {"rate": 0.2, "rounds": [2]}, **changes})))

    return planned


def stages(planned, kind, **wanted):
    return [
        stage
        for stage in planned.stages.values()
        if stage.kind == kind and all(str(getattr(stage.parameters, name)) == value for name, value in wanted.items())
    ]


def test_networks_of_both_stems_share_one_pretraining_and_its_tickets(planned):
    found = planned()
    (pretrained,) = stages(found, "pretrain")
    assert str(pretrained.parameters.architecture) == "resnet18"
    assert pretrained.parameters.data.resolution == 224
    upstream = [stage for stage in stages(found, "prune") if dict(stage.parameters.pruner.options)["on"] == "upstream"]
    assert [stage.parameters.round for stage in upstream] == [1, 2]
    assert {str(stage.parameters.architecture) for stage in upstream} == {"resnet18"}
    tickets = {
        cells.ticket for cell, cells in zip(found.grid.cells, found.cells, strict=True) if str(cell.pruner) == "imp"
    }
    assert len(tickets) == 1


def test_each_target_has_its_own_architecture_data_and_recipe(planned):
    found = {stage.parameters.data.dataset.name: stage.parameters for stage in stages(planned(), "transfer")}
    seen = {
        name: (str(p.architecture), p.data.task, p.data.loader, p.data.resolution, p.recipe.schedule, p.recipe.lr)
        for name, p in found.items()
    }
    assert seen == {
        "cifar10": ("resnet18(stem=cifar)", "classification", "resident", 32, "step", 0.1),
        "voc2012": ("resnet18", "segmentation", "dense", 513, "poly", 1e-3),
        "voc2007": ("resnet18", "detection", "dense", 416, "cosine", 0.01),
    }


def test_rounds_on_a_target_read_it_with_its_own_recipe(planned):
    found = planned()
    rounds = [stage.parameters for stage in stages(found, "prune", round="1") if stage.parameters.data is not None]
    assert {(p.data.dataset.name, p.recipe.epochs, p.recipe.select) for p in rounds} == {
        ("cifar10", 182, ("last",)), ("voc2012", 91, ("last",)), ("voc2007", 120, ("last",)),
    }  # fmt: skip


def test_a_metric_measures_the_sets_of_its_task(planned):
    found = planned()
    measured = {
        (cell.dataset.name, str(asked.metric))
        for cell, cells in zip(found.grid.cells, found.cells, strict=True)
        for asked in cells.asked
    }
    assert measured == {("cifar10", "accuracy"), ("voc2012", "segmentation"), ("voc2007", "detection")}


def test_a_set_that_nothing_measures_is_refused(planned):
    with pytest.raises(GridError, match=r"nothing that measures voc2012 \(segmentation\): add segmentation"):
        planned(evaluate=["accuracy", "detection"])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"transfer": ["linear"]}, "protocol cv_lth has no recipe for transfer linear/standard to voc2012"),
        ({"pruner": ["snip"]}, r"voc2012 \(segmentation\) cannot be pruned on by snip"),
        ({"architecture": ["vgg16_bn"]}, r"voc2012 \(segmentation\) needs feature maps at several strides"),
        ({"override": {"transfer": {"sigma": 0.1}}}, "trained on examples as they are"),
        ({"source": ["voc2012"], "pruner": ["omp"]}, "is no set to pre-train on"),
    ],
)
def test_what_a_scene_cannot_be_combined_with_is_refused(planned, changes, problem):
    alone = {"architecture": ["resnet18"], "dataset": ["voc2012"], "evaluate": ["segmentation"], "exclude": []}
    with pytest.raises(GridError, match=problem):
        planned(**{**alone, **changes})


def test_rounds_without_labels_go_on_with_optimiser_and_queue_where_the_study_does(planned):
    found = planned(
        pretraining=["simclr", "moco"], pruner=["imp"], architecture=["resnet18"], dataset=["voc2012"], exclude=[]
    )
    rounds = {
        stage.parameters.recipe.contrast.queue: stage.parameters.recipe for stage in stages(found, "prune", round="2")
    }
    assert {queue: recipe.carry for queue, recipe in rounds.items()} == {
        0: ("optimizer",), 65_536: ("optimizer", "queue"),
    }  # fmt: skip
    assert {recipe.optimizer for recipe in rounds.values()} == {"lars", "sgd"}


def test_rounds_go_on_with_what_a_file_was_trained_by(planned, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    words = [f"checkpoint(path={path}, method={method})" for method in ("supervised", "moco")]
    found = planned(pretraining=words, pruner=["imp"], architecture=["resnet18"], dataset=["voc2012"], exclude=[])
    queues = sorted(
        stage.parameters.recipe.contrast.queue if stage.parameters.recipe.contrast else -1
        for stage in stages(found, "prune", round="2")
    )
    assert queues == [-1, 65_536]
    # What a supervised file is called changes no key of before.
    pretrained = {dict(stage.parameters.pretraining.options).get("method") for stage in stages(found, "pretrain")}
    assert pretrained == {None, "moco"}


def test_rewinding_to_the_finetuned_network_returns_to_the_best_epoch_of_the_whole_dense_training(planned):
    found = planned(pruner=["imp(on=downstream, rewind=finetuned)"], dataset=["cifar10"], exclude=[], architecture=["resnet18(stem=cifar)"], evaluate=["accuracy"])  # fmt: skip
    (point,) = [stage for stage in stages(found, "prune") if stage.parameters.epoch is not None]
    assert (point.parameters.epoch, point.parameters.recipe.select) == (182, ("best_validation",))
    rounds = [stage for stage in stages(found, "prune") if stage.parameters.epoch is None]
    assert {dict(stage.inputs)["rewind"] for stage in rounds} == {point.key}
    (pruned,) = [stage for stage in stages(found, "transfer") if "ticket" in dict(stage.inputs)]
    assert dict(pruned.inputs)["start"] == point.key


def test_rewinding_the_prunable_weights_alone_makes_the_ticket_start_from_the_rest_of_its_last_round(planned):
    found = planned(pruner=["imp(on=downstream, rewind=prunable)"], dataset=["voc2007"], exclude=[], architecture=["resnet18"], evaluate=["detection"])  # fmt: skip
    (last,) = stages(found, "prune", round="2")
    assert last.parameters.rewind == ("prunable",)
    (pruned,) = [stage for stage in stages(found, "transfer") if "ticket" in dict(stage.inputs)]
    assert dict(pruned.inputs)["start"] == dict(pruned.inputs)["ticket"] == last.key


def test_an_override_of_what_needs_labels_leaves_recipes_without_labels_as_they_are(planned):
    fields = {"select": "best_validation", "augmentation": ["flip"], "epochs": 3}
    found = planned(protocol="demo", source=["letters"], architecture=["resnet8"], pretraining=["supervised", "simclr"], pruner=["omp"], dataset=["digits"], exclude=[], evaluate=["accuracy"], override={"pretrain": fields})  # fmt: skip
    recipes = {str(stage.parameters.pretraining): stage.parameters.recipe for stage in stages(found, "pretrain")}
    assert {name: (r.select, r.augmentation, r.epochs) for name, r in recipes.items()} == {
        "supervised": (("best_validation",), ("flip",), 3), "simclr": (("last",), (), 3),
    }  # fmt: skip
