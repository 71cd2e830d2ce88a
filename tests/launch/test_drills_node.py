"""Fault drills on a real SLURM: processes, tasks, nodes, the controller and the disk fail; the rows do not change."""

import os
import random
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
# In the command line of a task's worker process, and of the task itself.
WORKER, TASK = "--multiprocessing-fork", "submitit.core._submit"


@pytest.fixture(scope="module")
def machine(make_cluster):
    """Two nodes of one CPU, whose failure SLURM notices within seconds; time for a checkpoint between TERM and KILL."""
    settings = ("SlurmdTimeout=6", "MessageTimeout=3", "TCPTimeout=1", "KillWait=60")
    return make_cluster(nodes=2, cpus=1, settings=settings)


def processes(cluster, word):
    """Process ids of this cluster's jobs with the word in their command line, as Python processes have it."""
    found = []
    for entry in os.scandir("/proc"):
        with suppress(OSError, UnicodeDecodeError):
            words, variables = (
                Path(entry.path, name).read_bytes().decode().split("\0") for name in ("cmdline", "environ")
            )
            inside = f"SLURM_CONF={cluster.env['SLURM_CONF']}" in variables
            if entry.name.isdigit() and inside and word in words and "python" in words[0]:
                found.append(int(entry.name))
    return found


def kill(pids):
    for pid in pids:
        # It may have ended in good order since it was seen.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def only(drill, kind):
    """The key of the one stage of a kind."""
    (key,) = (key for key, stage in drill.planned.stages.items() if stage.kind == kind)
    return key


def computing(drill, kind):
    """Stages of a kind that were begun and are not done."""
    return {key for key in drill.under_way() if drill.planned.stages[key].kind == kind}


def running(drill):
    """(job, node) of what runs."""
    done = drill.cluster.run("squeue", "-h", "-a", "-r", "--states=RUNNING", "--format=%i %N")
    return [tuple(line.split()) for line in done.stdout.splitlines()]


def test_undisturbed_no_stage_is_computed_twice(machine, make_drill):
    drill = make_drill(machine)
    drill.submit()
    drill.wait()
    begun = drill.check("none", "nothing is disturbed")
    assert set(begun.values()) == {1}


def test_worker_processes_that_are_killed_are_replaced_and_a_stage_that_loses_two_is_retried(machine, make_drill):
    drill, draw = make_drill(machine), random.Random(0)
    drill.submit()
    pretrain = only(drill, "pretrain")
    # Its task gives a stage up that loses two workers; everything is blocked until the continuation.
    for attempt in (1, 2):
        drill.until(lambda attempt=attempt: drill.begun()[pretrain] == attempt)
        time.sleep(draw.uniform(0, 1))
        kill(processes(machine, WORKER))
    drill.until(lambda: drill.store.failure(pretrain))
    for _ in range(2):
        drill.until(lambda: computing(drill, "transfer"))
        time.sleep(draw.uniform(0, 0.5))
        kill(processes(machine, WORKER))
        time.sleep(1)
    drill.wait()
    begun = drill.check("worker killed", "SIGKILL of worker processes, four times; twice of one stage")
    assert begun[pretrain] == 3


def test_tasks_that_are_killed_are_submitted_again_by_the_continuation(machine, make_drill):
    drill = make_drill(machine)
    drill.submit()
    drill.until(lambda: computing(drill, "pretrain"))
    kill(processes(machine, TASK))
    drill.until(lambda: computing(drill, "transfer"))
    kill(processes(machine, TASK))
    drill.wait()
    begun = drill.check("task killed", "SIGKILL of the processes of all running tasks, twice")
    assert begun[only(drill, "pretrain")] >= 2


