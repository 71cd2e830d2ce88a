"""The work of a task, and what of it can be computed: a missing input is explained by the ancestor that failed."""

import time

import pytest
import yaml

from bench import grid
from bench.launch import elements
from bench.launch.elements import read_element, sort_out, write_elements
from bench.plan import plan
from bench.store import Store


@pytest.fixture(scope="module")
def stages(tmp_path_factory, tiny):
    """pretrain -> imp round 1 -> imp round 2 -> transfer -> evaluation, beside the dense ones."""
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(yaml.safe_dump({**tiny, "pruner": ["imp"], "sparsity": {"rate": 0.2, "rounds": [2]}}))
    return plan(grid.read(path)).stages


@pytest.fixture(scope="module")
def chain(stages):
    """Keys of the stages of the ticket: pretrain, round 1, round 2, transfer, evaluation."""
    rounds = {stage.parameters.round: key for key, stage in stages.items() if stage.kind == "prune"}
    readers = {source: key for key, stage in stages.items() for role, source in stage.inputs if role != "pretrain"}
    transfer = readers[rounds[2]]
    pretrain = next(key for key, stage in stages.items() if stage.kind == "pretrain")
    return [pretrain, rounds[1], rounds[2], transfer, readers[transfer]]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that are made, without making them."""
    found = []
    monkeypatch.setattr(time, "sleep", found.append)
    return found


def task(tmp_path, stages, keys, done=()):
    """What the task with these keys reads from its file."""
    (offset,) = write_elements(tmp_path / "elements.jsonl", [keys], stages, set(done))
    return read_element(tmp_path / "elements.jsonl", offset)


def finish(store, stages, *keys):
    for key in keys:
        with store.publish(stages[key], {}):
            pass


def test_every_task_reads_its_own_stages_as_they_were_planned(tmp_path, stages, chain):
    work = [chain[:2], chain[2:3], chain[3:]]
    offsets = write_elements(tmp_path / "elements.jsonl", work, stages, set())
    for keys, offset in zip(work, offsets, strict=True):
        found = read_element(tmp_path / "elements.jsonl", offset)
        assert list(found.stages) == keys
        for key, stage in found.stages.items():
            assert (stage.key, stage.kind, stage.inputs) == (key, stages[key].kind, stages[key].inputs)
            assert stage.parameters == stages[key].parameters


def test_a_task_knows_its_ancestors_that_were_to_be_computed_elsewhere(tmp_path, stages, chain):
    pretrain, first, second, transfer, evaluation = chain
    found = task(tmp_path, stages, [transfer, evaluation])
    assert {key: kind for key, (kind, _) in found.ancestors.items()} == {
        pretrain: "pretrain", first: "prune", second: "prune",
    }  # fmt: skip
    assert first in found.ancestors[second][1]
    # What is done when the task is submitted cannot be to blame.
    assert set(task(tmp_path, stages, [transfer], done=[pretrain, first]).ancestors) == {second}


def test_a_file_of_another_version_of_the_code_is_refused(tmp_path, stages, chain):
    task(tmp_path, stages, chain[:1])
    path = tmp_path / "elements.jsonl"
    path.write_text(path.read_text().replace('"seed":0', '"seed":1'))
    with pytest.raises(ValueError, match="was planned by another version of the code"):
        read_element(path, 0)


def test_with_its_inputs_there_everything_can_be_computed_at_once(tmp_path, stages, chain, store, pauses):
    finish(store, stages, *chain[:3])
    assert sort_out(task(tmp_path, stages, chain[3:]), store) == (chain[3:], {})
    assert pauses == []


def test_a_failed_ancestor_is_named_with_its_error_and_log_and_not_waited_for(tmp_path, stages, chain, store, pauses):
    pretrain, first, second, transfer, evaluation = chain
    finish(store, stages, pretrain)
    store.fail(stages[first], {"error": "Diverged: loss is nan"})
    runnable, blocked = sort_out(task(tmp_path, stages, [transfer, evaluation], done=[pretrain]), store)
    assert runnable == []
    assert blocked == {
        transfer: f"waits for ticket {second}; prune {first} failed: Diverged: loss is nan (log: {store.log(first)})",
        evaluation: f"waits for transfer {transfer}, which is blocked",
    }
    assert pauses == []


def test_the_nearest_failed_ancestor_is_to_blame(tmp_path, stages, chain, store, pauses):
    pretrain, _, second, transfer, _ = chain
    found = task(tmp_path, stages, [transfer])
    store.fail(stages[pretrain], {"error": "an old one"})
    assert f"; pretrain {pretrain} failed: an old one" in sort_out(found, store)[1][transfer]
    store.fail(stages[second], {"error": "its own"})
    assert f"; prune {second} failed: its own" in sort_out(found, store)[1][transfer]


def test_what_does_not_need_the_missing_input_is_computed(tmp_path, stages, chain, store, pauses):
    pretrain, first, *_ = chain
    dense = next(
        key for key, stage in stages.items() if stage.kind == "transfer" and all(s == pretrain for _, s in stage.inputs)
    )
    finish(store, stages, pretrain)
    runnable, blocked = sort_out(task(tmp_path, stages, [chain[2], dense], done=[pretrain]), store)
    assert runnable == [dense]
    assert set(blocked) == {chain[2]}
    assert first in blocked[chain[2]]


def test_an_absence_that_nothing_explains_is_looked_at_again_a_few_times(tmp_path, stages, chain, store, pauses):
    _, blocked = sort_out(task(tmp_path, stages, chain[3:]), store)
    assert pauses == list(elements.LOOKS_S)
    absent = "it has not been computed (cancelled, or its task was lost); the continuation, or bench.submit, sees to it"
    assert blocked[chain[3]] == f"waits for ticket {chain[2]}; {absent}"


def test_however_many_inputs_are_missing_they_are_looked_for_together(tmp_path, write_grid, store, pauses):
    planned = plan(grid.read(write_grid({"pruner": ["dense"], "sparsity": [0.0], "seed": list(range(20))})))
    evaluations = [key for key, stage in planned.stages.items() if stage.kind == "evaluate"]
    found = task(tmp_path, planned.stages, evaluations)
    assert len(sort_out(found, store)[1]) == len(evaluations) == 20
    assert pauses == list(elements.LOOKS_S)


def test_an_artifact_that_shows_up_late_is_found(tmp_path, stages, chain, store, monkeypatch):
    """The file system shows the name on the second look."""
    looks = []

    def sleep(_seconds):
        looks.append(None)
        if len(looks) == 2:
            finish(store, stages, chain[2])

    monkeypatch.setattr(time, "sleep", sleep)
    # The transfer reads the dense weights too.
    finish(store, stages, chain[0])
    assert sort_out(task(tmp_path, stages, chain[3:], done=[chain[0]]), store) == (chain[3:], {})
    assert len(looks) == 2
