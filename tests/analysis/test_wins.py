import dataclasses

import numpy as np
import pandas as pd
import pytest

from analysis.frame import frame
from analysis.matching import matching
from analysis.wins import DOUBLE_WIN_COLUMNS, UNIVERSAL_COLUMNS, double_win, universal
from bench.catalog import PRUNERS

# Differences of the three seeds from dense; the margin is 0.01 for both metrics.
SUPERIOR, MATCHING, INFERIOR = (0.020, 0.021, 0.022), (-0.002, 0.0, 0.001), (-0.050, -0.048, -0.049)
UNSURE = (-0.04, 0.0, 0.04)
DENSE = (0.60, 0.62, 0.64)


def pair(row, differences, pruner="imp", **axes):
    """Results of the dense network and of a ticket that differs from it by these; None is a failure."""
    rows = [row("dense", 0.0, seed, value, **axes) for seed, value in enumerate(DENSE)]
    for seed, difference in enumerate(differences):
        failed = difference is None
        options = {"status": "failed", "reason": "x"} if failed else {}
        rows.append(row(pruner, 0.9, seed, None if failed else DENSE[seed] + difference, **options, **axes))
    return rows


def four(row, standard_sa, standard_ra, adversarial_sa, adversarial_ra, robust="pgd_accuracy(steps=20)", **axes):
    corners = [
        ("standard", "accuracy", standard_sa),
        ("standard", robust, standard_ra),
        ("adversarial", "accuracy", adversarial_sa),
        ("adversarial", robust, adversarial_ra),
    ]
    parts = [pair(row, found, objective=o, metric=m, **axes) for o, m, found in corners if found is not None]
    return [result for part in parts for result in part]


def matched(rows):
    return matching(frame(rows, grid="toy"))


def test_four_matching_corners_are_a_double_win(row):
    table = matched(four(row, MATCHING, SUPERIOR, MATCHING, MATCHING))
    found = double_win(table)
    assert list(found) == list(DOUBLE_WIN_COLUMNS)
    win = found.iloc[0]
    assert len(found) == 1
    labels = ["standard_sa", "standard_ra", "adversarial_sa", "adversarial_ra"]
    assert win[labels].tolist() == ["matching", "superior", "matching", "matching"]
    assert (win["double_win"], win["double_win_by_mean"], win["note"]) == (True, False, "")
    assert (win["robust_metric"], win["objective"]) == ("pgd_accuracy(steps=20)", "adversarial")
    # The claim is as sure as the least sure of the four (intersection-union).
    assert win["p"] == table["p"].max()
    assert win["p"] > table["p"].min()


def test_the_accuracy_on_another_split_is_no_corner(row):
    corners = four(row, MATCHING, SUPERIOR, MATCHING, MATCHING)
    other = pair(row, INFERIOR, metric="accuracy(split=mismatched)", objective="standard")
    pd.testing.assert_frame_equal(double_win(matched(corners + other)), double_win(matched(corners)))


def test_a_universal_ticket_of_texts_counts_the_first_score_of_each(row):
    tasks = (("rte", "accuracy"), ("cola", "matthews"), ("stsb", "pearson"), ("stsb", "spearman"), ("squad", "f1"))
    found = universal(matched([found for d, m in tasks for found in pair(row, SUPERIOR, dataset=d, metric=m)]))
    assert found["tasks"].tolist() == ["cola (matthews), rte (accuracy), squad (f1), stsb (pearson)"]
    assert found[["n_tasks", "n_matching"]].to_numpy().tolist() == [[4, 4]]


@pytest.mark.parametrize("corner", range(4))
@pytest.mark.parametrize("worse", [INFERIOR, UNSURE])
def test_one_corner_that_does_not_match_is_no_double_win(row, corner, worse):
    corners = [SUPERIOR] * 4
    corners[corner] = worse
    win = double_win(matched(four(row, *corners))).iloc[0]
    assert (win["double_win"], win["note"]) == (False, "")
    assert win["p"] > 0.05


@pytest.mark.parametrize(
    ("corner", "name"), list(enumerate(["standard_sa", "standard_ra", "adversarial_sa", "adversarial_ra"]))
)
def test_a_corner_without_every_seed_is_named_and_nothing_claimed(row, corner, name):
    corners = [SUPERIOR] * 4
    corners[corner] = (0.02, None, 0.022)
    win = double_win(matched(four(row, *corners))).iloc[0]
    assert win["note"] == f"no label for {name}"
    assert win[["double_win", "double_win_by_mean", "p"]].isna().all()
    assert win[name] == ""


