import pytest

from bench import grid
from bench.launch.schedule import Schedule
from bench.plan import plan


@pytest.fixture
def planned(write_grid):
    return plan(grid.read(write_grid({"sparsity": {"rate": 0.2, "rounds": [0, 1, 2]}})))


def make(planned, done=()):
    return Schedule.make(planned.stages, [key for cell in planned.cells for key in cell.evaluate], set(done))


def run_out(schedule, fail=lambda stage: False):
    """Run stage by stage; the keys in the order they were started."""
    order = []
    while (stage := schedule.next()) is not None:
        order.append(stage.key)
        schedule.fail(stage.key, "broken") if fail(stage) else schedule.finish(stage.key)
    return order


def test_every_stage_starts_once_after_its_inputs(planned):
    schedule = make(planned)
    order = run_out(schedule)
    assert sorted(order) == sorted(planned.stages)
    position = {key: i for i, key in enumerate(order)}
    for key, stage in planned.stages.items():
        assert all(position[source] < position[key] for _, source in stage.inputs)
    assert schedule.left == 0


def test_what_others_wait_for_comes_first(planned):
    schedule = make(planned)
    first = schedule.next()
    assert first is not None
    assert first.kind == "pretrain"
    assert schedule.next() is None
    schedule.finish(first.key)
    kinds = [schedule.next().kind for _ in range(4)]
    # Two OMP masks, the first IMP round, and only then the dense network's transfer.
    assert kinds == ["prune", "prune", "prune", "transfer"]


def test_a_failure_blocks_its_descendants_only(planned):
    schedule = make(planned)
    order = run_out(schedule, fail=lambda stage: stage.kind == "prune" and str(stage.parameters.pruner) == "imp")
    # Dense and two OMP curves are complete: 3 transfers, 3 evaluations; IMP's first round failed.
    assert [planned.stages[key].kind for key in order].count("evaluate") == 3
    assert len(schedule.failed) == 1
    # The second round, and two transfers with their evaluations.
    assert len(schedule.blocked) == 1 + 2 + 2
    assert schedule.left == 0


def test_done_stages_are_not_started(planned):
    done = {key for key, stage in planned.stages.items() if stage.kind in ("pretrain", "prune")}
    assert {planned.stages[key].kind for key in run_out(make(planned, done))} == {"transfer", "evaluate"}


def test_a_lost_artifact_is_computed_again_before_its_reader(planned):
    done = {key for key, stage in planned.stages.items() if stage.kind == "pretrain"}
    schedule = make(planned, done)
    reader = schedule.next()
    assert reader is not None
    (pretrain,) = done
    schedule.lost(pretrain)
    schedule.again(reader.key)
    order = run_out(schedule)
    assert order.count(pretrain) == 1
    assert order.index(pretrain) < order.index(reader.key)
    assert schedule.left == 0


def test_a_returned_stage_starts_again(planned):
    schedule = make(planned)
    stage = schedule.next()
    assert stage is not None
    schedule.again(stage.key)
    assert schedule.next() is stage
