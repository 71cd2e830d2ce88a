"""Processes that meet as under srun, on this machine, and compute stages together."""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import shutil
import signal
import socket
import threading
import time
import traceback

import pytest
import yaml

from bench import grid
from bench.launch import ranks, rendezvous
from bench.launch.rendezvous import RanksError
from bench.launch.task import Settings, run_stage
from bench.plan import plan
from bench.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def planned(tmp_path_factory, tiny):
    """Stages of a tiny grid on the digits in the order of their inputs: trained, pruned in one shot, trained, measured."""
    path = tmp_path_factory.mktemp("grid") / "grid.yaml"
    sections = {**tiny["override"], "transfer": {"epochs": 2, "batch_size": 100}}
    changes = {"source": ["digits"], "pruner": ["omp"], "sparsity": [0.5], "override": sections}
    path.write_text(yaml.safe_dump({**tiny, **changes}))
    stages = list(plan(grid.read(path)).stages.values())
    wanted = {"pretrain", "prune", "transfer", "evaluate"}
    assert {stage.kind for stage in stages} == wanted
    return stages


@pytest.fixture(scope="module")
def computed(tmp_path_factory, planned, data_root):
    """A root in which one process computed every stage."""
    root = tmp_path_factory.mktemp("computed") / "runs"
    for stage in planned:
        assert run_stage(stage, Settings(root=root, data_root=data_root)).status == "done"
    return root


def environment(rank, world_size=2, nodes=1):
    return {
        "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NTASKS": str(world_size),
        "SLURM_NNODES": str(nodes), "SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0",
    }  # fmt: skip


def work(connection, rank):
    """A process's life: join the other one, run the stages, tell what came out, until it is told to end."""
    import torch

    torch.set_num_threads(1)
    for folder, stages, settings, prepare, nodes in iter(connection.recv, None):
        try:
            with contextlib.ExitStack() as stack:
                stop = prepare(rank, stack) or (lambda: False)
                mine = stack.enter_context(ranks.joined(folder, device="cpu", environ=environment(rank, 2, nodes)))
                outcomes = ranks.run_ranks(stages, settings, mine, stop=stop)
            connection.send(outcomes)
        except BaseException:
            connection.send(traceback.format_exc())


class Pair:
    """Two processes, started when needed and again after one was killed."""

    def __init__(self):
        # Forked from a server that has imported what the stages need.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["bench.stages.pretrain", "bench.stages.transfer", "torch._dynamo"])
        self.members = []

    def start(self):
        self.members = []
        for rank in (0, 1):
            ours, theirs = self.context.Pipe()
            process = self.context.Process(target=work, args=(theirs, rank), daemon=True)
            process.start()
            theirs.close()
            self.members.append((process, ours))

    def send(self, folder, stages, settings, prepare, nodes=1):
        if not self.members:
            self.start()
        for _, connection in self.members:
            connection.send((folder, stages, settings, prepare, nodes))

    def answer(self, rank):
        connection = self.members[rank][1]
        assert connection.poll(240), f"no answer of rank {rank} within 240 s"
        return connection.recv()

    def run(self, *arguments, **options):
        """Outcomes by rank; both must be the same but for the time they took."""
        self.send(*arguments, **options)
        first, second = self.answer(0), self.answer(1)
        assert isinstance(first, list), first
        assert isinstance(second, list), second
        assert [dataclasses.replace(o, seconds=0) for o in first] == [dataclasses.replace(o, seconds=0) for o in second]
        return first

    def end(self):
        """End both; a process that aborts on its way out is an error."""
        for process, connection in self.members:
            connection.send(None)
            process.join(120)
            assert process.exitcode == 0
        self.members = []


@pytest.fixture(scope="module")
def pair():
    found = Pair()
    yield found
    found.end()


@pytest.fixture
def settings(tmp_path, data_root):
    return Settings(root=tmp_path / "runs", data_root=data_root)


def plain(rank, stack):
    """Nothing special."""


def patched(stack, module, name, value):
    kept = getattr(module, name)
    stack.callback(setattr, module, name, kept)
    setattr(module, name, value)


def stop_rank_1(rank, stack):
    """Only rank 1 hears the signal, in its fourth step."""
    looks = iter(range(10_000))
    return lambda: rank == 1 and next(looks) >= 3


def fail_rank_1(rank, stack):
    """Rank 1's data are damaged in the middle of its epoch."""
    fail(rank, stack, KeyError("rank 1's own trouble"))


def kill_rank_1(rank, stack):
    # Rank 0 waits in vain for the other to leave.
    patched(stack, ranks, "ANSWER_S", 1.0)
    fail(rank, stack, None)


def fail(rank, stack, error):
    from bench.training import loop

    one_step = loop.one_step

    def failing(*arguments, step, **options):
        if rank == 1 and step == 4:
            if error is None:
                os.kill(os.getpid(), signal.SIGKILL)
            raise error
        return one_step(*arguments, step=step, **options)

    patched(stack, loop, "one_step", failing)


