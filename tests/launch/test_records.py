"""What was submitted, on disk: advisory, so that nothing unreadable in it stops anybody."""

import json
import os
import subprocess
import sys
import time

import pytest

from bench.launch import controller, records
from bench.launch.controller import Job
from bench.launch.records import Array
from bench.store import StoreError


@pytest.fixture
def submission(tmp_path):
    return records.create(tmp_path / "runs", "tiny", {"only": ["seed=1"]})


def an_array(submission, *keys, job="7", name="tiny.transfer.1.000"):
    array = Array(submission.new_folder(), name, "transfer", job, "ada", keys)
    records.write_array(array)
    return array


def a_job(found, name, state="PENDING"):
    return Job(found, name, state, "None", "0:00", "")


def test_a_submission_is_read_as_it_was_written(submission):
    found = records.read(submission.folder)
    assert found == submission
    assert (found.grid, found.about["only"], found.about["user"]) == ("tiny", ["seed=1"], controller.user())
    assert time.time() - found.about["time"] < 60


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2, "grid": "tiny"}'])
def test_what_is_no_submission_is_passed_over(submission, text):
    (submission.folder / "submission.json").write_text(text)
    assert records.read(submission.folder) is None
    assert records.submissions(submission.folder.parents[1]) == []


def test_submissions_are_told_oldest_first(tmp_path):
    made = [records.create(tmp_path, name, {"time": when}) for name, when in (("b", 2.0), ("a", 3.0), ("c", 1.0))]
    assert records.submissions(tmp_path) == [made[2], made[0], made[1]]
    assert records.submissions(tmp_path / "elsewhere") == []


def test_a_root_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="runs cannot be written"):
        records.create(tmp_path / "runs", "tiny", {})


def test_arrays_are_read_as_they_were_written_in_the_order_of_submission(submission):
    first = an_array(submission, ("a", "b"), ("c",))
    second = an_array(submission, ("d",), job=None)
    assert submission.arrays() == [first, second]
    assert [array.folder.name for array in submission.arrays()] == ["000", "001"]


def test_an_element_is_named_as_slurm_names_it(submission):
    several, single = an_array(submission, ("a",), ("b",)), an_array(submission, ("c",), job="9")
    assert [several.id(0), several.id(1), single.id(0)] == ["7_0", "7_1", "9"]


@pytest.mark.parametrize("text", ["", '{"name": "x"}', '{"keys": 3}', "null"])
def test_a_record_that_cannot_be_read_is_passed_over(submission, text):
    array = an_array(submission, ("a",))
    (array.folder / "array.json").write_text(text)
    assert submission.arrays() == []


def test_settled_and_discarded_arrays_are_not_told_again(submission):
    arrays = [an_array(submission, (key,)) for key in "abcd"]
    submission.settle(["000"])
    submission.settle([])
    submission.settle(["002"])
    records.discard(arrays[3])
    assert submission.arrays() == [arrays[1]]
    # Folders are numbered on, so that no name comes twice.
    assert submission.new_folder().name == "003"


def test_cancelled_keys_add_up(submission):
    assert submission.cancelled() == set()
    submission.cancel({"a", "b"})
    submission.cancel({"c"})
    assert submission.cancelled() == {"a", "b", "c"}
    assert json.loads((submission.folder / "cancelled.json").read_text()) == ["a", "b", "c"]


def test_work_in_the_queue_is_recognised_by_its_unique_name_not_by_its_id(submission):
    array = an_array(submission, ("a",), ("b",), name="tiny.transfer.1.000")
    # The submitter died before it could write the id.
    nameless = an_array(submission, ("c",), job=None, name="tiny.prune.1.001")
    jobs = [
        a_job("8_1", "tiny.transfer.1.000"),
        a_job("9", "tiny.prune.1.001"),
        # The id that was ours is another's since the controller lost its state.
        a_job("7_0", "somebody else's"),
    ]
    found = list(records.queued([array, nameless], {job.id: job for job in jobs}))
    assert found == [(array, 1, jobs[0]), (nameless, 0, jobs[1])]


def test_an_index_beyond_the_array_is_not_ours(submission):
    array = an_array(submission, ("a",), ("b",))
    job = a_job("7_2", array.name)
    assert list(records.queued([array], {job.id: job})) == []


def test_a_reader_sees_the_old_record_or_the_new_one_while_it_is_written(submission):
    """Another process rewrites the record as fast as it can; every look finds a whole one."""
    array = an_array(submission, *((str(i) * 16,) for i in range(200)))
    text = (
        "import sys; from pathlib import Path; from bench.launch import records\n"
        "array = records.read_array(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "for _ in range(200): records.write_array(array)"
    )
    argv = [sys.executable, "-c", text, str(array.folder / "array.json")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert process.stdout.readline() == "ready\n"
    looks = 0
    while process.poll() is None:
        assert submission.arrays() == [array]
        looks += 1
    process.stdout.close()
    assert process.returncode == 0
    assert looks > 3
