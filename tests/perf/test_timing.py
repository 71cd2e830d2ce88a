"""Cases take turns, and their rows say what was measured."""

import pytest

from bench.perf import __main__ as command
from bench.perf import timing


def test_cases_take_turns_after_a_warm_up():
    called = []
    seconds = timing.interleaved({name: lambda name=name: called.append(name) for name in "ab"}, repeats=3)
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_a_case_is_timed_from_its_start_to_its_end(monkeypatch):
    clock = iter([0.0, 1.0, 5.0, 7.5])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    assert timing.interleaved({"a": lambda: None, "b": lambda: None}, repeats=1) == {"a": [1.0], "b": [2.5]}


def test_values_are_medians_with_their_range_and_ratios_are_to_the_first_that_was_measured():
    rows = timing.rows("toy", "s", {"absent": [], "slow": [10.0, 40.0, 20.0], "fast": [5.0, 1.0, 6.0]})
    assert [tuple(row.values()) for row in rows] == [
        ("toy", "absent", None, None, None, "not installed", None),
        ("toy", "slow", 20.0, 10.0, 40.0, "s", 1.0),
        ("toy", "fast", 5.0, 1.0, 6.0, "s", 0.25),
    ]


def test_the_table_shows_ranges_where_they_are_known():
    rows = [
        *timing.rows("toy", "images/s", {"there": [1000.0, 3000.0, 1500.0], "not there": []}),
        {"benchmark": "old", "case": "one", "value": 0.25, "unit": "s", "ratio": 1.0},
    ]
    found = command.table(rows, load=0.5)
    cells = {column.header: list(column.cells) for column in found.columns}
    assert cells["value"] == ["1,500", "-", "0.25"]
    assert cells["range"] == ["1,000-3,000", "", ""]
    assert cells["unit"] == ["images/s", "not installed", "s"]
    assert cells["ratio"] == ["1", "-", "1"]


@pytest.mark.parametrize("name", ["train", "attack"])
def test_both_attack_benchmarks_are_run_by_default(name):
    assert name in command.BENCHMARKS
