"""Plans of text sets: the study of BERT's tickets and what cannot be combined with it."""

import pytest

from bench import grid
from bench.cost import epochs, images
from bench.grid import GridError
from bench.plan import plan

TEXTS = {
    "protocol": "bert_lth", "architecture": ["bert_base"], "pretraining": ["huggingface"], "source": ["mlm"],
    "pruner": ["imp", "imp(on=downstream)"], "dataset": ["mnli", "stsb", "squad", "mlm"], "transfer": ["finetune"],
    "sparsity": {"points": 0.1, "rounds": [2]}, "evaluate": ["glue", "glue(split=mismatched)", "squad", "mlm"],
    "override": None,
}  # fmt: skip


@pytest.fixture
def planned(write_grid):
    def planned(**changes):
        return plan(grid.read(write_grid({**TEXTS, **changes})))

    return planned


def stages(planned, kind, **wanted):
    return [
        stage
        for stage in planned.stages.values()
        if stage.kind == kind and all(str(getattr(stage.parameters, name)) == value for name, value in wanted.items())
    ]


def test_every_task_has_the_schedule_of_the_study(planned):
    found = {stage.parameters.data.dataset.name: stage.parameters for stage in stages(planned(), "transfer")}
    seen = {
        name: (
            p.data.loader,
            p.data.resolution,
            p.recipe.lr,
            p.recipe.batch_size,
            p.recipe.epochs,
            p.recipe.epoch_steps,
        )
        for name, p in found.items()
    }
    assert seen == {
        "mnli": ("text", 128, 2e-5, 32, 3, None),
        "stsb": ("text", 128, 2e-5, 32, 3, None),
        "squad": ("text", 384, 3e-5, 16, 4, None),
        "mlm": ("text", 512, 5e-5, 8, 1, 20_000),
    }
    for parameters in found.values():
        recipe = parameters.recipe
        assert (recipe.optimizer, recipe.schedule, recipe.final_lr, recipe.clip_norm) == ("adamw", "linear", 0.0, 1.0)
        assert (recipe.select, parameters.data.validation, recipe.weight_decay) == (("last",), 0, 0.0)


def test_rounds_fall_by_a_tenth_of_the_learning_rate_and_keep_the_head(planned):
    rounds = [stage.parameters for stage in stages(planned(), "prune") if stage.parameters.recipe is not None]
    # Masked language modelling prunes the pre-trained weights first.
    assert sorted((p.data.dataset.name, p.round) for p in rounds) == [
        ("mlm", 1), ("mlm", 2), ("mlm", 2), ("mnli", 1), ("mnli", 2), ("squad", 1), ("squad", 2), ("stsb", 1), ("stsb", 2),
    ]  # fmt: skip
    for parameters in rounds:
        assert parameters.recipe.final_lr == pytest.approx(0.9 * parameters.recipe.lr)
        assert parameters.rewind == ("weights", "batchnorm")


def test_an_epoch_that_ends_after_some_steps_costs_them_alone(planned):
    (stage,) = [s for s in stages(planned(), "transfer") if s.parameters.data.dataset.name == "mlm"][:1]
    assert epochs(stage) == 1
    assert images(stage)[0] == 20_000 * 8


def test_a_mask_of_another_set_is_the_one_that_the_set_finds_itself(planned):
    found = planned(pruner=["imp(on=downstream)", "imp(on=mnli)"], dataset=["mnli", "stsb"])
    tickets = {
        (str(cell.pruner), str(cell.dataset)): cells.ticket
        for cell, cells in zip(found.grid.cells, found.cells, strict=True)
    }
    assert tickets["imp(on=mnli)", "stsb"] == tickets["imp(on=downstream)", "mnli"] == tickets["imp(on=mnli)", "mnli"]
    assert tickets["imp(on=downstream)", "stsb"] != tickets["imp(on=mnli)", "stsb"]


def test_a_split_is_measured_where_a_set_has_it(planned):
    found = planned(pruner=["dense"])
    asked = {
        str(cell.dataset): [str(metric) for metric, _ in cells.asked]
        for cell, cells in zip(found.grid.cells, found.cells, strict=True)
    }
    assert asked == {
        "mnli": ["glue", "glue(split=mismatched)"], "stsb": ["glue"], "squad": ["squad"], "mlm": ["mlm"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"architecture": ["bert_tiny"]}, r"mnli .* is written in the vocabulary uncased: take bert_tiny\(vocabulary=uncased\)"),
        ({"protocol": "demo", "architecture": ["bert_tiny"], "pretraining": ["random"], "source": ["letters"], "dataset": ["digits"], "evaluate": ["accuracy"], "pruner": ["dense"]}, "is a set of images, and bert_tiny reads texts"),
        ({"architecture": ["resnet18"]}, "pretraining huggingface is of networks that read texts, resnet18 reads images"),
        ({"pretraining": ["supervised"]}, "pretraining supervised is of networks that read images, bert_base reads texts"),
        ({"pretraining": ["mlm"], "source": ["sst2"]}, "is no set to pre-train on by mlm: source is a masked_language_modelling set"),
        ({"transfer": ["linear"], "dataset": ["squad"]}, "has no transfer linear|no recipe for transfer linear"),
        ({"dataset": ["squad"], "pruner": ["snip"]}, "cannot be pruned on by snip"),
        ({"pruner": ["imp(on=sideways)"]}, r"on=sideways names no set \(known: .*upstream"),
        ({"pruner": ["imp(on=mnli, rewind=prunable)"]}, "write on=downstream"),
        ({"override": {"transfer": {"select": ["best_validation"]}}}, "holds nothing out to select by"),
        ({"override": {"transfer": {"attack": {"steps": 1}, "sigma": 0.1}}}, "trained on examples as they are"),
        ({"pruner": ["synflow"]}, "SynFlow needs a network that is a sum over paths"),
    ],
)  # fmt: skip
def test_what_a_text_cannot_be_combined_with_is_refused(planned, changes, problem):
    with pytest.raises(GridError, match=problem):
        planned(**changes)


def test_blocks_are_permuted_of_networks_that_have_them(planned):
    found = planned(pruner=["imp(on=downstream, control=permuted_layers)"], dataset=["mnli"])
    (stage,) = stages(found, "prune", control="permuted_layers")
    assert set(dict(stage.inputs)) == {"pretrain", "ticket"}
    with pytest.raises(GridError, match="resnet18 has no blocks of equal shapes to permute"):
        planned(
            protocol="demo", architecture=["resnet18"], pretraining=["supervised"], source=["letters"],
            dataset=["digits"], pruner=["omp(control=permuted_layers)"], evaluate=["accuracy"],
            override={"data": {"imagenet_stem_resolution": 32, "loader": "stream"}},
        )  # fmt: skip