def test_a_corner_that_was_never_planned_is_named(row):
    win = double_win(matched(four(row, None, MATCHING, MATCHING, MATCHING))).iloc[0]
    assert win["note"] == "no label for standard_sa"
    assert pd.isna(win["double_win"])


def test_every_selection_robust_metric_and_objective_has_a_row_of_its_own(row):
    rows = four(row, MATCHING, MATCHING, None, None)
    rows += four(row, MATCHING, MATCHING, None, None, selection="zero")
    for selection, corners in {"best": (MATCHING, INFERIOR), "robust": (MATCHING, MATCHING)}.items():
        rows += four(row, None, None, *corners, selection=selection)
    rows += four(row, None, MATCHING, None, MATCHING, robust="autoattack_accuracy")
    rows += pair(row, MATCHING, objective="adversarial(loss=trades)", metric="pgd_accuracy(steps=20)")
    found = double_win(matched(rows)).set_index(["objective", "selection", "robust_metric"])
    trades = ("adversarial(loss=trades)", "last", "pgd_accuracy(steps=20)")
    assert found["double_win"].to_dict() == {
        ("adversarial", "best", "pgd_accuracy(steps=20)"): False,
        ("adversarial", "last", "autoattack_accuracy"): None,
        ("adversarial", "robust", "pgd_accuracy(steps=20)"): True,
        trades: None,
    }
    assert found.at[trades, "note"] == "no label for adversarial_sa"


def test_of_several_standard_selections_the_first_counts(row):
    rows = four(row, INFERIOR, INFERIOR, None, None, selection="zero") + four(
        row, MATCHING, MATCHING, MATCHING, MATCHING
    )
    assert double_win(matched(rows))["double_win"].tolist() == [True]


def test_without_adversarial_transfer_there_is_no_question_of_double_wins(row):
    assert double_win(matched(four(row, MATCHING, MATCHING, None, None))).empty


def test_checks_of_the_attack_are_no_robust_accuracy(row):
    assert double_win(matched(four(row, MATCHING, MATCHING, MATCHING, MATCHING, robust="pgd_10_accuracy"))).empty


def test_a_ticket_that_matches_on_every_task_is_universal(row):
    table = matched(pair(row, MATCHING) + pair(row, SUPERIOR, dataset="svhn", metric="mean_iou"))
    found = universal(table)
    assert list(found) == list(UNIVERSAL_COLUMNS)
    ticket = found.iloc[0]
    assert len(found) == 1
    assert (ticket["universal"], ticket["universal_by_mean"], ticket["note"]) == (True, False, "")
    assert (ticket["tasks"], ticket["n_tasks"], ticket["n_matching"]) == ("digits (accuracy), svhn (mean_iou)", 2, 2)
    assert ticket["p"] == table["p"].max()


def test_a_task_that_is_not_matched_makes_it_not_universal(row):
    ticket = universal(matched(pair(row, MATCHING) + pair(row, UNSURE, dataset="svhn"))).iloc[0]
    assert (ticket["universal"], ticket["n_matching"], ticket["note"]) == (False, 1, "")
    assert ticket["p"] > 0.05


def test_only_the_metric_of_the_task_counts(row):
    rows = pair(row, MATCHING) + pair(row, INFERIOR, metric="pgd_accuracy") + pair(row, MATCHING, dataset="svhn")
    assert universal(matched(rows))["universal"].tolist() == [True]
    named = universal(matched(rows), {"digits": "pgd_accuracy", "svhn": "accuracy"})
    assert named["universal"].tolist() == [False]


def test_a_task_without_a_label_is_named_and_nothing_claimed(row):
    rows = pair(row, MATCHING) + pair(row, (0.0, None, 0.001), dataset="svhn")
    ticket = universal(matched(rows)).iloc[0]
    assert ticket["note"] == "no label for svhn (accuracy)"
    assert ticket[["universal", "universal_by_mean", "p"]].isna().all()
    assert (ticket["n_tasks"], ticket["n_matching"]) == (2, 1)


