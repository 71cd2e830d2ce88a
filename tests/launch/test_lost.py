"""Stages whose task ended without a word are found once, with the cause that SLURM or their log gives."""

import dataclasses
import time
from pathlib import Path

import pytest
import yaml

from bench import grid
from bench.launch import lost, observed, records
from bench.launch.records import Array
from bench.launch.task import ENDED
from bench.plan import plan
from bench.store import Store, write_json

NAME = "tiny.transfer.0a1b2c3d.000"


@pytest.fixture(scope="module")
def stages(tmp_path_factory, tiny):
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(yaml.safe_dump(dict(tiny)))
    return plan(grid.read(path)).stages


@dataclasses.dataclass(frozen=True)
class World:
    """A submission of one array, job 7, with these keys by element; SLURM's commands are scripts."""

    stages: dict
    store: Store
    submission: records.Submission
    array: Array
    slurm: object

    def settle(self):
        return lost.settle(observed.ask(self.store.root), self.store, self.stages)

    def begin(self, key, job, *, host="n1", then=""):
        """What the log of a stage holds when a job began it, and what came then."""
        log = self.store.log(key)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"2026-01-02 03:04:05 transfer {key} on {host} job {job}\n{then}\n")

    def task_said(self, job, text):
        (self.array.folder / f"{job}_0_log.out").write_text(text)

    def queue(self, *elements, state="RUNNING"):
        lines = [f"7{i}|7|{i}|{state}|None|1:00|n1|{NAME}\n" for i in elements]
        self.slurm.answer("squeue", "".join(lines))

    def unsettle(self):
        (self.submission.folder / "settled.json").unlink(missing_ok=True)


@pytest.fixture
def keys(stages):
    """Four transfers."""
    return [key for key, stage in stages.items() if stage.kind == "transfer"][:4]


@pytest.fixture
def world(stages, keys, tmp_path, fake_slurm):
    store = Store(tmp_path / "runs")
    submission = records.create(store.root, "tiny", {})
    array = Array(submission.new_folder(), NAME, "transfer", "7", "ada", ((keys[0], keys[1]), (keys[2],)))
    records.write_array(array)
    return World(stages, store, submission, array, fake_slurm)


def test_what_was_begun_and_neither_ended_nor_stopped_is_lost(world, keys):
    world.begin(keys[0], "7_0")
    assert world.settle() == [keys[0]]
    failure = world.store.failure(keys[0])
    assert time.time() - failure.pop("time") < 60
    assert failure.pop("stage")["key"] == keys[0]
    assert failure == {
        "error": "its task ended without a word", "cause": "lost", "host": "n1", "job": "7_0", "attempts": 1,
    }  # fmt: skip
    # keys[1], in the same task, and keys[2] were never begun.
    assert [world.store.failure(key) for key in keys[1:3]] == [None, None]


def test_a_loss_is_recorded_once(world, keys):
    world.begin(keys[0], "7_0")
    assert world.settle() == [keys[0]]
    assert world.settle() == []
    # Not even when the note that the array is settled is lost.
    world.unsettle()
    assert world.settle() == []
    assert world.store.failure(keys[0])["attempts"] == 1


def test_nothing_is_settled_while_a_task_of_the_array_is_queued(world, keys):
    world.begin(keys[0], "7_0")
    world.queue(1)
    assert world.settle() == []
    assert len(world.submission.arrays()) == 1
    world.queue()
    assert world.settle() == [keys[0]]
    assert world.submission.arrays() == []


def test_what_is_done_stopped_in_order_or_failed_with_a_word_is_not_lost(world, keys):
    world.begin(keys[0], "7_0", then=ENDED)
    world.begin(keys[1], "7_0")
    world.store.fail(world.stages[keys[1]], {"error": "ValueError: no", "job": "7_0"})
    world.begin(keys[2], "7_1")
    with world.store.publish(world.stages[keys[2]], {}):
        pass
    assert world.settle() == []
    assert world.store.failure(keys[1])["error"] == "ValueError: no"


def test_a_stop_or_failure_of_an_earlier_run_does_not_excuse_the_last(world, keys):
    world.begin(keys[0], "7_0", then=ENDED)
    world.begin(keys[0], "7_0", host="n2")
    world.store.fail(world.stages[keys[2]], {"error": "ValueError: no", "job": "3_1"})
    world.begin(keys[2], "7_1")
    assert world.settle() == [keys[0], keys[2]]
    assert [world.store.failure(key)["host"] for key in (keys[0], keys[2])] == ["n2", "n1"]


def test_what_another_job_began_meanwhile_is_not_this_arrays_loss(world, keys):
    world.begin(keys[0], "7_0")
    world.begin(keys[0], "12_4")
    assert world.settle() == []


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        ("OUT_OF_MEMORY", "host memory"),
        ("TIMEOUT", "time-out"),
        ("NODE_FAIL", "node"),
        ("FAILED", "lost"),
        ("COMPLETED", "lost"),
    ],
)
def test_accounting_explains_a_loss(world, keys, state, cause):
    world.begin(keys[0], "7_0")
    world.slurm.answer("sacct", f"7_0|{state}\n7_1|COMPLETED\n")
    assert world.settle() == [keys[0]]
    assert world.store.failure(keys[0])["cause"] == cause


