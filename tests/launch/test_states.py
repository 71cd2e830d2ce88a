"""The state of every stage, from what was seen: literal evidence in, states out."""

import time
from pathlib import Path

import pytest
import yaml

from bench import grid
from bench.launch import states
from bench.launch.controller import Job
from bench.launch.observed import Element, Seen
from bench.launch.records import Array, Submission
from bench.plan import plan

NOW = 1_000_000.0
SUBMISSION = Submission(Path("slurm/tiny-1"), {"grid": "tiny", "user": "ada", "time": NOW - 500})


@pytest.fixture(scope="module")
def planned(tmp_path_factory, tiny):
    """pretrain -> imp round 1 -> imp round 2 -> transfer -> evaluate, beside the dense transfer and evaluate."""
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    path.write_text(yaml.safe_dump({**tiny, "pruner": ["imp"], "sparsity": {"rate": 0.2, "rounds": [2]}}))
    return plan(grid.read(path))


@pytest.fixture(scope="module")
def names(planned):
    """Short name -> key."""
    pretrain, *rest = planned.stages.values()
    rounds = {f"imp{stage.parameters.round}": stage.key for stage in rest if stage.kind == "prune"}
    dense, ticket = planned.cells
    return {
        "pretrain": pretrain.key,
        **rounds,
        "dense": dense.transfer,
        "dense accuracy": dense.evaluate[0],
        "ticket": ticket.transfer,
        "ticket accuracy": ticket.evaluate[0],
    }


def element(keys, state="PENDING", reason="Priority", elapsed="0:00", running=(), job="7_0", array_job="7"):
    """One element of an array of one; without `state` the queue does not list it."""
    array = Array(Path("slurm/tiny-1/000"), "tiny-1-000", "transfer", array_job, "ada", (tuple(keys), ()))
    listed = Job(job, array.name, state, reason, elapsed, "n1" if state == "RUNNING" else "") if state else None
    return Element(
        submission=SUBMISSION,
        array=array,
        index=0,
        job=listed,
        running=frozenset(running),
        host="n1" if running else "",
    )


def joined(planned, names, *, elements=(), done=(), failures=None, **seen):
    """Short name -> state, from evidence given in short names."""
    placed = {}
    for one in elements:
        for key in one.keys:
            placed.setdefault(key, []).append(one)
    found = states.join(
        planned,
        Seen(
            asked=NOW,
            elements=placed,
            done=frozenset(names[name] for name in done),
            failures={names[name]: record for name, record in (failures or {}).items()},
            **seen,
        ),
    )
    return {name: found[key] for name, key in names.items()}


def test_without_any_evidence_every_stage_is_missing(planned, names):
    assert {state.name for state in joined(planned, names).values()} == {"missing"}


def test_stages_that_nothing_left_reads_count_as_done(planned, names):
    found = joined(planned, names, done=["dense accuracy"])
    assert found["dense"].name == "done"
    assert found["dense"].reason.startswith("no longer needed")
    assert found["pretrain"].name == "missing"


def test_a_queued_stage_has_the_reason_of_slurm_and_those_that_read_it_wait(planned, names):
    keys = [names["pretrain"], names["dense"], names["dense accuracy"]]
    found = joined(planned, names, elements=[element(keys, reason="Resources")])
    assert (found["pretrain"].name, found["pretrain"].reason, found["pretrain"].job) == ("queued", "Resources", "7_0")
    assert (found["dense"].name, found["dense"].reason) == ("waiting", f"pretrain {names['pretrain']} is queued")
    assert found["dense accuracy"].name == "waiting"
    assert found["imp1"].name == "missing"


def test_a_stage_with_its_inputs_waits_while_slurm_holds_its_task_for_others(planned, names):
    found = joined(planned, names, done=["pretrain"], elements=[element([names["dense"]], reason="Dependency")])
    assert (found["dense"].name, found["dense"].reason) == ("waiting", "Dependency")


def test_a_job_that_slurm_holds_or_has_not_looked_at_is_queued(planned, names):
    held = joined(planned, names, elements=[element([names["pretrain"]], state="REQUEUE_HOLD", reason="x")])
    fresh = joined(planned, names, elements=[element([names["pretrain"]], reason="None")])
    assert (held["pretrain"].name, held["pretrain"].reason) == ("queued", "REQUEUE_HOLD")
    assert (fresh["pretrain"].name, fresh["pretrain"].reason) == ("queued", "")


def test_a_running_task_runs_the_stages_that_it_names_and_holds_the_others(planned, names):
    keys = [names["pretrain"], names["dense"], names["imp1"]]
    running = element(keys, state="RUNNING", elapsed="1:00", running=[names["dense"]])
    progress = {"epoch": 3, "epochs": 10, "time": NOW - 1}
    found = joined(planned, names, done=["pretrain"], elements=[running], progress={names["dense"]: progress})
    assert (found["dense"].name, found["dense"].node, found["dense"].job) == ("running", "n1", "7_0")
    assert found["dense"].progress == progress
    assert (found["imp1"].name, found["imp1"].reason, found["imp1"].node) == ("queued", "next in a running task", "n1")


def test_of_two_tasks_that_hold_a_stage_the_one_that_runs_counts(planned, names):
    pending = element([names["pretrain"]], job="7_0")
    running = element([names["pretrain"]], state="RUNNING", running=[names["pretrain"]], job="8_0")
    assert joined(planned, names, elements=[pending, running])["pretrain"].job == "8_0"
    started = element([names["pretrain"]], state="RUNNING", job="8_0")
    assert joined(planned, names, elements=[pending, started])["pretrain"].reason == "next in a running task"


