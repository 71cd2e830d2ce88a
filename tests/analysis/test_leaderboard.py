import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.frame import frame
from analysis.leaderboard import LEADERBOARD_COLUMNS, leaderboard, overall
from bench.spec import AXES


def board_of(rows):
    return leaderboard(frame(rows, grid="toy"))


def entry(board, pruner, sparsity, **axes):
    chosen = board[(board["pruner"] == pruner) & (board["sparsity"] == sparsity)]
    for name, value in axes.items():
        chosen = chosen[chosen[name] == value]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_an_entry_is_a_cell_without_its_seed(small_grid):
    board = board_of(small_grid)
    assert list(board.columns) == list(LEADERBOARD_COLUMNS)
    assert set(LEADERBOARD_COLUMNS) & set(AXES) == set(AXES) - {"seed"}
    assert len(board) == 4


def test_mean_sd_and_interval_by_hand(small_grid):
    found = entry(board_of(small_grid), "omp", 0.5)
    assert (found["n"], found["n_planned"], bool(found["complete"])) == (3, 3, True)
    assert found["mean"] == pytest.approx(0.80, abs=1e-12)
    assert found["sd"] == pytest.approx(0.01, abs=1e-12)
    # t(0.975, 2) / sqrt(3) = 2.48414
    assert found["ci_low"] == pytest.approx(0.80 - 0.0248414, abs=1e-7)
    assert found["ci_high"] == pytest.approx(0.80 + 0.0248414, abs=1e-7)
    assert found["keys"] == "e-omp-0.5-0 e-omp-0.5-1 e-omp-0.5-2"


def test_intervals_are_scipys_on_random_entries(row):
    values = np.random.default_rng(1).normal(0.8, 0.02, size=(4, 5))
    levels = (0.2, 0.5, 0.8, 0.9)
    board = board_of(
        [row("omp", s, k, v) for s, found in zip(levels, values, strict=True) for k, v in enumerate(found)]
    )
    for sparsity, found in zip(levels, values, strict=True):
        expected = stats.t.interval(0.95, 4, loc=found.mean(), scale=stats.sem(found))
        np.testing.assert_allclose(entry(board, "omp", sparsity)[["ci_low", "ci_high"]].to_list(), expected, rtol=1e-10)


def test_difference_to_the_dense_network(small_grid):
    board = board_of(small_grid)
    assert entry(board, "omp", 0.5)["dense_mean"] == pytest.approx(0.90)
    assert entry(board, "omp", 0.5)["diff_mean"] == pytest.approx(-0.10)
    assert entry(board, "dense", 0.0)["diff_mean"] == 0


def test_the_dense_reference_is_that_of_the_same_network_task_and_transfer(row):
    rows = [
        row("dense", 0.0, 0, 0.9),
        row("dense", 0.0, 0, 0.7, transfer="finetune"),
        row("dense", 0.0, 0, 0.6, pretraining="pgd_adversarial"),
        row("omp", 0.5, 0, 0.5),
        row("omp", 0.5, 0, 0.5, transfer="finetune"),
        row("omp", 0.5, 0, 0.5, pretraining="pgd_adversarial"),
        row("omp", 0.5, 0, 0.5, fraction=0.1),
        row("omp", 0.5, 0, 0.5, granularity="channel", objective="standard"),
    ]
    board = board_of(rows)
    chosen = {"transfer": "linear", "pretraining": "supervised", "fraction": 1.0, "granularity": "unstructured"}
    for changed, dense in (
        ({}, 0.9),
        ({"transfer": "finetune"}, 0.7),
        ({"pretraining": "pgd_adversarial"}, 0.6),
        ({"granularity": "channel"}, 0.9),
    ):
        assert entry(board, "omp", 0.5, **(chosen | changed))["dense_mean"] == dense
    without = entry(board, "omp", 0.5, **(chosen | {"fraction": 0.1}))
    assert math.isnan(without["dense_mean"])
    assert math.isnan(without["diff_mean"])


def test_an_incomplete_dense_network_is_no_reference(row):
    rows = [row("dense", 0.0, 0, 0.9), row("dense", 0.0, 1, status="missing", reason="not run")]
    rows += [row("omp", 0.5, seed, 0.5) for seed in (0, 1)]
    assert math.isnan(entry(board_of(rows), "omp", 0.5)["dense_mean"])