@pytest.mark.parametrize("state", ["CANCELLED by 1000", "PREEMPTED"])
def test_what_was_cancelled_or_preempted_is_no_failure(world, keys, state):
    world.begin(keys[0], "7_0")
    world.slurm.answer("sacct", f"7_0|{state}\n")
    assert world.settle() == []
    assert world.store.failure(keys[0]) is None
    assert world.submission.arrays() == []


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have been OOM Killed.", "host memory"),
        ("slurmstepd: error: *** STEP 7.0 ON n1 CANCELLED AT 2026-01-02T03:04:05 DUE TO TIME LIMIT ***", "time-out"),
        ("slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-02T03:04:05 DUE TO NODE FAILURE, SEE ... ***", "node"),
        ("srun: error: n1: task 0: Killed", "lost"),
    ],
)  # fmt: skip
def test_without_accounting_the_log_of_the_task_explains_a_loss(world, keys, said, cause):
    world.begin(keys[0], "7_0")
    world.task_said("7_0", f"Starting\n{said}\n")
    world.slurm.fail("sacct", "Slurm accounting storage is disabled")
    assert world.settle() == [keys[0]]
    assert world.store.failure(keys[0])["cause"] == cause


def test_the_last_word_of_a_tasks_log_counts(world, keys):
    """It was killed for its memory, resumed elsewhere, and preempted there."""
    world.begin(keys[0], "7_0")
    preempted = "*** STEP 7.0 ON n1 CANCELLED AT 2026-01-02T03:04:05 DUE TO PREEMPTION ***"
    world.task_said("7_0", f"Detected 1 oom_kill event\nStarting\n{preempted}\n")
    assert world.settle() == []
    world.unsettle()
    world.task_said("7_0", f"{preempted}\nStarting\nDetected 1 oom_kill event\n")
    assert world.settle() == [keys[0]]
    assert world.store.failure(keys[0])["error"] == "its task was killed for its memory; give more memory_gb"


def test_what_bench_cancel_took_out_is_no_failure(world, keys):
    world.begin(keys[0], "7_0")
    world.begin(keys[2], "7_1")
    world.submission.cancel({keys[0]})
    assert world.settle() == [keys[2]]


def test_an_array_of_one_element_is_known_by_its_job(world, keys):
    array = dataclasses.replace(
        world.array, folder=world.submission.new_folder(), name="tiny.x", job="9", keys=((keys[3],),)
    )
    records.write_array(array)
    world.begin(keys[3], "9")
    (array.folder / "9_0_log.out").write_text("DUE TO TIME LIMIT")
    assert world.settle() == [keys[3]]
    assert (world.store.failure(keys[3])["job"], world.store.failure(keys[3])["cause"]) == ("9", "time-out")


def test_arrays_with_stages_of_other_grids_are_left_to_those(world, keys):
    world.begin(keys[0], "7_0")
    world.begin(keys[2], "7_1")
    mine = {key: stage for key, stage in world.stages.items() if key != keys[2]}
    slurm = observed.ask(world.store.root)
    assert lost.settle(slurm, world.store, mine) == [keys[0]]
    assert len(world.submission.arrays()) == 1
    assert world.settle() == [keys[2]]
    assert world.submission.arrays() == []


def lose_again(world, key, job, epoch=None):
    """The stage is lost once more, in another array, after it had reached an epoch."""
    array = dataclasses.replace(
        world.array, folder=world.submission.new_folder(), name=f"n{job}", job=job, keys=((key,),)
    )
    records.write_array(array)
    world.begin(key, job)
    if epoch is not None:
        world.store.scratch(key).mkdir(parents=True, exist_ok=True)
        write_json(world.store.scratch(key) / "progress.json", {"epoch": epoch, "epochs": 9})
    assert key in world.settle()
    return world.store.failure(key)


def test_losses_at_the_same_point_add_up_and_progress_resets_them(world, keys):
    key = keys[3]
    assert [lose_again(world, key, job)["attempts"] for job in ("20", "21")] == [1, 2]
    assert lost.exhausted(world.store, keys, 3) == set()
    assert lose_again(world, key, "22")["attempts"] == 3
    assert lost.exhausted(world.store, keys, 3) == {key}
    further = lose_again(world, key, "23", epoch=2.0)
    assert (further["error"], further["attempts"]) == ("its task ended without a word after epoch 2 of 9", 1)
    assert lose_again(world, key, "24", epoch=2.0)["attempts"] == 2
    assert lose_again(world, key, "25", epoch=4.5)["attempts"] == 1
    assert lost.exhausted(world.store, keys, 3) == set()


def test_a_record_whose_submitter_died_is_settled_without_a_word(world, keys):
    nameless = dataclasses.replace(world.array, job=None)
    records.write_array(nameless)
    world.begin(keys[0], "7_0")
    assert world.settle() == []
    assert world.submission.arrays() == []
    assert Path(world.submission.folder / "settled.json").exists()