def test_a_failure_blocks_what_descends_from_it_and_names_itself(planned, names):
    failure = {"error": "ValueError: no", "cause": "exception", "attempts": 2, "time": NOW - 100}
    found = joined(planned, names, done=["pretrain", "dense"], failures={"imp1": failure})
    assert (found["imp1"].name, found["imp1"].reason, found["imp1"].failure) == ("failed", "ValueError: no", failure)
    for name in ("imp2", "ticket", "ticket accuracy"):
        assert (found[name].name, found[name].ancestor) == ("blocked", names["imp1"])
    assert found["dense accuracy"].name == "missing"


def test_blocked_wins_over_a_place_in_the_queue(planned, names):
    failure = {"error": "ValueError: no", "time": NOW - 100}
    waits = element([names["imp2"]], reason="Dependency")
    found = joined(planned, names, done=["pretrain"], failures={"imp1": failure}, elements=[waits])
    assert found["imp2"].name == "blocked"


def test_a_failed_stage_that_is_queued_again_is_queued_with_its_failure(planned, names):
    failure = {"error": "ValueError: no", "time": NOW - 100}
    again = element([names["imp1"]], reason="Priority")
    found = joined(planned, names, done=["pretrain"], failures={"imp1": failure}, elements=[again])
    assert (found["imp1"].name, found["imp1"].failure) == ("queued", failure)
    assert found["imp2"].name == "missing"


@pytest.mark.parametrize(("elapsed", "name"), [("2:00", "failed"), ("0:30", "queued"), ("1-00:00:00", "failed")])
def test_a_failure_stands_while_the_task_in_which_it_happened_runs_on(planned, names, elapsed, name):
    """100 s ago: in the run of a task that started 120 s ago, before the run of one that started 30 s ago."""
    failure = {"error": "ValueError: no", "time": NOW - 100}
    running = element([names["imp1"]], state="RUNNING", elapsed=elapsed)
    found = joined(planned, names, done=["pretrain"], failures={"imp1": failure}, elements=[running])
    assert found["imp1"].name == name


def test_done_wins_over_everything(planned, names):
    failure = {"error": "ValueError: no", "time": NOW}
    running = element([names["pretrain"]], state="RUNNING", running=[names["pretrain"]])
    found = joined(
        planned, names, done=["pretrain"], failures={"pretrain": failure}, elements=[running],
        cancelled=frozenset(names.values()),
    )  # fmt: skip
    assert found["pretrain"].name == "done"
    assert found["dense"].name == "cancelled"


def test_what_was_cancelled_and_is_still_in_the_queue_is_not_cancelled_yet(planned, names):
    found = joined(planned, names, elements=[element([names["pretrain"]])], cancelled=frozenset(names.values()))
    assert found["pretrain"].name == "queued"
    assert found["imp1"].name == "cancelled"
    ending = element([names["pretrain"]], state="COMPLETING")
    assert (
        joined(planned, names, elements=[ending], cancelled=frozenset(names.values()))["pretrain"].name == "cancelled"
    )
    assert joined(planned, names, elements=[ending])["pretrain"].name == "queued"


def test_a_stage_that_left_the_queue_with_no_trace_is_unknown(planned, names):
    found = joined(planned, names, elements=[element([names["pretrain"]], state=None)])
    assert (found["pretrain"].name, found["pretrain"].job) == ("unknown", "7_0")
    assert found["pretrain"].reason == "its task left the queue with neither a result nor a failure"
    unconfirmed = joined(planned, names, elements=[element([names["pretrain"]], state=None, array_job=None)])
    assert unconfirmed["pretrain"].reason == "it is not known whether its submission succeeded"


def test_without_an_answer_of_slurm_what_was_submitted_is_unknown_whatever_the_files_say(planned, names):
    progress = {"epoch": 3, "epochs": 10, "time": NOW - 1}
    failure = {"error": "ValueError: no", "time": NOW - 100}
    found = joined(
        planned, names, done=["pretrain"], failures={"imp1": failure}, progress={names["dense"]: progress},
        elements=[element([names["dense"]], state=None)], answered=False,
    )  # fmt: skip
    assert (found["dense"].name, found["dense"].reason) == ("unknown", "SLURM gave no answer")
    assert found["dense"].progress == progress
    # These are on disk, and need no SLURM.
    assert [found[name].name for name in ("pretrain", "imp1", "imp2", "dense accuracy")] == [
        "done", "failed", "blocked", "missing",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "failed", "name"),
    [
        (NOW - 10, None, "running"),
        (NOW - 60, None, "missing"),
        (NOW - 10, NOW - 5, "failed"),
        (NOW - 10, NOW - 90, "running"),
    ],
)
def test_a_local_run_runs_the_stages_whose_progress_it_writes(planned, names, written, failed, name):
    """It started 50 s ago: what was written before is not its own, and what failed after its last word has ended."""
    failures = {"pretrain": {"error": "ValueError: no", "time": failed}} if failed else {}
    local = {"grid": "tiny", "pid": 1, "host": "here", "since": time.strftime("%F %T"), "started": NOW - 50}
    progress = {names["pretrain"]: {"epoch": 1, "epochs": 2, "time": written}}
    found = joined(planned, names, failures=failures, progress=progress, local=local)
    assert found["pretrain"].name == name
    assert joined(planned, names, failures=failures, progress=progress)["pretrain"].name != "running"
