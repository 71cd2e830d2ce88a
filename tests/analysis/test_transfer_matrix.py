import dataclasses

import pandas as pd
import pytest

from analysis.frame import frame
from analysis.published import read_published
from analysis.transfer_matrix import (
    FIRST_SCORES,
    KEYS,
    TRANSFER_COUNTS_COLUMNS,
    TRANSFER_MATRIX_COLUMNS,
    against_same_task,
    found_on_data,
    transfer_counts,
    transfer_matrix,
)


def published_matrix():
    """Figure 2 of the BERT study as a matrix: rows by where the mask was found, `mlm` being the pre-training task."""
    cells = read_published().query("study == 'chen2020_bert' and unit == 'difference to dense'")
    source = cells["item"].str.removeprefix("figure 2, ").str.removeprefix("mask found on ")
    plain = dict.fromkeys((*KEYS, "note"), "")
    return pd.DataFrame(
        {
            **plain,
            "mask_source": source,
            "target": cells["dataset"],
            "diff_mean": cells["value"],
            "higher_is_better": True,
        }
    ).reset_index(drop=True)


def test_counts_reproduce_those_printed_beside_the_bert_matrix():
    matrix = published_matrix()
    assert len(matrix) == 12 * 11
    compared = against_same_task(matrix, known=matrix["diff_mean"].notna())
    counts = transfer_counts(compared).set_index("mask_source")
    assert set(counts["n_targets"]) == {10, 11}
    assert counts["n_at_or_above"].to_dict() == {
        "mnli": 2, "qqp": 2, "stsb": 1, "wnli": 0, "qnli": 2, "mrpc": 1, "rte": 1, "sst2": 1, "cola": 1, "squad": 4, "mlm": 10,
        # Printed: 4. On SQuAD it ties with the task's own mask at two decimals.
        "one-shot pruning of theta_0": 5,
    }  # fmt: skip


def seeds(row, values, pruner, dataset, sparsity=0.9, **axes):
    return [
        row(pruner, sparsity, seed, value, dataset=dataset, source="letters", **axes)
        for seed, value in enumerate(values)
    ]


@pytest.fixture
def table(row):
    """Dense 0.9; the set's own mask 0.8 and 0.82, upstream 0.85 on digits and 0.7 on svhn, magnitude 0.81 on both."""
    rows = []
    for dataset, upstream in (("digits", 0.85), ("svhn", 0.7)):
        rows += seeds(row, [0.9, 0.9], "dense", dataset, 0.0)
        rows += seeds(row, [0.8, 0.82], "imp(on=downstream)", dataset)
        rows += seeds(row, [upstream, upstream], "imp", dataset)
        rows += seeds(row, [0.81, 0.81], "omp", dataset)
    return frame(rows, grid="toy")


def test_masks_stand_where_they_were_found_against_where_they_went(table):
    matrix, counts = transfer_matrix(table)
    assert set(matrix["family"]) == {"imp"}
    cells = matrix.set_index(["mask_source", "target"])
    assert cells["diff_mean"].to_dict() == pytest.approx(
        {
            ("digits", "digits"): -0.09,
            ("svhn", "svhn"): -0.09,
            ("letters", "digits"): -0.05,
            ("letters", "svhn"): -0.2,
            ("weights of letters (omp)", "digits"): -0.09,
            ("weights of letters (omp)", "svhn"): -0.09,
        }
    )
    assert cells["same_task"].to_dict() == {key: key[0] == key[1] for key in cells.index}
    # t(0.975, 1) * 0.01414 / sqrt(2) = 12.706 * 0.01.
    assert cells.loc[("digits", "digits"), "diff_high"] == pytest.approx(-0.09 + 0.127062, abs=1e-6)
    assert cells.loc["letters", "at_or_above_same_task"].tolist() == [True, False]
    # Equal means count as at or above, whatever the last digit of their sums.
    assert cells.loc["weights of letters (omp)", "at_or_above_same_task"].tolist() == [True, True]
    counts = counts.set_index("mask_source")
    assert counts[["n_targets", "n_at_or_above"]].dropna().to_numpy().tolist() == [[2, 1], [2, 2]]
    assert counts.loc["digits", "note"] == "no other target has a complete mask of its own to compare with"


def test_lower_is_better_turns_the_comparison(row):
    axes = {"metric": "nll", "higher_is_better": False}
    rows = seeds(row, [0.3, 0.3], "dense", "digits", 0.0, **axes)
    rows += seeds(row, [0.5, 0.5], "imp(on=downstream)", "digits", **axes) + seeds(
        row, [0.4, 0.4], "imp", "digits", **axes
    )
    matrix, _ = transfer_matrix(frame(rows, grid="toy"))
    assert matrix.set_index("mask_source").loc["letters", "at_or_above_same_task"]


def test_an_incomplete_cell_is_compared_with_nothing(row, table):
    lost = table.copy()
    gone = (lost["pruner"] == "imp") & (lost["dataset"] == "digits") & (lost["seed"] == 1)
    lost.loc[gone, ["value", "status"]] = [None, "failed"]
    matrix, counts = transfer_matrix(lost)
    cell = matrix.set_index(["mask_source", "target"]).loc[("letters", "digits")]
    assert [cell["n"], cell["note"]] == [1, "1 of 2 pairs have values"]
    assert pd.isna(cell["at_or_above_same_task"])
    assert counts.set_index("mask_source").loc["letters", "n_targets"] == 1


