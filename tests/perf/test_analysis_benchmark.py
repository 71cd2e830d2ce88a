from analysis import frame
from bench.perf import analysis


def test_the_benchmark_runs_at_a_hundredth_of_its_size():
    rows = analysis.run(1, quick=True)
    assert [row["benchmark"] for row in rows] == ["compile"] * 2 + ["bootstrap"] * 4 + ["collect"] * 2
    assert all(row["value"] > 0 for row in rows)
    assert rows[0]["case"] == "10,000 rows to leaderboards"


def test_its_rows_are_a_frame_with_the_dense_network_of_every_curve():
    table = analysis.results(20_000)
    frame.check(table)
    assert len(table) == 20_000
    assert table["seed"].nunique() == analysis.SEEDS
    tickets = table[table["pruner"] != "dense"].drop_duplicates(list(frame.DENSE_REFERENCE))
    assert len(tickets) <= len(table[table["pruner"] == "dense"].drop_duplicates(list(frame.DENSE_REFERENCE)))
