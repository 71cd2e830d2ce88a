import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.frame import ENTRY, frame
from analysis.matching import MATCHING_COLUMNS, matching, starts_pretrained
from bench.catalog import PRUNERS

DENSE = (0.90, 0.92, 0.94)


def entry(row, values, pruner="imp", sparsity=0.9, **options):
    """Results of one network with seeds 0, 1, ...; None is a failure."""
    return [
        row(pruner, sparsity, seed, value, **({"status": "failed", "reason": "x"} if value is None else {}), **options)
        for seed, value in enumerate(values)
    ]


def dense(row, values=DENSE, **options):
    return entry(row, values, "dense", 0.0, **options)


def table(*entries, grid="toy"):
    return frame([result for results in entries for result in results], grid=grid)


def test_a_ticket_is_compared_with_the_dense_network_of_the_same_seed(row):
    # Differences -0.01, 0, 0.01 although the seeds differ by far more; margin 0.01 on 500 test images.
    found = matching(table(dense(row), entry(row, (0.89, 0.92, 0.95))))
    assert list(found) == list(MATCHING_COLUMNS)
    assert len(found) == 1
    ticket = found.iloc[0]
    assert ticket["n_pairs"] == 3
    assert ticket[["mean", "dense_mean", "diff_mean", "sd_diff"]].tolist() == pytest.approx([0.92, 0.92, 0.0, 0.01])
    half = 4.30265 * 0.01 / math.sqrt(3)
    assert ticket[["diff_low", "diff_high"]].tolist() == pytest.approx([-half, half], rel=1e-5)
    # t = 0.01 / (0.01 / sqrt(3)) = 1.732 on 2 degrees of freedom; the one-sided limit is 2.91999 errors below 0.
    assert ticket["p"] == pytest.approx(stats.t.sf(math.sqrt(3), 2), rel=1e-9)
    assert ticket["improvement_low"] == pytest.approx(-2.91999 * 0.01 / math.sqrt(3), rel=1e-5)
    assert ticket["smallest_margin"] == -ticket["improvement_low"]
    assert (ticket["margin"], ticket["label"], ticket["note"]) == (0.01, "inconclusive", "")


def test_at_its_smallest_margin_a_ticket_just_matches(row):
    rows = table(dense(row), entry(row, (0.89, 0.925, 0.95)))
    smallest = matching(rows).at[0, "smallest_margin"]
    assert matching(rows, margins={"accuracy": smallest}).at[0, "p"] == pytest.approx(0.05, rel=1e-9)
    assert matching(rows, margins={"accuracy": smallest * 1.001}).at[0, "label"] == "matching"
    assert matching(rows, margins={"accuracy": smallest * 0.999}).at[0, "label"] == "inconclusive"


@pytest.mark.parametrize(
    ("shift", "label", "winning"), [(0.01, "superior", True), (-0.005, "matching", True), (-0.05, "inferior", False)]
)
def test_labels_and_winning_tickets(row, shift, label, winning):
    noise = (-0.001, 0.0, 0.001)
    found = matching(table(dense(row), entry(row, [d + shift + e for d, e in zip(DENSE, noise, strict=True)])))
    assert (found.at[0, "label"], found.at[0, "winning"]) == (label, winning)


def test_where_lower_is_better_a_lower_value_is_an_improvement(row):
    nll = {"metric": "nll", "higher_is_better": False}
    found = matching(table(dense(row, (1.0, 1.1, 1.2), **nll), entry(row, (0.90, 1.01, 1.10), **nll)))
    ticket = found.iloc[0]
    assert ticket["diff_mean"] == pytest.approx(-0.29 / 3)
    assert ticket["margin"] == pytest.approx(0.02 * 1.1)
    assert ticket["improvement_low"] > 0
    assert (ticket["label"], ticket["by_mean"]) == ("superior", True)


