"""Sentences say what the labels and tests of the tables say, and no more."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from analysis.answers import effects
from analysis.answers.summary import sentences
from analysis.compiling import compiled
from analysis.frame import frame

FAILED = ("failed", "transfer 12ab failed: out of memory (log: x.log)")
BLOCKED = ("blocked", "waits for ticket: prune 34cd failed: disk full (log: y.log)")


def texts(tables):
    return [sentence.text for sentence in sentences(tables)]


def test_a_finished_grid_names_its_size_and_seeds(toy):
    assert texts(toy)[0] == "All of the 90 planned results are done, with 3 seeds per entry."


def test_labels_are_counted(toy):
    # imp at 0.5 matches for both pre-trainings on three data sets, the other 18 tickets lose nine points or more.
    found = next(text for text in texts(toy) if text.startswith("By accuracy, of 24 tickets"))
    assert "0 superior, 6 matching, 0 inconclusive (neither shown to match nor to be inferior) and 18 inferior" in found
    assert "margin 1.0 points, n = 3 seeds" in found


def test_the_sparsest_matching_ticket_is_named_with_its_estimate(toy):
    found = next(sentence for sentence in sentences(toy) if sentence.table == "maxima")
    assert (
        found.lead
        == "By accuracy with linear transfer, standard objective, all labels (margin 1.0 points, n = 3 seeds):"
    )
    assert [point.partition(":")[0] for point in found.points] == ["digit_glyphs", "digits", "digits_noisy"]
    assert all("tickets match up to 50.0 % sparsity (imp from supervised" in point for point in found.points)


def test_robust_pretraining_is_judged_per_data_set_with_n_interval_and_corrected_p(toy):
    found = next(sentence for sentence in sentences(toy) if sentence.topic == "Does robust pre-training help")
    assert (
        "tickets of pgd_adversarial against supervised pre-training (averaged over pruners but random masks"
        in found.lead
    )
    row = toy.comparisons.query(
        "axis == 'pretraining' and dataset == 'digits' and pruner == '' and sparsity == ''"
    ).iloc[0]
    low, high = 100 * row["diff_low"], 100 * row["diff_high"]
    # Tickets of seeds 0, 1, 2: 0.0775, 0.0725 and 0.068 better on average, by hand from the toy.
    assert row["diff_mean"] == pytest.approx((0.0775 + 0.0725 + 0.068) / 3)
    expected = (
        f"digits: better by +7.3 points (95 % interval [{low:+.1f}, {high:+.1f}], n = 3 seeds, p = {row['p_holm']:.3f})"
    )
    assert expected in found.text
    assert "each sparsity by itself: better at 50.0 % and 90.0 %" in found.text


def test_self_supervised_pretraining_is_judged_against_the_supervised_one_and_is_not_called_robust(row):
    simclr = "checkpoint(path=s.pth, method=simclr)"
    rows = [
        row(pruner, sparsity, seed, 0.7 + gain + seed / 100, pretraining=pretraining, metric=metric, dataset=dataset)
        for dataset, metric in (("cifar10", "accuracy"), ("voc2012", "mean_iou"))
        for pretraining, gain in (("torchvision", 0.0), (simclr, 0.05), ("random", -0.1))
        for pruner, sparsity in (("dense", 0.0), ("imp", 0.5), ("imp", 0.9))
        for seed in range(3)
    ]
    rows = [
        replace(found, value=found.value + 0.001 * math.sin(17 * i)) if found.cell.pruner.name == "imp" else found
        for i, found in enumerate(rows)
    ]
    told = sentences(compiled(frame(rows, grid="toy"), name="toy"))
    topics = {sentence.topic for sentence in told}
    assert "Does robust pre-training help" not in topics
    helps = [sentence for sentence in told if sentence.topic == "Does self-supervised pre-training help"]
    assert [sentence.lead.split(" with ")[0] for sentence in helps] == ["By accuracy", "By mean_iou"]
    assert all(f"tickets of {simclr} against torchvision pre-training" in sentence.lead for sentence in helps)
    assert "voc2012: better by +" in helps[1].text
    assert " points (95 % interval" in helps[1].text
    # Every task has its leader by its own metric.
    leaders = [sentence.lead for sentence in told if sentence.topic == "Leaderboard"]
    assert [lead.split(",")[0] for lead in leaders] == [
        "Highest-ranked tickets by accuracy",
        "Highest-ranked tickets by mean_iou",
    ]


def test_no_comparison_is_called_equal(toy_rows):
    # Pre-trainings exchanged at random leave no effect: every verdict is inconclusive, none says there is no difference.
    rng = np.random.default_rng(0)
    rows = [replace(row, value=0.8 + 0.05 * float(rng.standard_normal())) for row in toy_rows]
    found = texts(compiled(frame(rows, grid="toy"), name="toy"))
    joined = " ".join(found).lower()
    assert "holds both a loss and a gain" in joined
    assert "holds both a loss of the margin and none" in joined
    assert not re.search(r"no (significant )?difference|equal|identical|the same", joined)


def test_an_effect_that_correction_takes_back_is_inconclusive():
    row = {"metric": "accuracy", "dataset": "digits", "p_holm": 0.09, "diff_mean": 0.014, "higher_is_better": True}
    assert effects.verdict(row) == "inconclusive"
    assert effects.verdict({**row, "p_holm": 0.01}) == "better"
    assert effects.verdict({**row, "p_holm": 0.01, "higher_is_better": False}) == "worse"
    assert effects.verdict({**row, "p_holm": np.nan}) == "unknown"


def test_universal_tickets_have_p_corrected_over_all_tested(toy):
    found = next(text for text in texts(toy) if "tested on all tasks" in text)
    assert "2 matched on every one: imp from pgd_adversarial at 50.0 %" in found
    p = toy.universal.set_index(["pretraining", "pruner", "sparsity"])["p"]
    # Holm: the smallest of eight is multiplied by eight.
    assert p.min() == p["pgd_adversarial", "imp", 0.5]
    assert f"corrected p = {8 * p.min():.3f}" in found


def test_a_half_finished_grid_says_so_in_every_answer(without):
    def missing(pruner, sparsity, seed):
        if (pruner, sparsity) == ("omp", 0.9):
            return FAILED
        return BLOCKED if (pruner, sparsity, seed) == ("imp", 0.9, 2) else None

    found = sentences(without(missing))
    assert found[0].text.startswith(
        "The grid is not finished: 66 of 90 planned results are done (18 failed and 6 blocked), with 3 seeds planned"
    )
    for sentence in found[1:]:
        if sentence.table != "rows":
            assert sentence.end.startswith("Rests on 66 of 90 planned results.")
    assert any("12 tickets could not be tested" in sentence.text for sentence in found)
    assert found[-1].text == (
        "18 failed and 6 blocked of 90 planned results; what is blocked waits for prune 34cd (6 results); "
        "what failed: transfer 12ab failed: out of memory (18 results)."
    )


def test_an_empty_store_gives_one_sentence(without):
    found = texts(without(lambda *_: ("missing", "not run")))
    assert found == ["Nothing is evaluated yet: of 90 planned results none is done (90 not run)."]


def test_one_seed_supports_no_claim(row):
    rows = [
        row("dense", 0.0, 0, 0.9),
        row("imp", 0.5, 0, 0.9),
        row("dense", 0.0, 0, 0.95, pretraining="pgd_adversarial"),
    ]
    rows.append(row("imp", 0.5, 0, 0.95, pretraining="pgd_adversarial"))
    found = texts(compiled(frame(rows, grid="toy"), name="toy"))
    assert "By accuracy, none of 2 tickets could be tested against its dense network." in found
    assert any(
        "digits: nothing can be inferred from a difference of +5.0 points (n = 1 seed)" in text for text in found
    )
    assert not any(re.search(r"better by|superior|p = |p < ", text) for text in found)


def test_several_grids_are_named(toy_rows):
    rows = frame(toy_rows, grid="first")
    rows = type(rows)(np.vstack([rows, rows.assign(grid="second")]), columns=rows.columns).astype(rows.dtypes)
    found = [
        sentence for sentence in sentences(compiled(rows, name="both")) if sentence.table in ("maxima", "comparisons")
    ]
    assert {re.search(r"grid (\w+)", sentence.lead)[1] for sentence in found if sentence.points} == {"first", "second"}


def test_there_are_never_more_than_25(toy_rows, row):
    rows = [
        replace(found, cell=replace(found.cell, transfer=transfer, fraction=fraction), metric=metric)
        for found in toy_rows
        for transfer in ("linear", "finetune")
        for fraction in (1.0, 0.5, 0.1)
        for metric in ("accuracy", "pgd_accuracy", "ece")
    ]
    found = sentences(compiled(frame(rows, grid="toy"), name="toy"))
    assert 15 <= len(found) <= 25
    assert any(re.search(r"\d+ more settings are in tables/maxima.csv\.", sentence.end) for sentence in found)
    metrics = [sentence.lead.split()[1].rstrip(",") for sentence in found if sentence.table == "maxima"]
    assert metrics == ["accuracy"] * 6


def test_double_wins_need_all_four_labels(toy):
    # Two tickets pass or fail all four tests; the third lacks two of them.
    labels = {name: ["matching", "matching", "matching"] for name in ("standard_sa", "standard_ra", "adversarial_sa")}
    table = toy.matching.head(3)[["pretraining", "pruner", "sparsity", "dataset"]].assign(
        **labels,
        adversarial_ra=["superior", "inferior", ""],
        p=[0.01, 0.6, np.nan],
        double_win=[True, False, None],
        double_win_by_mean=[True, False, None],
    )
    found = next(text for text in texts(replace(toy, double_win=table)) if "double-win" in text)
    assert "Of 2 tickets tested" in found
    assert "1 ticket passed all four tests: imp from pgd_adversarial at 50.0 %" in found
    # Two tests: the smaller p is doubled.
    assert "(p = 0.010, corrected p = 0.020)" in found
    assert "1 fall short in at least one and 0 are inconclusive" in found
    assert "1 ticket could not be tested." in found
    none = next(text for text in texts(replace(toy, double_win=table.tail(1))) if "double-win" in text)
    assert none.startswith("None of 1 ticket could be tested as double-win tickets")


def test_the_gain_is_regressed_on_the_domain_gap_in_plain_words(toy):
    row = {name: [""] for name in toy.gap_regression.columns}
    row |= {
        "metric": ["accuracy"],
        "robust": ["pgd_adversarial"],
        "natural": ["supervised"],
        "gap_metric": ["frechet_distance"],
    }
    row |= {
        "transfer": ["linear"],
        "objective": ["standard"],
        "fraction": [1.0],
        "sparsity": [np.nan],
        "n_datasets": [8],
    }
    row |= {"slope": [0.02], "slope_low": [-0.01], "slope_high": [0.05], "p": [0.15]}
    table = type(toy.rows)(row)
    found = next(text for text in texts(replace(toy, gap_regression=table)) if "domain gap" in text)
    assert "is not shown to change with the domain gap frechet_distance" in found
    assert "slope +0.02, 95 % interval [-0.01, +0.05], n = 8 data sets, p = 0.15" in found
    assert "observational, not causal" in found
    rising = next(
        text for text in texts(replace(toy, gap_regression=table.assign(slope_low=0.01))) if "domain gap" in text
    )
    assert "rises with the domain gap" in rising


def test_settings_where_no_ticket_could_be_tested_have_no_sentence_of_their_own(toy_rows):
    def leads(rows):
        found = sentences(compiled(frame(rows, grid="toy"), name="toy"))
        return [sentence.lead for sentence in found if sentence.table == "maxima"]

    untested = [replace(row, cell=replace(row.cell, transfer="finetune")) for row in toy_rows if row.cell.seed == 0]
    assert leads(untested) == []
    assert len(leads(toy_rows)) == 1
    both = leads([*toy_rows, *untested])
    assert [lead.partition(",")[0] for lead in both] == ["By accuracy with linear transfer"]
