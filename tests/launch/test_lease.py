"""Only one process is inside, whatever happens to the others; with real processes."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from bench.launch import lease
from bench.launch.lock import Busy
from bench.store import StoreError

ELSEWHERE = {"host": "login2", "namespace": "", "pid": 1, "user": "anna", "what": "a grid", "since": "today"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / "submit.lease"


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(lease, "POLL_S", 0.02)


def held_elsewhere(path, number=1, *, age_s=0.0):
    """A lease held on another host, renewed so long ago."""
    path.mkdir(parents=True, exist_ok=True)
    file = path / str(number)
    file.write_text(json.dumps(ELSEWHERE))
    renewed = time.time() - age_s
    os.utime(file, (renewed, renewed))
    return file


def start_holder(path):
    """A process that holds the lease until it is killed."""
    text = (
        "import sys, time; from pathlib import Path; from bench.launch import lease\n"
        "with lease.hold(Path(sys.argv[1]), 'a grid'): print('in', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", text, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    return process


def end(process):
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lease_is_free_again_after_its_block(path):
    for _ in range(3):
        with lease.hold(path, "a grid", wait_s=0) as held:
            assert held()
    assert sorted(os.listdir(path)) == ["3"]


def test_a_lease_is_free_again_after_an_error_in_its_block(path):
    with pytest.raises(ZeroDivisionError), lease.hold(path, "a grid"):
        _ = 1 / 0
    with lease.hold(path, "a grid", wait_s=0):
        pass


def test_a_second_process_is_told_who_holds_it_and_what_to_do(path):
    process, notes = start_holder(path), []
    try:
        with (
            pytest.raises(Busy) as error,
            lease.hold(path, "another grid", wait_s=0.2, on_wait=notes.append),
        ):
            pass
    finally:
        end(process)
    holder = f"(process {process.pid} on {socket.gethostname()}, since "
    assert str(error.value).startswith(f"{path.parent} is in use by a grid of ")
    assert holder in str(error.value)
    assert "wait for it, or end it there and run this again" in str(error.value)
    # Once, not at every look.
    (note,) = notes
    assert note.startswith("waiting for a grid of ")
    assert holder in note


def test_a_waiter_gets_in_when_the_holder_leaves(path):
    process = start_holder(path)
    process.send_signal(signal.SIGINT)
    with lease.hold(path, "a grid", wait_s=20):
        assert process.wait(20) != 0
    process.stdout.close()


def test_the_lease_of_a_killed_process_of_this_host_is_free_at_once(path):
    process = start_holder(path)
    end(process)
    with lease.hold(path, "a grid", wait_s=0) as held:
        assert held()


def test_a_process_of_that_number_in_another_container_proves_nothing(path):
    # This host's name and a process id that nobody has here, but of another process namespace.
    process = start_holder(path)
    end(process)
    record = json.loads((path / "1").read_text())
    (path / "1").write_text(json.dumps({**record, "namespace": "pid:[1]"}))
    with pytest.raises(Busy), lease.hold(path, "a grid", wait_s=0):
        pass


@pytest.mark.parametrize("skew_s", [-7200, 0, 7200])
@pytest.mark.parametrize(("age_s", "free"), [(0, False), (lease.STALE_S - 20, False), (lease.STALE_S + 20, True)])
def test_ages_are_by_the_file_servers_clock_not_this_hosts(path, monkeypatch, skew_s, age_s, free):
    held_elsewhere(path, age_s=age_s)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + skew_s)
    if free:
        with lease.hold(path, "a grid", wait_s=0) as held:
            assert held()
    else:
        with pytest.raises(Busy, match="in use by a grid of anna"), lease.hold(path, "a grid", wait_s=0):
            pass


def test_a_half_written_record_counts_by_its_age(path):
    file = held_elsewhere(path)
    file.write_text('{"host": "lo')
    with pytest.raises(Busy, match="in use by another process"), lease.hold(path, "a grid", wait_s=0):
        pass
    os.utime(file, (1e9, 1e9))
    with lease.hold(path, "a grid", wait_s=0):
        pass


def test_a_held_lease_is_renewed(path, monkeypatch):
    monkeypatch.setattr(lease, "RENEW_S", 0.05)
    with lease.hold(path, "a grid"):
        os.utime(path / "1", (1e9, 1e9))
        deadline = time.monotonic() + 20
        while (path / "1").stat().st_mtime < 1.1e9:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_holder_that_slept_too_long_learns_it_and_leaves_the_new_one_alone(path):
    with lease.hold(path, "a grid") as held:
        # Another host found number 1 too old.
        successor = held_elsewhere(path, 2)
        assert not held()
        (path / "1").unlink()
        assert not held()
        before = successor.stat().st_mtime_ns
    assert (os.listdir(path), successor.stat().st_mtime_ns) == (["2"], before)
    with pytest.raises(Busy), lease.hold(path, "a grid", wait_s=0):
        pass


def test_a_waiter_that_was_slow_to_act_takes_over_from_nobody(path):
    # It saw number 3 stale; then 4 came and went, 5 holds, and what is below was removed.
    held_elsewhere(path, 5)
    assert not lease._claim(path, 4, ELSEWHERE)
    assert os.listdir(path) == ["5"]
    assert not lease._claim(path, 5, ELSEWHERE)


def test_a_full_disk_is_said_and_leaves_no_lease_behind(path, monkeypatch):
    def full(_value, _file):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(lease.json, "dump", full)
        with pytest.raises(StoreError, match="is full"), lease.hold(path, "a grid"):
            pass
    with lease.hold(path, "a grid", wait_s=0):
        pass


def enter(path, rounds, alone, failures):
    """Enter so often; report a failure where another process is inside."""
    lease.POLL_S = 0.005
    try:
        for _ in range(rounds):
            with lease.hold(path, "a grid", wait_s=60) as held:
                if not alone.acquire(block=False):
                    failures.put("two inside")
                    return
                time.sleep(0.005)
                if not held():
                    failures.put("lost it while alive")
                alone.release()
    except Exception as error:
        failures.put(repr(error))


def test_of_eight_processes_at_a_stale_lease_one_at_a_time_is_inside(path):
    held_elsewhere(path, 41, age_s=lease.STALE_S + 60)
    context = multiprocessing.get_context("fork")
    alone, failures = context.Lock(), context.Queue()
    processes = [context.Process(target=enter, args=(path, 10, alone, failures)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 8
    assert failures.empty()
    # Every entry took a number of its own: 10 by each of 8 processes, after the stale one.
    assert os.listdir(path) == [str(41 + 8 * 10)]