def test_the_papers_rules_stand_beside_the_test(row):
    # Dense sd 0.02, ticket sd 0.04; means 0.92 and 0.895, 0.025 apart.
    found = matching(table(dense(row), entry(row, (0.855, 0.895, 0.935)))).iloc[0]
    rules = ["by_mean", "by_sd_dense", "by_sd_ticket", "by_sd_larger"]
    assert found[rules].tolist() == [False, False, True, True]


def test_equal_means_satisfy_the_rule_of_the_mean_whatever_the_order_of_the_sums(row):
    # The differences sum to -1.1e-16.
    found = matching(table(dense(row, (0.1, 0.2, 0.9)), entry(row, (0.2, 0.9, 0.1)))).iloc[0]
    assert found[["by_mean", "by_sd_dense"]].tolist() == [True, True]


def test_along_a_curve_the_largest_p_so_far_decides(row):
    levels = {0.5: (0.895, 0.922, 0.938), 0.8: (0.88, 0.92, 0.93), 0.9: (0.90, 0.921, 0.939)}
    found = matching(table(dense(row), *(entry(row, values, sparsity=s) for s, values in levels.items())))
    p = found["p"].tolist()
    assert p[1] > p[0] > p[2]
    assert found["p_ladder"].tolist() == [p[0], p[1], p[1]]


def test_a_level_without_a_test_ends_the_ladder(row):
    levels = {0.5: (0.895, 0.922, 0.938), 0.8: (0.88, 0.92, None), 0.9: (0.90, 0.921, 0.939)}
    found = matching(table(dense(row), *(entry(row, values, sparsity=s) for s, values in levels.items())))
    assert found["p_ladder"].isna().tolist() == [False, True, True]
    assert found["p"].isna().tolist() == [False, True, False]


def test_other_curves_have_ladders_of_their_own(row):
    alone = matching(table(dense(row), entry(row, (0.895, 0.922, 0.938), "omp")))
    both = matching(
        table(dense(row), entry(row, (0.895, 0.922, 0.938), "omp"), entry(row, (0.8, 0.8, 0.7), sparsity=0.5))
    )
    assert both.loc[both["pruner"] == "omp", "p_ladder"].tolist() == alone["p_ladder"].tolist()


def test_an_entry_that_lacks_a_seed_shows_what_it_has_and_claims_nothing(row):
    found = matching(table(dense(row), entry(row, (0.91, None, 0.96)))).iloc[0]
    assert found["n_pairs"] == 2
    assert found["diff_mean"] == pytest.approx(0.015)
    assert not np.isnan(found["diff_low"])
    assert found[["p", "p_ladder", "improvement_low", "smallest_margin"]].isna().all()
    assert found[["winning", "by_mean", "by_sd_dense", "by_sd_ticket", "by_sd_larger"]].isna().all()
    note = "2 of 3 planned seeds have both the ticket and the dense network: no claim before all have"
    assert (found["label"], found["note"]) == ("", note)


def test_a_seed_that_dense_lacks_is_no_pair(row):
    found = matching(table(dense(row, (0.90, None, 0.94)), entry(row, (0.91, 0.5, 0.96)))).iloc[0]
    assert (found["n_pairs"], found["label"]) == (2, "")
    assert found["mean"] == pytest.approx(0.935)


def test_a_ticket_without_a_dense_network_is_listed(row):
    found = matching(table(entry(row, (0.9, 0.9, 0.9)))).iloc[0]
    assert (found["n_pairs"], found["label"]) == (0, "")
    assert found["note"] == "there is no dense network with the same axes to compare with"
    assert found[["mean", "dense_mean", "diff_mean", "diff_low", "margin", "p"]].isna().all()


def test_nothing_done_yet_is_said(row):
    found = matching(table(dense(row, [None] * 3), entry(row, [None] * 3))).iloc[0]
    assert found["note"].startswith("0 of 3 planned seeds")


def test_the_same_difference_with_every_seed_allows_no_inference(row):
    # 0.91 - 0.90 and 0.93 - 0.92 differ in their last bits only.
    found = matching(table(dense(row), entry(row, (0.91, 0.93, 0.95)))).iloc[0]
    assert found["sd_diff"] == 0
    assert found[["diff_low", "p"]].isna().all()
    assert found["label"] == ""
    assert found["note"] == "the difference is the same with every seed: nothing can be inferred"
    assert found["by_mean"]


