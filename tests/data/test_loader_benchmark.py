"""The loader benchmark: every case reads what it says it reads."""

import pytest

from bench.perf import loader


@pytest.mark.slow
def test_every_case_of_both_benchmarks_is_measured_against_the_first():
    rows = loader.run(repeats=1, quick=True)
    cases = [(row["benchmark"], row["case"]) for row in rows]
    assert cases == [
        ("load 32 px", "torch DataLoader, torchvision"),
        ("load 32 px", "FFCV pipeline"),
        ("load 32 px", "resident"),
        ("load 224 px jpeg", "torch DataLoader, torchvision"),
        ("load 224 px jpeg", "FFCV pipeline, bytes"),
        ("load 224 px jpeg", "stream, bytes"),
        ("load 224 px jpeg", "stream"),
        ("two views 32 px", "torch DataLoader, torchvision"),
        ("two views 32 px", "resident"),
        ("two views 224 px jpeg", "torch DataLoader, torchvision"),
        ("two views 224 px jpeg", "stream"),
    ]
    assert [rows[first]["ratio"] for first in (0, 3, 7, 9)] == [1] * 4
    assert all(row["unit"] == "images/s" and row["value"] > 0 for row in rows)


def test_a_rate_counts_whole_epochs(monkeypatch):
    clock = iter([0.0, 0.0, 1.0, 2.5])
    monkeypatch.setattr(loader.time, "perf_counter", lambda: next(clock))
    assert loader.rate(lambda: 50, seconds=2.0) == 100 / 2.5


def test_values_are_medians_and_ratios_are_to_the_first_case(monkeypatch):
    rates = {"slow": iter([10.0, 30.0, 20.0]), "fast": iter([80.0, 10.0, 100.0])}
    cases = {name: (lambda name=name: name) for name in rates}
    monkeypatch.setattr(loader, "rate", lambda epoch, seconds: next(rates[epoch()]))
    rows = loader.compare("toy", cases, 3, seconds=0)
    assert [(row["case"], row["value"], row["ratio"]) for row in rows] == [("slow", 20.0, 1.0), ("fast", 80.0, 4.0)]