def test_tasks_that_scancel_ends_go_on_from_their_checkpoints(machine, make_drill):
    drill, draw = make_drill(machine), random.Random(0)
    drill.submit()
    drill.until(lambda: computing(drill, "pretrain"))
    machine.run("scancel", *drill.jobs("RUNNING"))
    drill.until(lambda: computing(drill, "transfer"))
    machine.run("scancel", draw.choice(running(drill))[0])
    drill.wait()
    begun = drill.check("tasks cancelled", "scancel of running tasks, twice")
    pretrain = only(drill, "pretrain")
    assert (begun[pretrain], drill.stopped(pretrain)) == (2, 1)


def test_after_scancel_of_everything_a_person_submits_again(machine, make_drill):
    drill = make_drill(machine)
    drill.submit()
    drill.until(lambda: computing(drill, "transfer"))
    machine.run("scancel", *{job.partition("_")[0] for job in drill.jobs()})
    drill.wait()
    kept = drill.store.keys()
    assert kept < drill.expected.files.keys()
    drill.submit()
    drill.wait()
    begun = drill.check("all cancelled", "scancel of all jobs, the continuation too", person="bench.submit")
    assert {begun[key] for key in kept} == {1}


def test_what_ran_on_a_node_that_failed_runs_again(machine, make_drill):
    drill = make_drill(machine)
    drill.submit()
    drill.until(lambda: computing(drill, "pretrain"))
    ((_, node),) = running(drill)
    machine.kill(node, "--with-jobs")
    time.sleep(2)
    machine.revive(node)
    drill.until(lambda: computing(drill, "transfer"))
    # This one's daemon alone: its tasks go on.
    machine.kill("n1")
    time.sleep(2)
    machine.revive("n1")
    drill.wait()
    begun = drill.check("node failed", "slurmd killed with its jobs and brought back; then one without its jobs")
    assert begun[only(drill, "pretrain")] == 2


def test_a_controller_that_restarts_costs_nothing(machine, make_drill):
    drill = make_drill(machine)
    drill.submit()
    drill.until(lambda: computing(drill, "pretrain"))
    assert machine.run("scontrol", "shutdown", "slurmctld").returncode == 0
    drill.until(lambda: machine.run("squeue").returncode != 0)
    said = []
    person = threading.Thread(target=lambda: said.append(drill.submit()))
    person.start()
    drill.until(lambda: drill.store.has(only(drill, "pretrain")))
    machine.revive("slurmctld")
    person.join()
    assert "nothing was submitted" in said[0]
    drill.wait()
    begun = drill.check("controller restarted", "slurmctld stopped for seconds; a person submits again meanwhile")
    assert set(begun.values()) == {1}


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, of 48 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    as_root = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    options = f"size=48m,mode=0700,uid={os.geteuid()}"
    mount = [*as_root, "mount", "-t", "tmpfs", "-o", options, "drill", place]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        # Containers without CAP_SYS_ADMIN: a limit of the place, not a defect of what is tested.
        pytest.skip(f"fills a file system that may not be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run([*as_root, "umount", "--lazy", place], check=True)


def fill(disk):
    """Every byte is taken, by one file; its path."""
    path = disk / "full"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(65536))
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(512))
    return path


def test_tasks_wait_while_the_disk_is_full(machine, make_drill, disk):
    drill = make_drill(machine, root=disk / "runs")
    drill.submit()
    drill.until(lambda: computing(drill, "pretrain"))
    full = fill(disk)
    drill.until(lambda: not processes(machine, WORKER))
    time.sleep(3)
    assert drill.jobs("RUNNING")
    full.unlink()
    drill.wait()
    drill.check("disk full", "the root's file system is filled for seconds")


def test_a_disk_that_is_full_for_longer_than_tasks_wait_corrupts_nothing(machine, make_drill, disk):
    drill = make_drill(machine, root=disk / "runs", profile={"disk_wait_minutes": 0})
    drill.submit()
    drill.until(lambda: computing(drill, "pretrain"))
    full = fill(disk)
    drill.wait()
    full.unlink()
    drill.submit()
    drill.wait()
    drill.check("disk full for long", "until all tasks had given up", person="bench.submit")