def test_one_seed_allows_no_inference(row):
    found = matching(table(dense(row, (0.9,)), entry(row, (0.91,)))).iloc[0]
    assert (found["label"], found["note"]) == ("", "one seed: nothing can be inferred")
    assert found["by_mean"]
    assert pd.isna(found["by_sd_dense"])


def test_a_metric_without_a_margin_says_so(row):
    unknown = {"metric": "frechet_distance", "higher_is_better": False}
    rows = table(dense(row, **unknown), entry(row, (0.89, 0.925, 0.95), **unknown))
    found = matching(rows).iloc[0]
    assert (found["label"], found["note"]) == ("", "no margin is known for frechet_distance: state one")
    assert matching(rows, margins={"frechet_distance": 0.5}).at[0, "label"] == "matching"


def test_the_dense_network_is_that_of_the_same_setting(row):
    rows = table(
        dense(row),
        dense(row, (0.5, 0.6, 0.7), objective="adversarial"),
        entry(row, (0.51, 0.6, 0.68), objective="adversarial"),
        entry(row, (0.9, 0.95, 0.93), granularity="channel"),
    )
    found = matching(rows)
    assert found["dense_mean"].tolist() == pytest.approx([0.92, 0.6])


def test_the_order_of_the_rows_does_not_matter(row):
    levels = {0.5: (0.895, 0.922, 0.938), 0.8: (0.88, 0.92, None), 0.9: (0.90, 0.921, 0.939)}
    rows = table(dense(row), *(entry(row, values, sparsity=s) for s, values in levels.items()))
    expected = matching(rows)
    for seed in range(5):
        pd.testing.assert_frame_equal(matching(rows.sample(frac=1, random_state=seed)), expected, check_exact=True)
    assert expected[list(ENTRY)].equals(expected[list(ENTRY)].sort_values(list(ENTRY), ignore_index=True))


def test_an_empty_frame_gives_an_empty_table():
    found = matching(frame([], grid="toy"))
    assert found.empty
    assert list(found) == list(MATCHING_COLUMNS)


@pytest.mark.parametrize(
    ("pretraining", "pruner", "expected"),
    [
        ("supervised", "imp", True),
        ("checkpoint(path=a b/(1).pt)", "omp(allocation=erk)", True),
        ("random", "imp", False),
        ("supervised", "imp(rewind=never)", False),
        ("supervised", "imp(on=downstream, rewind=never)", False),
        ("supervised", "imp(on=downstream, rewind_epoch=3)", False),
        ("supervised", "imp(on=downstream, rewind=finetuned)", False),
        ("supervised", "imp(rewind=prunable)", False),
        ("supervised", "imp(rewind_epoch=0)", True),
        ("supervised", "omp(control=reinitialised)", False),
        ("supervised", "omp(control=shuffled)", False),
        ("huggingface", "imp(on=toy(of=mnli), control=permuted_layers)", False),
        ("supervised", "omp(control=reversed)", True),
        ("supervised", "ticket(path=rewind=never.pt)", True),
        ("supervised", "somebodys(strange=1, options)", True),
    ],
)
def test_a_winning_ticket_starts_from_exactly_the_pretrained_weights(pretraining, pruner, expected):
    assert starts_pretrained(pd.Series([pretraining]), pd.Series([pruner])).tolist() == [expected]


def test_the_options_that_move_the_start_are_still_called_so():
    options = PRUNERS["imp"].options
    assert (options["rewind"].choices, options["rewind"].default) == (
        ("pretrained", "finetuned", "prunable", "never"),
        "pretrained",
    )
    assert (options["rewind_epoch"].default, options["control"].default) == (0, "none")
    assert options["control"].choices == ("none", "reinitialised", "shuffled", "permuted_layers", "reversed")