def test_a_mask_on_the_weights_stands_alone_where_nothing_was_searched(row):
    rows = (
        seeds(row, [0.9, 0.9], "dense", "digits", 0.0)
        + seeds(row, [0.8, 0.8], "omp", "digits")
        + seeds(row, [0.3, 0.3], "random", "digits")
    )
    matrix, counts = transfer_matrix(frame(rows, grid="toy"))
    assert matrix[["family", "mask_source"]].to_numpy().tolist() == [
        ["omp", "weights of letters (omp)"],
        ["random", "chance (random)"],
    ]
    assert set(matrix["note"]) == {"no complete mask of the family was found on the target"}
    assert counts["n_at_or_above"].isna().all()


@pytest.mark.parametrize(
    ("pruner", "family", "found_on"),
    [
        ("imp", "imp", "letters"),
        ("imp(on=downstream, objective=adversarial)", "imp(objective=adversarial)", "digits"),
        ("imp(on=svhn)", "imp", "svhn"),
        ("imp(on=toy(of=mnli), rewind=never)", "imp(rewind=never)", "toy(of=mnli)"),
        ("lmp", "lmp", "digits"),
        ("snip(on=upstream)", "snip", "letters"),
        ("synflow", "synflow", "weights of letters (synflow)"),
        ("ticket(path=a.npz)", "ticket(path=a.npz)", "a file (ticket(path=a.npz))"),
    ],
)  # fmt: skip
def test_the_word_says_where_a_mask_was_found(row, pruner, family, found_on):
    rows = seeds(row, [0.9], "dense", "digits", 0.0) + seeds(row, [0.8], pruner, "digits")
    matrix, _ = transfer_matrix(frame(rows, grid="toy"))
    assert matrix.loc[0, ["family", "mask_source"]].tolist() == [family, found_on]


def test_the_artifact_knows_better_than_the_word(row, store):
    store.put("first", data=None, control=None)
    store.put("found", data={"dataset": {"label": "svhn"}}, control=None)
    store.put("shuffled", inputs={"ticket": "found"}, data=None, control="shuffled")

    rows = seeds(row, [0.9], "dense", "digits", 0.0)
    for ticket, pruner in (("first", "imp"), ("shuffled", "imp(control=shuffled)"), ("absent", "lmp")):
        rows += [dataclasses.replace(cell, ticket=ticket) for cell in seeds(row, [0.8], pruner, "digits")]
    matrix, _ = transfer_matrix(frame(rows, grid="toy"), store)
    assert matrix.set_index("family")["mask_source"].to_dict() == {
        # A first round that prunes before any training reads no data.
        "imp": "weights of letters (imp)",
        "imp(control=shuffled)": "svhn",
        "lmp": "digits",
    }


def test_targets_of_different_metrics_are_counted_together_by_the_first_score_of_each(row):
    rows = []
    for dataset, metric, own, other in (
        ("rte", "accuracy", 0.6, 0.7),
        ("cola", "matthews", 0.4, 0.3),
        ("stsb", "pearson", 0.8, 0.8),
        ("stsb", "spearman", 0.8, 0.9),
    ):
        rows += seeds(row, [0.9, 0.9], "dense", dataset, 0.0, metric=metric)
        rows += seeds(row, [own, own], "imp(on=downstream)", dataset, metric=metric)
        rows += seeds(row, [other, other], "imp(on=qqp)", dataset, metric=metric)
    matrix, counts = transfer_matrix(frame(rows, grid="toy"))
    assert set(matrix.loc[~matrix["first_score"], "metric"]) == {"spearman"}
    found = counts.set_index(["mask_source", "metric"]).loc["qqp", ["n_targets", "n_at_or_above"]]
    assert {name: tuple(part) for name, part in zip(found.index, found.to_numpy().tolist(), strict=True)} == {
        "accuracy": (1, 1), "matthews": (1, 0), "pearson": (1, 1), "spearman": (1, 1), FIRST_SCORES: (3, 2),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mnli", True),
        ("toy(of=mnli)", True),
        ("weights of toy(of=mlm) (omp)", False),
        ("chance (random)", False),
        ("a file (ticket(path=a (1).npz))", False),
    ],
)
def test_masks_of_data_are_told_from_others(name, found):
    assert found_on_data(name) is found


def test_nothing_gives_empty_tables_and_the_order_of_rows_does_not_matter(table):
    for found, columns in zip(
        transfer_matrix(table[:0]), (TRANSFER_MATRIX_COLUMNS, TRANSFER_COUNTS_COLUMNS), strict=True
    ):
        assert (list(found), len(found)) == (list(columns), 0)
    for ours, shuffled in zip(
        transfer_matrix(table), transfer_matrix(table.sample(frac=1, random_state=0)), strict=True
    ):
        pd.testing.assert_frame_equal(ours, shuffled)
