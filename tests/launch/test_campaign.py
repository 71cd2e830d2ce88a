"""What is left of a grid and what is submitted of it, against scripts that stand for SLURM's commands."""

import dataclasses
import json
import os
import pickle
from pathlib import Path

import pytest
import yaml

from bench import grid
from bench.launch import arrays, campaign, controller, observed, profile, records
from bench.launch.controller import Job, LimitReached, Limits
from bench.launch.observed import Slurm
from bench.launch.portions import PlannedArray
from bench.launch.records import Array
from bench.launch.resources import Resources
from bench.plan import plan
from bench.store import Store

LIMITS = Limits(1000, 10_000)
FAILURE = {"error": "ValueError: no", "cause": "exception", "job": "1"}


@pytest.fixture(scope="module")
def planned(tmp_path_factory, tiny):
    """pretrain -> omp 2, 8 and imp 1 .. 8 -> transfers -> evaluations, and the dense transfer."""
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(yaml.safe_dump(dict(tiny)))
    return plan(grid.read(path))


@dataclasses.dataclass(frozen=True)
class World:
    """A root, a submission over it, and SLURM's commands as scripts."""

    planned: object
    store: Store
    profile: profile.Profile
    submission: records.Submission
    slurm: object

    def keys(self, kind):
        return [key for key, stage in self.planned.stages.items() if stage.kind == kind]

    def finish(self, *keys):
        for key in keys:
            with self.store.publish(self.planned.stages[key], {}):
                pass

    def record(self, *elements, job="7", kind="transfer", submission=None):
        """An array on disk, as if submitted."""
        submission = submission or self.submission
        folder = submission.new_folder()
        array = Array(folder, f"{submission.folder.name}.{folder.name}", kind, job, controller.user(), elements)
        records.write_array(array)
        return array

    def queue(self, *listed):
        """squeue lists these elements: (array, index, state)."""
        lines = []
        for array, index, state in listed:
            own, index = (f"{array.job}{index}", index) if len(array.keys) > 1 else (array.job, "N/A")
            lines.append(f"{own}|{array.job}|{index}|{state}|None|0:00||{array.name}\n")
        self.slurm.answer("squeue", "".join(lines))

    def compose(self, leave=(), limits=LIMITS):
        asked = observed.ask(self.store.root)
        return campaign.compose(self.planned, self.profile, self.store, slurm=asked, limits=limits, leave=leave)

    def advance(self, *, person=True, note=lambda _: None, **more):
        return campaign.advance(
            self.submission, self.planned, self.profile, self.store, person=person, go_on=os.getcwd, note=note, **more
        )

    def dependencies(self):
        """Job -> what it waits for, of everything submitted."""
        found = {}
        for job, script in self.slurm.scripts().items():
            lines = [line for line in script.splitlines() if line.startswith("#SBATCH --dependency=")]
            found[job] = lines[0].partition("afterany:")[2].split(":") if lines else []
        return found


