"""slurm/devcluster: a real SLURM that starts, suffers and stops on one machine."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUP = ROOT / ".ci" / "setup-slurm"


def processes_naming(*texts):
    """Process id -> command line of everything that runs with one of the texts in its command line or environment."""
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line, variables = (Path(entry.path, name).read_bytes().decode() for name in ("cmdline", "environ"))
            except OSError:
                continue
            if any(text in line + variables for text in texts):
                found[int(entry.name)] = line.replace("\0", " ")
    return found


def node_state(cluster, node):
    return cluster.run("sinfo", "--noheader", "--nodes", node, "--partition=main", "--format=%T").stdout.strip()


def wait_for(true, seconds=40.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_array_runs_steps_on_several_nodes(cluster):
    job = cluster.submit(
        "--array=0-3", "--nodes=2", "--ntasks=2", "--output=array_%a.txt", wrap="srun printenv SLURMD_NODENAME; sleep 1"
    )
    cluster.wait(job, "COMPLETED")
    nodes = [sorted((cluster.folder / f"array_{i}.txt").read_text().split()) for i in range(4)]
    assert all(len(set(names)) == 2 for names in nodes)
    assert set().union(*nodes) == {"n1", "n2", "n3", "n4"}


@pytest.mark.slow
def test_a_requeued_job_starts_again_within_seconds(cluster):
    job = cluster.submit(
        "--output=requeued.txt", "--open-mode=append", wrap='echo "${SLURM_RESTART_COUNT-first}"; sleep 300'
    )
    cluster.wait(job, "RUNNING")
    assert cluster.run("scontrol", "requeue", job).returncode == 0
    cluster.wait(job, "PENDING")
    # SLURM's own default holds it for 121 s.
    cluster.wait(job, "RUNNING", seconds=20)
    log = cluster.folder / "requeued.txt"
    wait_for(lambda: log.read_text().split()[-1:] == ["1"])
    cluster.run("scancel", job)
    cluster.wait(job, "CANCELLED")


def test_the_urgent_partition_requeues_jobs_of_main(cluster):
    low = cluster.submit("--nodes=4", "--exclusive", wrap="sleep 300")
    cluster.wait(low, "RUNNING")
    high = cluster.submit("--partition=urgent", "--nodes=1", wrap="true")
    cluster.wait(high, "COMPLETED")
    assert cluster.states(low) == ["PENDING"]
    cluster.run("scancel", low)


def test_a_job_whose_slurmd_dies_goes_on_and_the_node_comes_back(devcluster, cluster):
    job = cluster.submit("--nodelist=n2", "--output=orphan.txt", wrap="srun sleep 3; echo end")
    cluster.wait(job, "RUNNING")
    cluster.kill("n2")
    assert "n2         stopped" in devcluster("status", cluster.folder).stdout
    cluster.revive("n2")
    cluster.wait(job, "COMPLETED")
    assert (cluster.folder / "orphan.txt").read_text() == "end\n"


@pytest.mark.slow
def test_a_node_that_loses_power_loses_its_jobs_and_they_run_again(cluster):
    marks = cluster.folder / "marks"
    job = cluster.submit("--nodelist=n3", wrap=f"echo x >>{marks}; [ $(wc -l <{marks}) = 2 ] || srun sleep 300")
    wait_for(marks.exists)
    cluster.kill("n3", "--with-jobs")
    own = processes_naming(f"SLURM_CONF={cluster.folder}/slurm.conf\0").keys()
    assert own & processes_naming("SLURMD_NODENAME=n3\0").keys() == set()
    cluster.revive("n3")
    cluster.wait(job, "COMPLETED")
    assert marks.read_text() == "x\nx\n"


@pytest.mark.slow
def test_jobs_outlive_the_controller(cluster):
    running = cluster.submit("--output=running.txt", wrap="sleep 7; echo end")
    waiting = cluster.submit("--dependency", f"afterok:{running}", "--output=waiting.txt", wrap="echo end")
    cluster.wait(running, "RUNNING")
    # slurmctld writes its state up to 5 s late; a job that was submitted later would be lost.
    time.sleep(5.5)
    cluster.kill("slurmctld")
    assert cluster.run("squeue").returncode != 0
    cluster.revive("slurmctld")
    cluster.wait(waiting, "COMPLETED")
    assert (cluster.folder / "waiting.txt").read_text() == "end\n"


def test_two_clusters_do_not_see_each_other(devcluster, cluster, make_cluster):
    other = make_cluster(nodes=1)
    job = other.submit("--hold", "--job-name=only-here", wrap="true")
    assert "only-here" in other.run("squeue", "--format=%j").stdout
    assert "only-here" not in cluster.run("squeue", "--format=%j").stdout
    assert (node_state(other, "n1"), node_state(other, "n2")) == ("idle", "")
    assert other.run("scancel", job).returncode == 0
    assert devcluster("stop", other.folder).returncode == 0
    assert cluster.run("scontrol", "ping").returncode == 0


def test_a_long_path_works_and_stop_leaves_nothing(devcluster, make_cluster):
    cluster = make_cluster(nodes=1, name="long" * 50, settings=("KillWait=7", "MaxStepCount=100"))
    sockets = json.loads((cluster.folder / "devcluster.json").read_text())["sockets"]
    lines = (cluster.folder / "slurm.conf").read_text().splitlines()
    assert [line for line in lines if line.startswith(("KillWait", "MaxStep"))] == ["KillWait=7", "MaxStepCount=100"]
    job = cluster.submit(wrap="trap '' TERM; setsid sleep 300 & srun sleep 300")
    queued = cluster.submit("--hold", wrap="true")
    cluster.wait(job, "RUNNING")
    wait_for(lambda: sum("sleep 300" in line for line in processes_naming(str(cluster.folder)).values()) >= 2)
    assert devcluster("start", cluster.folder).stderr.endswith("already running\n")

    assert devcluster("stop", cluster.folder).returncode == 0
    assert processes_naming(str(cluster.folder), sockets) == {}
    assert not Path(sockets).exists()
    assert devcluster("stop", cluster.folder).returncode == 0

    assert devcluster("start", cluster.folder, "--nodes=1").returncode == 0
    assert cluster.states(queued) == ["PENDING"]
    assert devcluster("stop", cluster.folder).returncode == 0


def test_without_munge_jobs_run_too(make_cluster):
    cluster = make_cluster(nodes=1, auth="none")
    assert cluster.run("srun", "printenv", "SLURMD_NODENAME").stdout == "n1\n"


@pytest.mark.slow
def test_accounting_knows_a_finished_job(make_cluster):
    cluster = make_cluster(nodes=1, accounting=True)
    job = cluster.submit(wrap="exit 3")
    sacct = ("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State,ExitCode")
    wait_for(lambda: "FAILED" in cluster.run(*sacct).stdout)
    assert cluster.run(*sacct).stdout == "FAILED|3:0\n"
    cluster.kill("slurmdbd")
    assert cluster.run(*sacct).returncode != 0
    cluster.revive("slurmdbd")
    assert cluster.run(*sacct).stdout == "FAILED|3:0\n"


def test_a_setting_that_slurm_refuses_is_shown_and_nothing_is_left(devcluster, tmp_path):
    done = devcluster("start", tmp_path, "--set", "KillWait=soon")
    assert done.returncode == 1
    assert "slurmctld ended" in done.stderr
    assert 'KillWait value "soon" is not a valid number' in done.stderr
    assert processes_naming(str(tmp_path)) == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["stop", "nowhere"], "{tmp}/nowhere holds no cluster; slurm/devcluster start {tmp}/nowhere makes one"),
        (["kill", "stopped", "n9"], '{tmp}/stopped has no daemon "n9" (known: slurmctld, n1)'),
        (["kill", "stopped", "slurmctld", "--with-jobs"], "kill slurmctld --with-jobs: only nodes have jobs (n1)"),
        (
            ["revive", "stopped", "n1"],
            "{tmp}/stopped: the cluster is stopped; slurm/devcluster start {tmp}/stopped starts it",
        ),
        (
            ["start", "new", "--set", "KillWait"],
            "--set 'KillWait': write KEY=VALUE, a line of slurm.conf, as in --set KillWait=30",
        ),
        (["start", "new", "--nodes", "0"], "--nodes 0 --cpus 2: both must be at least 1"),
        (["start", "a b"], "{tmp}/a b: a path in slurm.conf may hold letters, digits and ./+@~_- only"),
        (["start", "foreign"], "{tmp}/foreign holds a slurm.conf that is not devcluster's; choose another folder"),
    ],
)
def test_bad_input_is_answered_in_one_sentence(devcluster, tmp_path, words, message):
    (tmp_path / "stopped").mkdir()
    daemons = {"slurmctld": ["slurmctld"], "n1": ["slurmd"]}
    record = {"folder": str(tmp_path / "stopped"), "sockets": "/nowhere", "daemons": daemons, "ports": {}}
    (tmp_path / "stopped/devcluster.json").write_text(json.dumps(record))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/slurm.conf").write_text("ClusterName=theirs\n")
    command, folder, *rest = words
    done = devcluster(command, tmp_path / folder, *rest)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"devcluster: {message.format(tmp=tmp_path)}\n"


def test_missing_programs_are_named_as_debian_packages(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "slurm"))
    settings = importlib.import_module("devcluster_settings")
    monkeypatch.setattr(settings, "SEARCH_PATH", "")
    with pytest.raises(
        settings.InputError, match="slurmctld is not installed; on Debian: apt-get install slurm-wlm munge"
    ):
        settings.program("slurmctld")


def test_missing_programs_are_installed_or_named(tmp_path):
    for name in ("sh", "id", "xargs", "echo"):
        (tmp_path / name).symlink_to(shutil.which(name))
    # No sbatch on this PATH, and no apt-get.
    done = subprocess.run([SETUP], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "the tests run a real SLURM on this machine, which needs these Debian packages: slurm-wlm" in done.stderr


def test_daemons_are_not_told_of_the_callers_slurm(devcluster, cluster):
    status = devcluster("status", cluster.folder).stdout
    pid = next(line for line in status.splitlines() if line.startswith("n1 ")).split()[-1]
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    assert [v for v in variables if v.startswith(("SLURM", "SBATCH"))] == [f"SLURM_CONF={cluster.folder}/slurm.conf"]
