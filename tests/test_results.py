import json

import pytest

from bench import results
from bench.grid import read
from bench.plan import plan
from bench.store import Store

GRID = """
name: tiny
protocol: demo
architecture: [resnet8]
pretraining: [supervised]
pruner: [dense, imp]
sparsity: {rate: 0.2, rounds: [0, 2]}
dataset: [digits]
transfer: [linear]
"""


@pytest.fixture
def planned(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(GRID)
    return plan(read(path))


def publish(planned, root, key, **made):
    stage = planned.stages[key]
    with Store(root).publish(stage, {"commit": "0123abc", "seconds": 36.0, **made}) as folder:
        if stage.kind == "evaluate":
            (folder / "metrics.json").write_text(json.dumps({"metrics": {"accuracy": 0.5}, "n_examples": 10}))


def test_hours_are_of_the_transfer_and_of_all_that_came_before_it(planned, tmp_path):
    for stage in planned.stages.values():
        on_a_gpu = {"device": "cuda:0", "device_name": "H100", "device_seconds": 72.0}
        on_a_core = {"device": "cpu", "device_name": "x86_64", "device_seconds": 0.0, "threads": 2, "processes": 3}
        publish(planned, tmp_path, stage.key, **(on_a_core if stage.kind == "pretrain" else on_a_gpu))
    dense, imp = results.rows(planned, root=tmp_path)
    assert (dense.device, dense.device_hours) == ("H100", 0.02)
    # 36 s on 3 processes of 2 threads each; before round 2 there are two rounds of 72 s.
    assert dense.ticket_hours == pytest.approx(0.06)
    assert imp.ticket_hours == pytest.approx(0.06 + 0.02 + 0.02)


def test_hours_are_unknown_where_a_manifest_does_not_say(planned, tmp_path):
    for stage in planned.stages.values():
        publish(planned, tmp_path, stage.key, **({} if stage.kind == "pretrain" else {"device": "cpu"}))
    assert [
        (row.status, row.device, row.device_hours, row.ticket_hours) for row in results.rows(planned, root=tmp_path)
    ] == [("done", "", None, None)] * 2


def test_a_row_that_is_missing_still_says_what_its_ticket_took(planned, tmp_path):
    for stage in planned.stages.values():
        if stage.kind != "evaluate":
            publish(planned, tmp_path, stage.key, device="cpu", device_name="x86_64", threads=1)
    assert [(row.status, row.device_hours) for row in results.rows(planned, root=tmp_path)] == [("missing", 0.01)] * 2