@pytest.fixture
def world(planned, tmp_path, fake_slurm, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    path = tmp_path / "profile.yaml"
    path.write_text("defaults: {gpus: 0, cpus: 1}")
    store = Store(tmp_path / "runs")
    submission = records.create(store.root, "tiny", {"data": str(tmp_path), "code": str(tmp_path)})
    return World(planned, store, profile.read(path), submission, fake_slurm)


def keys_of(order):
    return [key for array in order.arrays for keys in array.elements for key in keys]


def test_everything_is_left_at_first_each_stage_once(world):
    order = world.compose()
    assert sorted(keys_of(order)) == sorted(world.planned.stages)
    assert (order.total, order.later, order.live, order.done) == (len(world.planned.stages), 0, {}, frozenset())


def test_what_is_done_or_queued_is_not_left(world):
    (pretrain,), first = world.keys("pretrain"), world.keys("transfer")[0]
    world.finish(pretrain)
    array = world.record((first,), (pretrain,))
    world.queue((array, 0, "PENDING"), (array, 1, "RUNNING"))
    order = world.compose()
    assert set(world.planned.stages) - set(keys_of(order)) == {pretrain, first}
    # What is done is not waited for, though a task for it is queued.
    assert order.live == {first: "7_0"}
    readers = [one for one in order.arrays if one.live]
    assert [one.live for one in readers] == [("7_0",)]
    assert all(first in dict(world.planned.stages[key].inputs).values() for key in readers[0].elements[0])


def test_a_task_that_hangs_at_its_end_computes_nothing_more(world):
    first = world.keys("transfer")[0]
    array = world.record((first,))
    world.queue((array, 0, "COMPLETING"))
    order = world.compose()
    assert order.live == {}
    assert first in keys_of(order)


def test_what_is_left_alone_takes_its_descendants_along_and_nothing_else(world):
    stages = world.planned.stages
    guilty = next(key for key, stage in stages.items() if stage.kind == "prune" and dict(stage.inputs).get("previous"))
    descendants = {guilty}
    for key, stage in stages.items():
        if descendants & {source for _, source in stage.inputs}:
            descendants.add(key)
    order = world.compose(leave=[guilty])
    assert set(keys_of(order)) == set(stages) - descendants
    assert order.total == len(stages) - len(descendants)


@pytest.mark.parametrize(
    ("max_jobs", "job_count", "queued", "chosen"),
    [
        # One of the budget is the continuation's.
        (6, 10_000, 0, 5),
        (6, 10_000, 2, 3),
        # Half of what the controller tracks, whatever the profile says.
        (None, 10, 0, 4),
        (600, 10, 0, 4),
        (6, 10_000, 9, 0),
    ],
)
def test_a_budget_bounds_what_is_submitted_at_once(world, max_jobs, job_count, queued, chosen):
    world = dataclasses.replace(world, profile=dataclasses.replace(world.profile, max_jobs=max_jobs))
    foreign = records.create(world.store.root, "other", {})
    array = world.record(*((f"{i:016x}",) for i in range(queued)), ("f" * 16,), submission=foreign)
    world.queue(*((array, i, "PENDING") for i in range(queued)))
    order = world.compose(limits=Limits(1000, job_count))
    assert sum(len(array.elements) for array in order.arrays) == chosen
    assert order.later == order.total - len(keys_of(order)) > 0


def test_the_continuation_that_asks_does_not_count_as_queued(world, monkeypatch):
    world = dataclasses.replace(world, profile=dataclasses.replace(world.profile, max_jobs=2))
    array = world.record((), job="90", kind="continue")
    world.queue((array, 0, "RUNNING"))
    assert keys_of(world.compose()) == []
    monkeypatch.setenv("SLURM_JOB_ID", "90")
    assert len(world.compose().arrays) == 1


def element(*indices):
    return PlannedArray(kind="transfer", resources=Resources(gpus=0), elements=(("x",),), after=indices)


def test_dependencies_name_elements_or_the_whole_array_where_all_are_meant():
    three = PlannedArray(kind="pretrain", resources=Resources(gpus=0), elements=(("a",), ("b",), ("c",)))
    one = PlannedArray(kind="pretrain", resources=Resources(gpus=0), elements=(("d",),))
    made = [("50", three), ("51", one)]
    assert arrays.element_ids(element((0, 0), (0, 2)), made) == ["50_0", "50_2"]
    assert arrays.element_ids(element((0, 0), (0, 1), (0, 2), (1, 0)), made) == ["50", "51"]
    assert arrays.element_ids(element(), made) == []


def test_a_submission_queues_every_stage_behind_its_inputs_and_a_continuation_behind_all(world):
    found = world.advance()
    submitted = dict(found.arrays)
    assert sorted(key for array in submitted.values() for keys in array.elements for key in keys) == sorted(
        world.planned.stages
    )
    waits = world.dependencies()
    assert set(waits) == {*submitted, found.continuation}
    for job, array in submitted.items():
        assert waits[job] == arrays.element_ids(array, list(found.arrays))
    # Directly or through others the continuation waits for every array.
    reached, stack = set(), list(waits[found.continuation])
    while stack:
        job = stack.pop().partition("_")[0]
        if job not in reached:
            reached.add(job)
            stack.extend(waits[job])
    assert reached == set(submitted)


def test_records_hold_the_job_and_its_keys_under_a_name_that_is_slurms(world):
    found = world.advance()
    recorded = {array.job: array for array in world.submission.arrays()}
    assert set(recorded) == {*(job for job, _ in found.arrays), found.continuation}
    assert recorded[found.continuation].kind == "continue"
    for job, array in found.arrays:
        assert recorded[job].keys == array.elements
        assert f"#SBATCH --job-name={recorded[job].name}" in world.slurm.scripts()[job]
    assert len({array.name for array in recorded.values()}) == len(recorded)


def test_submitting_again_submits_nothing_while_all_is_queued(world):
    world.advance()
    world.queue(*((array, i, "PENDING") for array in world.submission.arrays() for i in range(len(array.keys))))
    before = world.slurm.calls("sbatch")
    again = dataclasses.replace(world, submission=records.create(world.store.root, "tiny", world.submission.about))
    found = again.advance()
    assert (found.arrays, found.continuation) == ((), "")
    assert world.slurm.calls("sbatch") == before


def test_work_that_only_another_grid_has_queued_is_seen_to_by_a_continuation_of_our_own(world):
    theirs = records.create(world.store.root, "other", {})
    array = world.record(*((key,) for key in world.planned.stages), job="40", submission=theirs)
    look = world.record((), job="41", kind="continue", submission=theirs)
    world.queue(*((array, i, "PENDING") for i in range(len(array.keys))), (look, 0, "PENDING"))
    found = world.advance()
    assert found.arrays == ()
    assert world.dependencies() == {found.continuation: ["40"]}


def test_with_more_to_come_the_continuation_looks_when_half_has_ended(world):
    world = dataclasses.replace(world, profile=dataclasses.replace(world.profile, max_jobs=9))
    found = world.advance()
    jobs = [job for job, _ in found.arrays]
    assert sum(len(array.elements) for _, array in found.arrays) == 8
    assert world.dependencies()[found.continuation] == jobs[: (len(jobs) + 1) // 2]


def fail(world, key, attempts, **changes):
    for _ in range(attempts):
        world.store.fail(world.planned.stages[key], {**FAILURE, **changes})


def submitted_keys(found):
    return {key for _, array in found.arrays for keys in array.elements for key in keys}


def test_a_person_retries_everything_a_continuation_leaves_alone_what_keeps_failing_or_was_cancelled(world):
    (pretrain,), transfers = world.keys("pretrain"), world.keys("transfer")
    world.finish(pretrain, *world.keys("prune"))
    fail(world, transfers[0], campaign.MAX_ATTEMPTS)
    fail(world, transfers[1], campaign.MAX_ATTEMPTS - 1)
    world.submission.cancel({transfers[2]})
    found = world.advance(person=False)
    assert submitted_keys(found) & set(transfers) == {transfers[1], *transfers[3:]}
    person = dataclasses.replace(world, submission=records.create(world.store.root, "tiny", world.submission.about))
    assert submitted_keys(person.advance()) >= set(transfers)


def test_errors_that_differ_are_not_a_failure_that_repeats(world):
    key = world.keys("pretrain")[0]
    for i in range(5):
        fail(world, key, 1, error=f"lost after epoch {i}")
    assert key in submitted_keys(world.advance(person=False))


def test_when_nothing_more_can_be_done_a_continuation_submits_nothing(world):
    fail(world, world.keys("pretrain")[0], campaign.MAX_ATTEMPTS)
    found = world.advance(person=False)
    assert (found.arrays, found.continuation, found.stopped) == ((), "", "")
    assert world.slurm.calls("sbatch") == []


def test_a_continuation_that_gets_nowhere_stops_and_one_that_gets_somewhere_does_not(world):
    for _ in range(campaign.MAX_FRUITLESS):
        assert world.advance(person=False).stopped == ""
    assert world.advance(person=False).stopped.startswith("nothing came further in 3 rounds")
    world.finish(world.keys("pretrain")[0])
    assert world.advance(person=False).stopped == ""


def test_a_long_stage_that_comes_further_in_every_round_is_progress(world):
    (pretrain,) = world.keys("pretrain")
    scratch = world.store.scratch(pretrain)
    scratch.mkdir(parents=True)
    for epoch in range(5):
        (scratch / "progress.json").write_text(json.dumps({"epoch": epoch, "epochs": 5, "time": 0}))
        assert not world.advance(person=False).stopped


def test_a_limit_that_only_a_refusal_shows_is_met_with_half_of_an_array(world, monkeypatch):
    def limited(submission, array, made, *rest):
        if len(array.elements) > 2:
            raise LimitReached("sbatch: error: QOSMaxSubmitJobPerUserLimit")
        return "50"

    monkeypatch.setattr(campaign, "submit_array", limited)
    wide = PlannedArray(kind="transfer", resources=Resources(), elements=tuple((str(i),) for i in range(9)))
    job, taken = campaign.submit_as_much(world.submission, wide, [], world.planned, world.profile, world.store, ())
    assert (job, taken.elements) == ("50", (("0",), ("1",)))


def test_rounds_in_which_other_jobs_fill_the_queue_do_not_count(world):
    world = dataclasses.replace(world, profile=dataclasses.replace(world.profile, max_jobs=2))
    foreign = records.create(world.store.root, "other", {})
    array = world.record(("f" * 16,), ("e" * 16,), job="40", submission=foreign)
    world.queue((array, 0, "RUNNING"), (array, 1, "RUNNING"))
    for _ in range(campaign.MAX_FRUITLESS + 2):
        found = world.advance(person=False)
        assert (found.arrays, found.stopped) == ((), "")
        assert world.dependencies()[found.continuation] == ["40"]
    world.queue()
    assert world.advance(person=False).arrays


def test_where_the_cluster_takes_no_more_the_rest_is_left_to_the_continuation(world, monkeypatch):
    notes, submit = [], campaign.submit_array

    def limited(submission, array, made, *rest):
        if len(made) == 2:
            raise LimitReached("sbatch: error: QOSMaxSubmitJobPerUserLimit")
        return submit(submission, array, made, *rest)

    monkeypatch.setattr(campaign, "submit_array", limited)
    found = world.advance(note=notes.append)
    assert len(found.arrays) == 2
    assert "the cluster takes no more jobs for now (sbatch: error: QOSMaxSubmitJobPerUserLimit)" in notes[0]
    assert world.dependencies()[found.continuation] == [found.arrays[0][0]]


def test_a_cluster_that_takes_nothing_of_a_user_with_an_empty_queue_is_an_error(world):
    world.slurm.fail("sbatch", "sbatch: error: QOSMaxSubmitJobPerUserLimit")
    with pytest.raises(LimitReached, match="QOSMaxSubmitJobPerUserLimit"):
        world.advance()
    assert len(world.slurm.calls("sbatch")) == 1
    # What was not submitted leaves no trace.
    assert world.submission.arrays() == []


def test_a_submitter_that_lost_its_lease_stops(world):
    answers = [True, True, False]
    found = world.advance(held=lambda: answers.pop(0))
    assert len(found.arrays) == 2
    assert found.stopped == "another submit took over; the rest is its business"


def test_without_an_answer_of_slurm_nothing_is_submitted(world):
    world.record(("a" * 16,))
    world.slurm.fail("squeue", "squeue: error: Invalid protocol version")
    with pytest.raises(controller.SlurmError, match=r"Invalid protocol version; nothing is submitted"):
        world.advance()
    assert world.slurm.calls("sbatch") == []


def test_losses_are_told_before_they_are_tried_again(world):
    (pretrain,), notes = world.keys("pretrain"), []
    world.record((pretrain,))
    log = world.store.log(pretrain)
    log.parent.mkdir(parents=True)
    log.write_text(f"2026-01-02 03:04:05 pretrain {pretrain} on n1 job 7\n")
    found = world.advance(note=notes.append)
    assert notes == [f"pretrain {pretrain}: its task ended without a word (attempt 1)"]
    assert pretrain in submitted_keys(found)


def test_a_task_gets_its_line_and_absolute_places(world, monkeypatch):
    monkeypatch.chdir(world.store.root.parent)
    relative = dataclasses.replace(world, store=Store(world.store.root.relative_to(world.store.root.parent)))
    found = relative.advance()
    job, array = next((job, array) for job, array in found.arrays if len(array.elements) > 1)
    folder = next(one.folder for one in world.submission.arrays() if one.job == job)
    for i, keys in enumerate(array.elements):
        task = pickle.loads((folder / f"{job}_{i}_submitted.pkl").read_bytes())
        number, offset = task.args
        line = json.loads((folder / "elements.jsonl").read_bytes()[offset:].splitlines()[0])
        assert (number, [stage["key"] for stage in line["stages"]]) == (i, list(keys))
        assert (task.function.root, task.function.folder) == (str(world.store.root), str(folder))


def test_a_submission_keeps_the_grid_the_profile_and_the_code_it_was_made_with(write_grid, tmp_path):
    path = write_grid()
    chosen = grid.read(path, ["seed=[1]"])
    (tmp_path / "profile.yaml").write_text("defaults: {gpus: auto, cpus: 3}")
    resolved = profile.with_gpus(profile.read(tmp_path / "profile.yaml"), available=True)
    found = campaign.begin(
        tmp_path / "runs", plan(chosen), resolved, grid_file=path, overrides=["seed=[1]"], only=["seed=1"],
        data=tmp_path / "data",
    )  # fmt: skip
    assert (found.folder / "grid.yaml").read_bytes() == path.read_bytes()
    assert profile.read(found.folder / "profile.yaml") == resolved
    assert found.about["overrides"] == ["seed=[1]"]
    assert (Path(found.about["code"]) / "bench" / "launch" / "campaign.py").exists()


def test_seen_to_knows_a_continuation_of_these_cells_that_is_not_the_one_that_asks(world, monkeypatch):
    about = {"overrides": [], "only": [], "data": "d", "code": "c"}
    ours = records.create(world.store.root, "tiny", about)
    others = [
        records.create(world.store.root, "tiny", {**about, "only": ["seed=1"]}),
        records.create(world.store.root, "other", about),
    ]

    def seen(submission, kind="continue", job="90"):
        array = Array(submission.folder, "x", kind, job, "ada", ((),))
        one = observed.Element(
            submission=submission, array=array, index=0, job=Job(job, "x", "PENDING", "", "0:00", "")
        )
        slurm = Slurm(submissions=(), elements=(one,), jobs={}, problem="", time=0.0)
        return campaign.seen_to(slurm, records.create(world.store.root, "tiny", about))

    assert seen(ours)
    assert [seen(other) for other in others] == [False, False]
    assert not seen(ours, kind="transfer")
    monkeypatch.setenv("SLURM_JOB_ID", "90")
    assert not seen(ours)
