"""SLURM's answers, as its commands print them (22.05), and what is done about those that are none."""

import os
import pwd
import time

import pytest

from bench.launch import controller
from bench.launch.controller import Job, Limits, SlurmError

SQUEUE = """\
4242|4242|0|RUNNING|None|1:02:03|gpu[01-02]|resnet50.transfer.0a1b2c3d.004
4250|4242|17|PENDING|Dependency|0:00||resnet50.transfer.0a1b2c3d.004
4300|4300|N/A|PENDING|QOSMaxJobsPerUserLimit|0:00||resnet50.continue.0a1b2c3d.005
4301|4301|N/A|COMPLETING|None|2-03:04:05|n7|a name | with bars
4302|4302|N/A|COMPLETED|None|0:01|n7|over
"""
CONFIG = """\
Configuration data as of 2026-01-01T00:00:00
MaxArraySize            = 1001
MaxDBDMsgs              = 20012
MaxJobCount             = 10000
MaxJobId                = 67043328
SchedulerParameters     = {parameters}
SlurmctldParameters     = (null)
"""
SACCT = """\
4242_0|COMPLETED
4242_1|OUT_OF_MEMORY
4242_2|CANCELLED by 1000
4242_[3-9]|PENDING
4300|TIMEOUT
"""


def test_every_element_of_the_queue_is_a_job(fake_slurm):
    fake_slurm.answer("squeue", SQUEUE)
    assert controller.jobs(["ada", "bob", "ada"]) == {
        "4242_0": Job("4242_0", "resnet50.transfer.0a1b2c3d.004", "RUNNING", "None", "1:02:03", "gpu[01-02]"),
        "4242_17": Job("4242_17", "resnet50.transfer.0a1b2c3d.004", "PENDING", "Dependency", "0:00", ""),
        "4300": Job("4300", "resnet50.continue.0a1b2c3d.005", "PENDING", "QOSMaxJobsPerUserLimit", "0:00", ""),
        "4301": Job("4301", "a name | with bars", "COMPLETING", "None", "2-03:04:05", "n7"),
    }
    assert fake_slurm.calls("squeue") == ["squeue -a -r -h -u ada,bob -o %A|%F|%K|%T|%r|%M|%N|%j"]


@pytest.mark.parametrize("line", ["", "slurm_load_jobs error", "1|2|3"])
def test_other_lines_are_no_jobs(line):
    assert controller.parse_job(line) is None


@pytest.mark.parametrize(
    ("parameters", "limits"),
    [
        ("(null)", Limits(1000, 10_000)),
        ("bf_continue,max_array_tasks=200,defer", Limits(200, 10_000)),
        ("max_array_tasks=5000", Limits(1000, 10_000)),
        ("max_array_tasks=0", Limits(1000, 10_000)),
    ],
)
def test_the_index_of_an_array_stays_below_the_controllers_limit(fake_slurm, parameters, limits):
    fake_slurm.answer("scontrol", CONFIG.format(parameters=parameters))
    assert controller.limits() == limits


def test_without_a_word_on_limits_those_of_slurm_hold():
    assert controller.parse_limits("") == Limits(1000, 10_000)
    assert controller.parse_limits("MaxArraySize = 0\nMaxJobCount = 50") == Limits(1, 50)


def test_accounting_says_what_became_of_single_elements(fake_slurm):
    fake_slurm.answer("sacct", SACCT)
    assert controller.accounting(["4242_1", "4242_0", "4300"]) == {
        "4242_0": "COMPLETED",
        "4242_1": "OUT_OF_MEMORY",
        "4242_2": "CANCELLED",
        "4242_[3-9]": "PENDING",
        "4300": "TIMEOUT",
    }
    assert fake_slurm.calls("sacct") == ["sacct -X -n -P -o JobID,State -j 4242,4300"]


def test_accounting_that_is_off_or_not_installed_is_no_error(fake_slurm, monkeypatch, tmp_path):
    fake_slurm.fail("sacct", "Slurm accounting storage is disabled")
    assert controller.accounting(["7_0"]) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert controller.accounting(["7_0"]) == {}
    assert controller.accounting([]) == {}


@pytest.mark.parametrize(
    ("said", "transient", "limit"),
    [
        ("squeue: error: slurm_receive_msgs: [[n1]:6817] failed: Socket timed out on send/recv operation", True, False),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", True, False),
        ("sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received", True, False),
        # MaxJobCount: sbatch has tried for two minutes; passing, but where it does not pass a limit.
        ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", True, True),
        ("sbatch: error: AssocMaxSubmitJobLimit", False, True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", False, True),
        (
            "Batch job submission failed: Job violates accounting/QOS policy "
            "(job submit limit, user's size and/or time limits)",
            False,
            True,
        ),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination", False, False),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", False, False),
        ("sbatch: error: Batch job submission failed: Invalid job array specification", False, False),
    ],
)
def test_failures_that_pass_and_limits_are_told_from_mistakes(said, transient, limit):
    assert (controller.transient(said), controller.limit(said)) == (transient, limit)


