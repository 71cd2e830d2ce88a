"""`bench.status` and `bench.cancel` on a real SLURM, with plain jobs in the place of tasks."""

import json
import time

import pytest

from bench import cancel, grid, status
from bench.launch import controller, records
from bench.launch.records import Array
from bench.plan import plan
from bench.store import Store

# What a task writes of itself while it runs the stage {key}.
TASK = """
job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
printf '{{"job": "%s", "host": "%s", "running": ["%s"], "time": %s}}' $job $SLURMD_NODENAME {key} $(date +%s) > {folder}/running-$SLURM_ARRAY_TASK_ID.json
exec sleep 100
"""


@pytest.fixture
def world(write_grid, tmp_path, cluster, monkeypatch):
    """A grid with twelve tickets, its store, its plan; SLURM's commands speak to the cluster, which is left idle."""
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    path = write_grid({"pruner": ["omp"], "sparsity": {"rate": 0.2, "rounds": [2, 4, 8]}, "seed": [0, 1, 2, 3]})
    yield path, Store(tmp_path / "runs"), plan(grid.read(path))
    cluster.run("scancel", f"--user={controller.user()}")
    wait_until(lambda: not cluster.run("squeue", "--noheader").stdout)


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def submit(cluster, submission, keys, *options, kind="transfer", wrap=TASK):
    """An array with these keys by element, recorded and queued."""
    folder = submission.new_folder()
    name = f"{submission.folder.name}-{folder.name}"
    indices = [f"--array=0-{len(keys) - 1}"] if len(keys) > 1 else []
    wrap = wrap.format(key=keys[0][0] if keys[0] else "", folder=folder)
    job = cluster.submit(*indices, *options, f"--job-name={name}", f"--output={folder}/%A_%a_0_log.out", wrap=wrap)
    array = Array(folder, name, kind, str(job), controller.user(), tuple(map(tuple, keys)))
    records.write_array(array)
    return array


def told(capsys, world, *more):
    path, store, _ = world
    assert status.main([str(path), "--root", str(store.root), "--json", *more]) == 0
    return json.loads(capsys.readouterr().out)


def queue(cluster):
    """Ids in the queue that are not ending, one for each element."""
    done = cluster.run("squeue", "--noheader", "--array", "--states=PENDING,RUNNING", "--format=%i")
    return set(done.stdout.split())


@pytest.mark.slow
def test_status_tells_what_slurm_runs_queues_holds_and_forgot(world, cluster, capsys):
    _, store, planned = world
    (pretrain,) = [key for key, stage in planned.stages.items() if stage.kind == "pretrain"]
    tickets = [stages for stages in planned.cells if stages.ticket != pretrain]
    submission = records.create(store.root, "tiny", {})
    first = submit(cluster, submission, [[pretrain], [tickets[0].ticket]], "--exclusive", "--nodelist=n1")
    wait_until(lambda: (first.folder / "running-0.json").exists())
    after = submit(cluster, submission, [[tickets[0].transfer]], f"--dependency=afterany:{first.id(0)}", wrap="true")
    lost = submit(cluster, submission, [[tickets[1].transfer]], "--hold", wrap="true")
    cluster.run("scancel", lost.job)
    wait_until(lambda: queue(cluster) == {first.id(0), first.id(1), after.id(0)})
    found = told(capsys, world)
    states = {stage["key"]: (stage["state"], stage["job"], stage["node"]) for stage in found["stages"]}
    assert states[pretrain] == ("running", first.id(0), "n1")
    assert states[tickets[0].ticket][:2] == ("waiting", first.id(1))
    assert states[tickets[0].transfer][:2] == ("waiting", after.id(0))
    assert states[tickets[1].transfer][:2] == ("unknown", lost.id(0))
    assert states[tickets[2].transfer] == ("missing", None, None)
    assert {array["job"]: len(array["elements"]) for array in found["arrays"]} == {first.job: 2, after.job: 1}
    # Its input done, only the node is missing: SLURM says so once it has looked at the job.
    with store.publish(planned.stages[pretrain], {}) as folder:
        (folder / "a.txt").write_text("a")

    def ticket():
        (stage,) = (one for one in told(capsys, world)["stages"] if one["key"] == tickets[0].ticket)
        return stage["state"], stage["reason"]

    wait_until(lambda: ticket() != ("queued", ""))
    assert ticket() in (("queued", "Resources"), ("queued", "Priority"))


@pytest.mark.slow
def test_cancel_takes_what_the_selected_cells_need_then_all_of_the_grid_and_nothing_else(world, cluster, capsys):
    path, store, planned = world
    cells = list(zip(planned.grid.cells, planned.cells, strict=True))
    tickets = [(cell, stages) for cell, stages in cells if cell.pruner.name == "omp"]
    keys = [[stages.transfer, *stages.evaluate] for _, stages in tickets]
    submission = records.create(store.root, "tiny", {})
    # Twelve elements on eight CPUs: some run, some wait.
    ours = submit(cluster, submission, keys)
    continuation = submit(cluster, submission, [[]], f"--dependency=afterany:{ours.job}", kind="continue", wrap="true")
    theirs = submit(cluster, records.create(store.root, "other", {}), keys[:2], "--hold")
    mine = str(cluster.submit("--hold", "--job-name=tiny", wrap="true"))
    wait_until(lambda: "R" in cluster.run("squeue", "--noheader", f"--jobs={ours.job}", "--format=%t").stdout)
    rest = {continuation.job, *(theirs.id(index) for index in range(2)), mine}

    def settled():
        """No task is ending any more: one that is would be counted again."""
        wait_until(lambda: not cluster.run("squeue", "--noheader", f"--jobs={ours.job}", "--states=CG").stdout)

    arguments = [str(path), "--root", str(store.root), "--yes"]
    assert cancel.main([*arguments, "--only", "seed=1,3"]) == 0
    assert "6 tasks cancelled." in capsys.readouterr().out
    kept = {ours.id(index) for index, (cell, _) in enumerate(tickets) if cell.seed in (0, 2)}
    assert queue(cluster) == kept | rest
    states = {stage["key"]: stage["state"] for stage in told(capsys, world)["stages"]}
    found = {(cell.round, cell.seed): states[stages.transfer] for cell, stages in tickets}
    # The other grid still has this one in the queue.
    assert found.pop((2, 1)) == "waiting"
    assert {seed for (_, seed), state in found.items() if state == "cancelled"} == {1, 3}
    assert {seed for (_, seed), state in found.items() if state != "cancelled"} == {0, 2}

    settled()
    assert cancel.main(arguments) == 0
    assert "7 tasks cancelled." in capsys.readouterr().out
    assert queue(cluster) == rest - {continuation.job}
    settled()
    assert cancel.main(arguments) == 0
    assert "Nothing to cancel" in capsys.readouterr().out
