"""Which evaluations a cell has, what each reads, and which cells share them."""

import pytest

from bench import grid
from bench.plan import plan
from bench.spec import Attack


@pytest.fixture
def planned(write_grid):
    def planned(**changes):
        return plan(grid.read(write_grid({"pruner": ["omp"], "sparsity": {"rate": 0.2, "rounds": [2]}, **changes})))

    return planned


def evaluations(planned, metric):
    return [
        stage
        for stage in planned.stages.values()
        if stage.kind == "evaluate" and stage.parameters.metric.name == metric
    ]


def test_every_selection_of_the_transfer_is_evaluated_and_named(planned):
    found = planned(override={"transfer": {"select": ["last", "best_validation"]}}, evaluate=["accuracy", "pgd"])
    for stages in found.cells:
        assert [(str(asked.metric), asked.selection) for asked in stages.asked] == [
            ("accuracy", "last"), ("accuracy", "best_validation"), ("pgd", "last"), ("pgd", "best_validation"),
        ]  # fmt: skip
        selections = [found.stages[key].parameters.selection for key in stages.evaluate]
        assert selections == [asked.selection for asked in stages.asked]
        assert len(set(stages.evaluate)) == 4


def test_a_domain_gap_is_planned_once_for_a_pretraining_and_a_set(planned):
    found = planned(
        evaluate=["domain_gap"], dataset=["digits", "digits_noisy"], pretraining=["supervised", "random"],
        pruner=["omp", "random"], seed=[0, 1], override={"transfer": {"select": ["last", "best_validation"]}},
    )  # fmt: skip
    gaps = evaluations(found, "domain_gap")
    assert len(gaps) == 2 * 2
    assert all(set(dict(stage.inputs)) == {"pretrain"} for stage in gaps)
    assert {asked.selection for stages in found.cells for asked in stages.asked} == {None}


def test_a_domain_gap_compares_the_whole_set_with_the_source(planned):
    found = planned(evaluate=["domain_gap(examples=50)"], fraction=[0.1], dataset=["digits"])
    (gap,) = evaluations(found, "domain_gap")
    parameters = gap.parameters
    assert (parameters.data.dataset.name, parameters.data.fraction) == ("digits", 1.0)
    assert (parameters.other.dataset.name, parameters.other.resolution) == ("letters", 8)
    assert (parameters.examples, parameters.source_classes) == (50, 26)


def test_features_of_a_named_pretraining_are_shared_by_all(planned):
    words = ["domain_gap", "domain_gap(features=supervised)"]
    found = planned(evaluate=words, pretraining=["supervised", "pgd_adversarial"], pruner=["dense"])
    # Its own features of the supervised network are the named ones.
    assert len(evaluations(found, "domain_gap")) == 2
    (natural,) = (
        stage.key
        for stage in found.stages.values()
        if stage.kind == "pretrain" and stage.parameters.recipe.attack is None
    )
    for stages in found.cells:
        named = found.stages[stages.evaluate[1]]
        assert dict(named.inputs) == {"pretrain": natural}


def test_the_named_pretraining_is_planned_where_no_cell_has_it(planned):
    found = planned(evaluate=["domain_gap(features=supervised)"], pretraining=["random"], pruner=["dense"])
    assert len([stage for stage in found.stages.values() if stage.kind == "pretrain"]) == 2


def test_features_of_inception_do_not_depend_on_the_pretraining(planned, tmp_path):
    (tmp_path / "inception.pth").write_bytes(b"weights")
    found = planned(
        evaluate=[f"domain_gap(inception={tmp_path}/inception.pth)"],
        pretraining=["supervised", "random"],
        pruner=["dense"],
    )
    (gap,) = evaluations(found, "domain_gap")
    assert not gap.inputs
    assert gap.parameters.digest is not None


@pytest.mark.parametrize("word", ["ood(against=toy(of=cifar11))", "ood(against=nothing)", "domain_gap(features=none)"])
def test_an_unknown_set_or_pretraining_in_an_option_is_refused(planned, word):
    with pytest.raises(grid.GridError, match=r"cifar11|nothing|none"):
        planned(evaluate=[word])


def test_another_set_is_read_at_the_resolution_of_the_cells(planned):
    (found,) = evaluations(planned(evaluate=["ood(against=toy(of=cifar10))"], pruner=["dense"]), "ood")
    assert (found.parameters.other.resolution, found.parameters.other.loader) == (8, "stream")
    assert found.parameters.other.dataset.name == "toy"


def test_an_attack_has_the_words_epsilon_steps_restarts_and_norm(planned):
    found = planned(
        evaluate=["pgd", "pgd(epsilon=8, steps=5, restarts=3)", "pgd(norm=l2, epsilon=0.5)"], pruner=["dense"],
        override={"attack": {"steps": 20}},
    )  # fmt: skip
    attacks = {stage.parameters.metric.label: stage.parameters.attack for stage in evaluations(found, "pgd")}
    # The demo attacks with 16/255 in steps of an eighth of that.
    assert attacks == {
        "pgd": Attack(epsilon_255=16, step_255=2, steps=20),
        "pgd(epsilon=8, steps=5, restarts=3)": Attack(epsilon_255=8, step_255=1, steps=5, restarts=3),
        "pgd(epsilon=0.5, norm=l2)": Attack(norm="l2", epsilon_255=0.5, step_255=0.0625, steps=20),
    }


def test_a_number_of_examples_is_the_words_or_for_attacks_the_protocols(planned):
    found = planned(
        evaluate=["accuracy", "pgd", "pgd(examples=7)", "corruption"],
        pruner=["dense"],
        override={"data": {"attack_examples": 30}},
    )
    counts = {str(asked.metric): found.stages[key].parameters.examples for asked, key in zip(
        found.cells[0].asked, found.cells[0].evaluate, strict=True
    )}  # fmt: skip
    assert counts == {"accuracy": None, "pgd": 30, "pgd(examples=7)": 7, "corruption": None}


@pytest.mark.parametrize("metric", ["pgd(examples=0)", "corruption(examples=-1)"])
def test_a_subset_of_no_examples_is_refused(planned, metric):
    with pytest.raises(grid.GridError, match="examples is a number of images, at least 1"):
        planned(evaluate=[metric])


def test_features_are_of_one_network(planned, tmp_path):
    (tmp_path / "inception.pth").write_bytes(b"weights")
    with pytest.raises(grid.GridError, match="give features or inception, not both"):
        planned(evaluate=[f"domain_gap(features=supervised, inception={tmp_path}/inception.pth)"])


def test_sensitivity_reads_what_the_ticket_was_cut_from(planned):
    words = ["omp", "omp(control=shuffled)", "imp(on=downstream, rewind_epoch=1)"]
    found = planned(evaluate=["sensitivity"], pruner=words)
    for cell, stages in zip(found.grid.cells, found.cells, strict=True):
        inputs = dict(found.stages[stages.evaluate[0]].inputs)
        transfer = dict(found.stages[stages.transfer].inputs)
        assert inputs == {"transfer": stages.transfer} | {
            role: key for role, key in transfer.items() if role in ("pretrain", "start")
        }
        assert ("start" in inputs) == (str(cell.pruner) in words[1:])