def test_an_incomplete_entry_is_shown_last_without_rank_however_good(small_grid):
    board = board_of(small_grid)
    last = board.iloc[-1]
    assert (last["pruner"], last["sparsity"], last["n"], last["n_planned"]) == ("omp", 0.9, 1, 3)
    assert last["mean"] == 0.95 == board["mean"].max()
    assert not last["complete"]
    assert last[["rank", "rank_in_setting"]].isna().all()
    assert last[["sd", "ci_low", "ci_high", "diff_mean"]].isna().all()
    assert last["keys"] == "e-omp-0.9-0"
    assert board["rank"].tolist()[:-1] == [1, 2, 3]


def test_an_entry_with_no_result_at_all_stays_visible(row):
    board = board_of([row("omp", 0.9, seed, status="blocked", reason="waits for ticket") for seed in (0, 1, 2)])
    assert board[["n", "n_planned"]].to_numpy().tolist() == [[0, 3]]
    assert math.isnan(board.loc[0, "mean"])
    assert board.loc[0, "keys"] == ""


def test_lower_is_better_where_the_metric_says_so(row):
    values = {"dense": 0.3, "omp": 0.2, "random": 0.9}
    rows = [row(p, 0.0 if p == "dense" else 0.5, 0, v, metric="nll", higher_is_better=False) for p, v in values.items()]
    board = board_of(rows)
    assert board["pruner"].tolist() == ["omp", "dense", "random"]
    assert board["rank"].tolist() == [1, 2, 3]
    assert board["diff_mean"].tolist() == pytest.approx([-0.1, 0.0, 0.6])


def test_ties_share_a_rank_and_the_next_rank_is_left_out(row):
    # imp and omp both got 1,211 of 1,500 right; their means differ in the last binary digit.
    values = {
        "dense": (0.9, 0.9, 0.9),
        "imp": (0.690, 0.848, 0.884),
        "omp": (0.742, 0.812, 0.868),
        "random": (0.1, 0.1, 0.1),
    }
    rows = [
        row(p, 0.0 if p == "dense" else 0.5, seed, v) for p, found in values.items() for seed, v in enumerate(found)
    ]
    board = board_of(rows)
    assert board[["pruner", "rank"]].to_numpy().tolist() == [["dense", 1], ["imp", 2], ["omp", 2], ["random", 4]]


def test_ranks_are_within_a_data_set_and_metric_and_again_within_a_setting(row):
    rows = [
        row("dense", 0.0, 0, 0.9),
        row("omp", 0.5, 0, 0.8),
        row("random", 0.5, 0, 0.7),
        row("omp", 0.5, 0, 0.85, transfer="finetune"),
        row("omp", 0.5, 0, 0.1, dataset="digits_noisy"),
        row("omp", 0.5, 0, 0.2, metric="pgd_accuracy"),
    ]
    board = board_of(rows)
    linear = {"dataset": "digits", "metric": "accuracy", "transfer": "linear"}
    for pruner, sparsity, changed, ranks in (
        ("dense", 0.0, {}, [1, 1]),
        ("omp", 0.5, {"transfer": "finetune"}, [2, 1]),
        ("omp", 0.5, {}, [3, 1]),
        ("random", 0.5, {}, [4, 2]),
        ("omp", 0.5, {"dataset": "digits_noisy"}, [1, 1]),
        ("omp", 0.5, {"metric": "pgd_accuracy"}, [1, 1]),
    ):
        assert entry(board, pruner, sparsity, **(linear | changed))[["rank", "rank_in_setting"]].tolist() == ranks


def test_equal_seeds_have_no_spread_and_no_interval(row):
    # The sum of three times 0.1, divided by 3, is not 0.1 in binary: a naive sd is 1.7e-17.
    found = board_of([row("omp", 0.9, seed, 0.1) for seed in (0, 1, 2)]).iloc[0]
    assert found["sd"] == 0.0
    assert found[["ci_low", "ci_high"]].isna().all()
    assert found["rank"] == 1


def test_one_seed_has_neither_spread_nor_interval(row):
    found = board_of([row("omp", 0.9, 0, 0.1)]).iloc[0]
    assert found[["sd", "ci_low", "ci_high"]].isna().all()
    assert (bool(found["complete"]), found["rank"]) == (True, 1)


def test_achieved_sparsity_stands_beside_the_requested_one(row):
    found = board_of([row("omp", 0.9, seed, 0.5, achieved=0.8994) for seed in (0, 1)]).iloc[0]
    assert (found["sparsity"], found["achieved_sparsity"]) == (0.9, pytest.approx(0.8994))