def fill_rank_0s_disk(rank, stack):
    from bench.stages import weights

    def full(*_):
        raise OSError(28, "No space left on device", "weights.safetensors")

    if rank == 0:
        patched(stack, weights, "save_weights", full)


def last_look_fails(rank, stack):
    """Rank 1 fails in the folder of its own, when it needs the others no more."""
    from bench.stages import weights

    def failing(*_):
        raise ValueError("no room in /tmp")

    if rank == 1:
        patched(stack, weights, "save_weights", failing)


def weights_of(root, stage):
    from bench.stages import weights

    name = {"pretrain": weights.WEIGHTS, "transfer": weights.SPARSE}[stage.kind]
    return weights.load_weights(Store(root).open(stage.key), name)


def leftovers(root):
    return [*(root / "store").glob("*/.*"), *(root / "scratch").glob("*/*")]


def test_two_processes_on_two_nodes_publish_what_one_does_and_only_rank_0_writes(
    pair, planned, computed, settings, tmp_path
):
    import torch

    outcomes = pair.run(tmp_path, planned, settings, plain, nodes=2)
    assert [outcome.status for outcome in outcomes] == ["done"] * len(planned)
    store = Store(settings.root)
    for stage in planned:
        artifact, alone = store.open(stage.key), Store(computed).open(stage.key)
        assert set(artifact.manifest["files"]) == set(alone.manifest["files"])
        assert artifact.manifest["made"]["processes"] == (2 if stage.kind in ("pretrain", "transfer") else 1)
        if stage.kind in ("pretrain", "transfer"):
            # Single precision: 6e-8 of rounding in each of 9 or 24 steps, multiplied by less than a hundred.
            for name, value in weights_of(computed, stage).items():
                torch.testing.assert_close(weights_of(settings.root, stage)[name], value, rtol=1e-4, atol=1e-5)
    assert store.keys() == {stage.key for stage in planned}
    assert leftovers(settings.root) == []
    assert not (settings.root / "failures").exists()
    # Rank 1 keeps a log of its own, and only of what it took part in.
    logs = {path.name for path in (settings.root / "logs").glob("*/*")}
    assert logs == {f"{stage.key}.log" for stage in planned} | {
        f"{stage.key}.log.rank1" for stage in planned if stage.kind in ("pretrain", "transfer")
    }
    assert list(tmp_path.glob("rendezvous-*")) == []
    # All done now: nothing is computed again, nobody waits.
    assert [outcome.status for outcome in pair.run(tmp_path, planned, settings, plain)] == ["done"] * len(planned)


def test_a_signal_to_one_process_stops_both_and_a_later_attempt_goes_on(pair, planned, settings, tmp_path):
    stage, store = planned[0], Store(settings.root)
    outcomes = pair.run(tmp_path, planned, settings, stop_rank_1)
    assert [outcome.status for outcome in outcomes] == ["interrupted"] * len(planned)
    assert (store.scratch(stage.key) / "checkpoint.pt").is_file()
    assert store.keys() == set()
    assert store.failure(stage.key) is None
    assert [outcome.status for outcome in pair.run(tmp_path, planned[:1], settings, plain)] == ["done"]
    whole = dataclasses.replace(settings, root=tmp_path / "whole")
    assert [outcome.status for outcome in pair.run(tmp_path, planned[:1], whole, plain)] == ["done"]
    expected = weights_of(whole.root, stage)
    assert all(value.equal(expected[name]) for name, value in weights_of(settings.root, stage).items())


def test_the_failure_of_another_process_is_recorded_with_its_cause_and_ends_the_list(pair, planned, settings, tmp_path):
    store = Store(settings.root)
    for attempt in (1, 2):
        began = time.monotonic()
        outcomes = pair.run(tmp_path, planned, settings, fail_rank_1)
        # Not the minutes after which a collective gives up by itself.
        assert time.monotonic() - began < ranks.HANG_S
        assert [outcome.status for outcome in outcomes] == ["failed"] + ["interrupted"] * (len(planned) - 1)
        assert outcomes[0].message == """rank 1: KeyError: "rank 1's own trouble\""""
        record = store.failure(planned[0].key)
        assert (record["error"], record["cause"], record["attempts"]) == (outcomes[0].message, "exception", attempt)
        assert record["host"] == socket.gethostname()
    log = store.log(planned[0].key)
    assert "rank 1's own trouble" not in log.read_text()
    assert "rank 1's own trouble" in log.with_name(f"{log.name}.rank1").read_text()
    assert list((settings.root / "store").glob("*/.*")) == []
    # Processes that met failure together can meet again.
    assert [outcome.status for outcome in pair.run(tmp_path, planned[:1], settings, plain)] == ["done"]
    assert store.failure(planned[0].key) is None