def test_a_passing_failure_is_tried_again_with_growing_pauses(monkeypatch):
    pauses, seen, answers = [], [], [SlurmError("Socket timed out"), SlurmError("Connection refused"), None]
    monkeypatch.setattr(time, "sleep", pauses.append)

    def call():
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "well"

    assert controller.retried(call, between=seen.append) == "well"
    assert (pauses, seen) == ([1.0, 2.0], ["Socket timed out", "Connection refused"])


def test_a_mistake_is_not_tried_again_and_patience_ends(monkeypatch):
    tried = []
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))

    def call(text):
        tried.append(text)
        raise SlurmError(text)

    with pytest.raises(SlurmError, match="Invalid account"):
        controller.retried(lambda: call("Invalid account"))
    with pytest.raises(SlurmError, match="Socket timed out"):
        controller.retried(lambda: call("Socket timed out"), patience_s=0.5)
    assert len(tried) == 2


def test_a_command_that_fails_is_named_with_what_it_said(fake_slurm):
    fake_slurm.fail("scontrol", "slurm_load_ctl_conf error: Invalid protocol version")
    with pytest.raises(SlurmError) as error:
        controller.command("scontrol", "show", "config")
    assert str(error.value) == "`scontrol show config` failed: slurm_load_ctl_conf error: Invalid protocol version"


def test_a_machine_without_slurm_is_told_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not controller.available()
    with pytest.raises(SlurmError, match="scontrol is not on PATH; run this on a login node, or give --cluster local"):
        controller.command("scontrol", "show", "config")


def test_a_command_that_hangs_counts_as_a_passing_failure(fake_slurm):
    (fake_slurm.folder / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(SlurmError) as error:
        controller.command("squeue", timeout_s=0.2)
    assert controller.transient(str(error.value))


SHOWN = """\
JobId=71 ArrayJobId=70 ArrayTaskId=1 JobName=tiny.transfer.0a1b2c3d.004
   JobState={state} Reason=None Dependency=(null)
   Requeue=1 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   PreemptEligibleTime=2026-01-02T03:04:05 PreemptTime={time}
"""


@pytest.mark.parametrize(
    ("state", "when", "preempted"),
    [
        ("RUNNING", "2026-01-02T04:00:00", True),
        ("RUNNING", "None", False),
        ("PENDING", "2026-01-02T04:00:00", False),
    ],
)
def test_a_job_that_runs_on_for_its_time_of_grace_is_preempted(fake_slurm, state, when, preempted):
    fake_slurm.answer("scontrol", SHOWN.format(state=state, time=when))
    assert controller.preempted("70_1") is preempted
    assert fake_slurm.calls("scontrol") == ["scontrol show job 70_1"]
    fake_slurm.fail("scontrol", "slurm_load_jobs error: Invalid job id specified")
    assert controller.preempted("70_1") is False


def test_neither_a_surrounding_job_nor_a_users_defaults_change_an_answer(monkeypatch):
    for name in (
        "SLURM_JOB_ID",
        "SBATCH_PARTITION",
        "SQUEUE_FORMAT",
        "SLURM_CONF",
        "SLURM_JWT",
        "SLURM_BITSTR_LEN",
        "HOME",
    ):
        monkeypatch.setenv(name, "x")
    found = controller.clean_environment()
    assert {name for name in found if name.startswith(("SLURM", "SBATCH", "SQUEUE"))} == {"SLURM_CONF", "SLURM_JWT"}
    assert found["HOME"] == "x"


def test_the_user_is_the_systems_word_not_the_environments(monkeypatch):
    monkeypatch.setenv("USER", "somebody")
    assert controller.user() == pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(("answer", "found"), [("(null)\ngpu:a100:4(S:0-1)\n", True), ("(null)\n", False)])
def test_gpus_are_seen_in_any_partition(fake_slurm, answer, found):
    fake_slurm.answer("sinfo", answer)
    assert controller.gpus() is found


def test_jobs_that_are_gone_are_cancelled_already_other_failures_are_told(fake_slurm):
    fake_slurm.fail("scancel", "scancel: error: Kill job error on job id 7: Invalid job id specified")
    assert controller.cancel(["7"]) == []
    fake_slurm.fail("scancel", "scancel: error: Kill job error on job id 8: Access/permission denied")
    assert controller.cancel(["8"]) == [
        "`scancel 8` failed: scancel: error: Kill job error on job id 8: Access/permission denied"
    ]


def test_many_jobs_are_cancelled_in_parts_and_none_without_a_call(fake_slurm):
    assert controller.cancel([]) == []
    assert controller.cancel([str(i) for i in range(1001)]) == []
    assert [len(call.split()) - 1 for call in fake_slurm.calls("scancel")] == [500, 500, 1]