def test_keys_belong_to_their_entries_whatever_the_order_read(row):
    rows = [row("omp", s, seed, 0.5) for s in (0.9, 0.2, 0.5) for seed in (2, 0, 1)]
    board = board_of(rows)
    for sparsity in (0.2, 0.5, 0.9):
        expected = " ".join(f"e-omp-{sparsity:g}-{seed}" for seed in (0, 1, 2))
        assert entry(board, "omp", sparsity)["keys"] == expected
    pd.testing.assert_frame_equal(board, board_of(rows[::-1]))


def test_pretraining_seeds_are_entries_of_their_own_with_their_own_reference(row):
    rows = [
        row(p, s, 0, v, pretraining_seed=k)
        for k, (dense, omp) in enumerate([(0.9, 0.8), (0.7, 0.65)])
        for p, s, v in (("dense", 0.0, dense), ("omp", 0.5, omp))
    ]
    board = board_of(rows)
    assert entry(board, "omp", 0.5, pretraining_seed=0)["diff_mean"] == pytest.approx(-0.1)
    assert entry(board, "omp", 0.5, pretraining_seed=1)["diff_mean"] == pytest.approx(-0.05)


def test_the_overall_rank_is_the_mean_of_the_places_on_the_data_sets(row):
    # omp wins on two of three sets, imp on one: mean ranks 4/3 and 5/3.
    values = {"digits": (0.9, 0.8), "digit_glyphs": (0.7, 0.6), "digits_noisy": (0.3, 0.4)}
    rows = [
        row(pruner, 0.9, seed, value + seed / 100, dataset=dataset)
        for dataset, pair in values.items()
        for pruner, value in zip(("omp", "imp"), pair, strict=True)
        for seed in (0, 1)
    ]
    found = overall(leaderboard(frame(rows, grid="toy")))
    assert found[["rank", "pruner", "n_datasets", "n_methods"]].to_numpy().tolist() == [
        [1, "omp", 3, 2],
        [2, "imp", 3, 2],
    ]
    assert found["mean_rank"].tolist() == pytest.approx([4 / 3, 5 / 3])
    # Student's t with two degrees of freedom: the interval leaves [1, 2] on both sides.
    assert found[["mean_rank_low", "mean_rank_high"]].to_numpy().tolist() == [[1, 2], [1, 2]]
    assert found["mean"].tolist() == pytest.approx([1.9 / 3 + 0.005, 1.8 / 3 + 0.005])


def test_a_method_with_a_missing_cell_is_marked_and_does_not_lead(row):
    rows = [row("omp", 0.9, seed, 0.9, dataset=name) for name in ("digits", "digits_noisy") for seed in (0, 1)]
    rows += [row("imp", 0.9, seed, 0.95, dataset=name) for name in ("digits", "digits_noisy") for seed in (0, 1)]
    rows[-1] = row("imp", 0.9, 1, dataset="digits_noisy", status="failed")
    found = overall(leaderboard(frame(rows, grid="toy"))).set_index("pruner")
    assert found["complete"].to_dict() == {"omp": True, "imp": False}
    assert found["rank"].fillna(0).to_dict() == {"omp": 1, "imp": 0}
    assert found["n_datasets"].to_dict() == {"omp": 2, "imp": 1}
    assert found.loc["imp", "note"] == "one data set: no interval"


def test_tied_methods_share_the_mean_of_their_places(row):
    rows = [row(pruner, 0.9, seed, 0.9) for pruner in ("omp", "imp") for seed in (0, 1)]
    found = overall(leaderboard(frame(rows, grid="toy")))
    assert found["mean_rank"].tolist() == [1.5, 1.5]
    assert found["rank"].tolist() == [1, 1]
    assert set(found["note"]) == {"one data set: no interval"}


def test_the_overall_leaderboard_does_not_depend_on_the_order_of_rows(small_grid):
    table = frame(small_grid, grid="toy")
    shuffled = table.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(overall(leaderboard(shuffled)), overall(leaderboard(table)))


def test_what_ran_and_doubts_are_listed_once(row):
    rows = [dataclasses.replace(row(seed=seed, value=0.5), flags="gradients vanish") for seed in (0, 1, 2)]
    rows[2] = dataclasses.replace(rows[2], flags="", device="H100", commit="9abc", device_hours=2.0)
    (entry,) = leaderboard(frame(rows, grid="toy")).to_dict("records")
    assert (entry["flags"], entry["device"], entry["commits"]) == ("gradients vanish", "H100; cpu", "0123abc; 9abc")
    assert (entry["device_hours"], entry["ticket_hours"], entry["kept"]) == (1.0, 1.5, 100)
