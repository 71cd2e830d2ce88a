import io

from rich.console import Console

from analysis import terminal
from analysis.frame import frame
from analysis.leaderboard import leaderboard


def printed(rows, files=()):
    table = frame(rows, grid="toy")
    console = Console(file=io.StringIO(), width=160)
    terminal.show(table, leaderboard(table), files, console)
    return console.file.getvalue()


def test_the_best_complete_tickets_are_shown_with_interval_and_difference(small_grid, tmp_path):
    text = printed(small_grid, [tmp_path / "rows.csv"])
    assert [line.split() for line in text.splitlines() if "0.8000" in line or "0.4000" in line] == [
        ["digits", "accuracy", "2", "omp", "0.5", "0.8000", "0.7752", "..", "0.8248", "3", "-0.1000"],
        ["3", "random", "0.9", "0.4000", "0.1516", "..", "0.6484", "3", "-0.5000"],
    ]
    assert "dense " not in text.replace("to dense", "")


def test_axes_with_one_value_are_left_out_and_others_shown(small_grid, row, tmp_path):
    assert "transfer" not in printed(small_grid, [tmp_path / "rows.csv"])
    assert "transfer" in printed([*small_grid, row(value=0.5, transfer="finetune")], [tmp_path / "rows.csv"])


def test_leaderboards_beyond_the_limit_are_counted(row, tmp_path):
    rows = [row(value=0.5, dataset=f"set{i}") for i in range(terminal.MAX_LEADERBOARDS + 2)]
    assert "2 more leaderboards are in the files" in printed(rows, [tmp_path / "rows.csv"])