def test_a_process_that_is_killed_is_missed_at_once(pair, planned, settings, tmp_path):
    pair.send(tmp_path, planned, settings, kill_rank_1)
    outcomes = pair.answer(0)
    pair.members[1][0].join(120)
    assert pair.members[1][0].exitcode == -signal.SIGKILL
    process, connection = pair.members[0]
    connection.send(None)
    process.join(120)
    assert process.exitcode == 0
    pair.members = []
    assert [outcome.status for outcome in outcomes] == ["failed"] + ["interrupted"] * (len(planned) - 1)
    record = Store(settings.root).failure(planned[0].key)
    assert (record["error"], record["cause"]) == (ranks.UNTOLD, "lost")


@pytest.mark.parametrize(
    ("prepare", "statuses"),
    [
        (fill_rank_0s_disk, ["fatal", "interrupted"]),
        # The stage is done; the group is not what it was.
        (last_look_fails, ["done", "interrupted"]),
    ],
)
def test_trouble_after_the_training_ends_the_list_too(pair, planned, settings, tmp_path, prepare, statuses):
    outcomes = pair.run(tmp_path, planned[:2], settings, prepare)
    assert [outcome.status for outcome in outcomes] == statuses
    store = Store(settings.root)
    assert store.has(planned[0].key) == (statuses[0] == "done")
    assert store.failure(planned[0].key) is None


def test_missing_and_corrupt_inputs_are_settled_by_rank_0_for_all(pair, planned, computed, settings, tmp_path):
    (transfer,) = [stage for stage in planned if stage.kind == "transfer"][-1:]
    outcomes = pair.run(tmp_path, [transfer, planned[0]], settings, plain)
    assert [outcome.status for outcome in outcomes] == ["blocked", "done"]
    for _, key in transfer.inputs:
        shutil.rmtree(Store(settings.root).folder(key), ignore_errors=True)
        shutil.copytree(Store(computed).folder(key), Store(settings.root).folder(key))
    (Store(settings.root).folder(planned[0].key) / "manifest.json").write_text("{")
    (outcome,) = pair.run(tmp_path, [transfer], settings, plain)
    assert (outcome.status, outcome.culprit) == ("corrupt", planned[0].key)
    assert not Store(settings.root).has(planned[0].key)


def test_one_process_needs_nobody(planned, settings, tmp_path):
    with ranks.joined(tmp_path, device="cpu", environ={}) as alone:
        assert alone == ranks.Ranks(calls=alone.calls)
        assert [o.status for o in ranks.run_ranks(planned[:1], settings, alone, stop=lambda: True)] == ["interrupted"]
        assert [o.status for o in ranks.run_ranks(planned[:1], settings, alone)] == ["done"]
    assert list(tmp_path.glob("rendezvous-*")) == []


def test_what_answers_on_the_announced_port_must_know_the_token(tmp_path):
    path = tmp_path / rendezvous.file_name({"SLURM_JOB_ID": "5", "SLURM_RESTART_COUNT": "2"})
    assert path.name == "rendezvous-5-2-0.json"
    store = rendezvous.announce(path, {"SLURM_NNODES": "2"})
    found = json.loads(path.read_text())
    assert found["port"] == store.port
    assert found["hosts"][-1] == "127.0.0.1"
    assert rendezvous.find(path, 1, timeout_s=5).get("token") == found["token"].encode()
    # Another job's store on the same port of another host, and a name that does not resolve.
    path.write_text(json.dumps({**found, "hosts": ["n1.invalid", "127.0.0.1"], "token": "another"}))
    with pytest.raises(
        RanksError, match=f"rank 1 on .* did not find rank 0 through {path}.*n1.invalid, 127.0.0.1 did not"
    ):
        rendezvous.find(path, 1, timeout_s=0.1)


def test_a_rank_0_that_never_starts_is_named(tmp_path):
    with pytest.raises(RanksError, match=r"did not find rank 0 .* within 0.001.* min: rank 0 has not written it"):
        rendezvous.find(tmp_path / "rendezvous-1-0-0.json", 3, timeout_s=0.1)


@pytest.mark.parametrize(
    ("visible", "local_rank", "device"),
    [("4,5", 0, "cuda:0"), ("4,5", 1, "cuda:1"), ("5", 1, "cuda:0"), ("4,5", 2, None)],
)
def test_the_device_of_a_process_is_one_that_slurm_gave(monkeypatch, visible, local_rank, device):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if device is None:
        with pytest.raises(RanksError, match=r"process 2 of .* sees 2 GPUs and none is left for it"):
            rendezvous.choose_device("cuda", local_rank)
    else:
        assert rendezvous.choose_device("cuda", local_rank) == device
    assert rendezvous.choose_device("cpu", local_rank) == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


def test_a_process_that_hangs_after_a_failure_elsewhere_is_ended(tmp_path):
    """In a process of its own, since it ends it."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=hang, args=(tmp_path,))
    process.start()
    process.join(120)
    assert process.exitcode == 1


def hang(folder):
    ranks.HANG_S = 0.2
    store = rendezvous.announce(folder / "rendezvous.json", {"SLURM_NNODES": "1"})
    store.set("broken", "1")
    threading.Thread(target=ranks.end_if_hanging, args=(store.clone(), threading.Event())).start()
    time.sleep(60)