def test_a_named_task_that_the_grid_lacks_is_named(row):
    ticket = universal(matched(pair(row, MATCHING)), {"digits": "accuracy", "cifar10": "accuracy"}).iloc[0]
    assert ticket["note"] == "no label for cifar10 (accuracy)"
    assert pd.isna(ticket["universal"])


def test_the_tasks_are_those_planned_in_the_tickets_setting(row):
    rows = pair(row, MATCHING) + pair(row, MATCHING, dataset="svhn")
    rows += pair(row, MATCHING, transfer="finetune") + pair(row, MATCHING, transfer="finetune", dataset="letters")
    found = universal(matched(rows)).set_index("transfer")
    assert found["tasks"].to_dict() == {
        "linear": "digits (accuracy), svhn (accuracy)",
        "finetune": "digits (accuracy), letters (accuracy)",
    }
    assert found["universal"].all()


def test_named_data_sets_count_in_every_setting_with_their_own_metric(row):
    rows = pair(row, MATCHING) + pair(row, MATCHING, dataset="svhn", metric="mean_iou")
    rows += pair(row, MATCHING, transfer="finetune") + pair(row, MATCHING, dataset="letters")
    found = universal(matched(rows), ["svhn", "digits"]).set_index("transfer")
    assert set(found["tasks"]) == {"digits (accuracy), svhn (mean_iou)"}
    assert found["universal"].fillna(False).to_dict() == {"linear": True, "finetune": False}
    with pytest.raises(ValueError, match=r'no ticket is planned for "cifar10" \(known: digits, letters, svhn\)'):
        universal(matched(rows), ["cifar10"])


def test_a_ticket_that_was_not_tried_on_a_task_of_the_grid_is_no_universal_one(row):
    rows = pair(row, MATCHING) + pair(row, MATCHING, dataset="svhn") + pair(row, MATCHING, "omp")[3:]
    found = universal(matched(rows)).set_index("pruner")
    assert found.at["imp", "universal"]
    assert found.at["omp", "note"] == "no label for svhn (accuracy)"


def test_one_task_is_no_universe(row):
    ticket = universal(matched(pair(row, MATCHING))).iloc[0]
    assert ticket["note"] == "one task: nothing to be universal over"
    assert pd.isna(ticket["universal"])
    assert ticket["n_matching"] == 1


@pytest.mark.parametrize(
    ("pruner", "own"),
    [
        ("imp(on=downstream)", True),
        ("imp(objective=adversarial, on=downstream)", True),
        ("imp", False),
        ("snip", True),
        ("snip(on=upstream, examples=64)", False),
        ("omp(allocation=erk)", False),
        ("somebodys(strange)", False),
    ],
)
def test_masks_found_on_each_task_are_no_universal_ticket(row, pruner, own):
    ticket = universal(matched(pair(row, MATCHING, pruner) + pair(row, MATCHING, pruner, dataset="svhn"))).iloc[0]
    assert pd.isna(ticket["universal"]) == own
    assert (ticket["note"] == "every task has a mask of its own") == own
    assert PRUNERS["snip"].options["on"].default == "downstream"


def test_grids_have_tasks_of_their_own(row):
    one = frame(pair(row, MATCHING) + pair(row, MATCHING, dataset="svhn"), grid="one")
    two = frame(pair(row, MATCHING) + pair(row, INFERIOR, dataset="letters"), grid="two")
    found = universal(matching(pd.concat([one, two], ignore_index=True)))
    assert found["universal"].tolist() == [True, False]
    assert found["tasks"].tolist() == ["digits (accuracy), svhn (accuracy)", "digits (accuracy), letters (accuracy)"]


@pytest.mark.parametrize("claims", [double_win, universal])
def test_the_order_of_the_rows_does_not_matter(row, claims):
    rows = four(row, MATCHING, MATCHING, MATCHING, UNSURE)
    rows += four(row, MATCHING, MATCHING, SUPERIOR, (0.0, None, 0.1), dataset="svhn")
    table = matched(rows)
    expected = claims(table)
    assert len(expected) == 2
    for seed in range(3):
        mixed = table.sample(frac=1, random_state=seed)
        pd.testing.assert_frame_equal(claims(mixed), expected, check_exact=True)


@pytest.mark.parametrize("claims", [double_win, universal])
def test_nothing_gives_an_empty_table(claims):
    found = claims(matched([]))
    assert found.empty
    assert list(found) == list(DOUBLE_WIN_COLUMNS if claims is double_win else UNIVERSAL_COLUMNS)


