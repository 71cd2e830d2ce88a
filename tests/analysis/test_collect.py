import pandas as pd
import pytest

from analysis.collect import collect
from bench import results
from bench.grid import GridError, read
from bench.plan import plan
from bench.store import Store


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


@pytest.fixture
def reads(monkeypatch):
    """How often rows were read from the store."""
    calls = []
    found = results.rows
    monkeypatch.setattr(results, "rows", lambda *given, **more: calls.append(given) or found(*given, **more))
    return calls


def test_the_second_time_the_same_rows_come_from_the_cache(tiny_grid, publish, root, reads):
    publish(tiny_grid, root)
    first, second = collect(tiny_grid, root=root), collect(tiny_grid, root=root)
    assert len(reads) == 1
    pd.testing.assert_frame_equal(first.table, second.table)
    assert (first.name, first.protocol) == (second.name, second.protocol)
    assert second.protocol["transfer"]["linear/standard"]["epochs"] > 0
    collect(tiny_grid, root=root, cache=False)
    assert len(reads) == 2


def test_a_result_more_is_seen(tiny_grid, publish, root, reads):
    publish(tiny_grid, root)
    assert set(collect(tiny_grid, root=root).table["status"]) == {"done", "missing"}
    publish(tiny_grid, root, count=4)
    assert set(collect(tiny_grid, root=root).table["status"]) == {"done"}
    assert len(reads) == 2


def test_a_failure_and_its_end_are_seen(tiny_grid, publish, root):
    publish(tiny_grid, root)
    last = list(plan(read(tiny_grid)).targets)[-1]
    stage, store = plan(read(tiny_grid)).stages[last], Store(root)
    store.fail(stage, {"error": "out of memory"})
    assert "out of memory" in collect(tiny_grid, root=root).table["reason"].max()
    store.fail(stage, {"error": "out of patience"})
    assert "out of patience" in collect(tiny_grid, root=root).table["reason"].max()
    store.failure_file(last).unlink()
    assert collect(tiny_grid, root=root).table["reason"].max() == "not run"


def test_another_grid_selection_or_override_is_not_taken_for_this_one(tiny_grid, publish, root, reads):
    publish(tiny_grid, root)
    whole = collect(tiny_grid, root=root).table
    assert len(collect(tiny_grid, root=root, only=["pruner=omp", "seed=0"]).table) == 2
    assert len(collect(tiny_grid, root=root, overrides=["seed=[0]"]).table) == 2
    tiny_grid.write_text(tiny_grid.read_text().replace("seed: [0, 1]", "seed: [0, 1, 2]"))
    assert len(collect(tiny_grid, root=root).table) == len(whole) + 2
    assert len(reads) == 4


def test_a_cache_cut_short_is_written_anew(tiny_grid, publish, root, reads):
    publish(tiny_grid, root)
    first = collect(tiny_grid, root=root).table
    (kept,) = (root / "cache" / "analysis").iterdir()
    kept.write_bytes(kept.read_bytes()[:500])
    pd.testing.assert_frame_equal(collect(tiny_grid, root=root).table, first)
    assert len(reads) == 2
    collect(tiny_grid, root=root)
    assert len(reads) == 2


def test_a_root_that_cannot_be_written_is_read_all_the_same(tiny_grid, publish, root, monkeypatch):
    publish(tiny_grid, root)
    (root / "cache").write_text("a file where the folder should be")
    assert len(collect(tiny_grid, root=root).table) == 4


def test_a_changed_weights_file_makes_the_cache_an_old_one(tiny_grid, root, tmp_path, reads):
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"one")
    text = tiny_grid.read_text().replace("[supervised]", f'["checkpoint(path={weights})"]')
    tiny_grid.write_text(text)
    collect(tiny_grid, root=root)
    collect(tiny_grid, root=root)
    assert len(reads) == 1
    weights.write_bytes(b"another")
    collect(tiny_grid, root=root)
    assert len(reads) == 2


def test_a_grid_that_is_not_there_is_named(root, tmp_path):
    with pytest.raises(GridError, match=r"no\.yaml"):
        collect(tmp_path / "no.yaml", root=root)