def test_claiming_all_of_four_is_wrong_in_at_most_five_percent(row):
    # Three corners exactly as dense, one exactly at the margin: 2,000 tickets, each a data set of its own. At 0.05 the
    # standard error is 0.0049; 4 are allowed above.
    rows = frame(four(row, MATCHING, MATCHING, MATCHING, MATCHING), grid="toy")
    count = 2000
    table = rows.loc[np.tile(rows.index, count)].reset_index(drop=True)
    table["dataset"] = np.repeat(np.arange(count), len(rows)).astype(str)
    is_ticket, dense = table["pruner"] == "imp", table["seed"].map(dict(enumerate(DENSE)))
    loss = 0.01 * ((table["objective"] == "adversarial") & (table["metric"] != "accuracy"))
    noise = np.random.default_rng(0).normal(0, 0.002, len(table))
    table["value"] = dense + is_ticket * (noise - loss)
    found = double_win(matching(table))
    assert len(found) == count
    assert found["double_win"].mean() <= 0.05 + 0.0195


DENSE_TASKS = {"voc2012": "mean_iou", "voc2007": "ap"}


def study(row, voc=MATCHING, pruner="imp", **axes):
    """Two small-image sets with a stem of their own, a segmentation and a detection set; one mask for all of them."""
    parts = [
        pair(row, MATCHING, pruner, dataset=name, architecture="resnet50(stem=cifar)", **axes)
        for name in ("cifar10", "svhn")
    ]
    parts += [
        pair(row, voc, pruner, dataset=name, metric=metric, architecture="resnet50", **axes)
        for name, metric in DENSE_TASKS.items()
    ]
    return [result for part in parts for result in part]


def test_one_mask_over_classification_segmentation_and_detection_is_one_ticket(row):
    ticket = universal(matched(study(row)))
    assert len(ticket) == 1
    assert ticket["architecture"].tolist() == ["resnet50"]
    assert ticket["tasks"].tolist() == ["cifar10 (accuracy), svhn (accuracy), voc2007 (ap), voc2012 (mean_iou)"]
    assert ticket[["n_tasks", "n_matching", "universal", "note"]].iloc[0].tolist() == [4, 4, True, ""]
    lost = universal(matched(study(row, voc=INFERIOR))).iloc[0]
    assert (lost["universal"], lost["n_matching"]) == (False, 2)


def test_metrics_of_a_dense_task_besides_its_own_do_not_count(row):
    rows = study(row)
    rows += pair(row, INFERIOR, dataset="voc2012", metric="pixel_accuracy", architecture="resnet50")
    rows += pair(row, INFERIOR, dataset="voc2007", metric="ap50", architecture="resnet50")
    assert universal(matched(rows))["universal"].tolist() == [True]


def test_stems_with_masks_of_their_own_are_tickets_of_their_own(row):
    rows = [
        dataclasses.replace(result, ticket=f"{result.ticket}-{result.cell.architecture}-{result.cell.seed}")
        for result in study(row)
    ]
    table = frame(rows, grid="toy")
    apart = universal(matching(table), rows=table)
    assert apart["architecture"].tolist() == ["resnet50", "resnet50(stem=cifar)"]
    assert apart["universal"].isna().all()
    assert apart["note"].tolist() == [
        "no label for cifar10 (accuracy), svhn (accuracy)",
        "no label for voc2007 (ap), voc2012 (mean_iou)",
    ]
    shared = frame(study(row), grid="toy")
    assert universal(matching(shared), rows=shared)["universal"].tolist() == [True]
    # Rows of others name no masks: the network's name decides.
    unknown = table.assign(ticket="")
    assert universal(matching(unknown), rows=unknown)["universal"].tolist() == [True]


def test_a_task_that_lacks_a_selection_counts_with_its_first_one(row):
    rows = pair(row, MATCHING, selection="best_validation") + pair(row, INFERIOR, selection="last")
    rows += pair(row, MATCHING, dataset="voc2007", metric="ap", selection="last")
    rows += pair(row, MATCHING, dataset="voc2012", metric="mean_iou", selection="best_test")
    found = universal(matched(rows)).set_index("selection")
    assert found["universal"].to_dict() == {"best_validation": True, "last": False}
    assert found["n_matching"].to_dict() == {"best_validation": 3, "last": 2}
