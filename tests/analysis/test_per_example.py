import dataclasses
import hashlib
import math

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from analysis.frame import frame
from analysis.per_example import PER_EXAMPLE_COLUMNS, per_example

DENSE = np.repeat([True, False], [70, 30])
# Of the 70 it loses 10, of the 30 it wins 3.
TICKET = np.concatenate([np.repeat([True, False], [60, 10]), np.repeat([True, False], [3, 27])])


def evaluated(row, store, right, pruner="omp", sparsity=0.9, seed=0, value=None, **axes):
    """The row of an evaluation whose artifact holds which examples are right."""
    found = row(pruner, sparsity, seed, float(np.mean(right)) if value is None else value, **axes)
    key = hashlib.sha256(repr((pruner, sparsity, seed, axes)).encode()).hexdigest()[:16]
    store.put(key, {"examples.safetensors": {"correct": np.asarray(right)}})
    return dataclasses.replace(found, key=key)


def test_counts_and_p_of_one_pair(row, store):
    rows = [evaluated(row, store, DENSE, "dense", 0.0), evaluated(row, store, TICKET)]
    found = per_example(frame(rows, grid="toy"), store).iloc[0]
    assert found[["n_examples", "both_right", "only_dense", "only_ticket", "both_wrong"]].tolist() == [
        100,
        60,
        10,
        3,
        27,
    ]
    assert found["diff"] == pytest.approx(-0.07)
    assert found["p_mcnemar"] == pytest.approx(mcnemar([[60, 10], [3, 27]], exact=True).pvalue, abs=1e-12)
    assert found["p_holm"] == found["p_mcnemar"]
    assert found["note"] == ""


def test_p_is_corrected_over_the_metric(row, store):
    generator = np.random.default_rng(0)
    rows = [evaluated(row, store, DENSE, "dense", 0.0, seed) for seed in range(5)]
    rows += [evaluated(row, store, DENSE ^ (generator.uniform(size=100) < 0.2), seed=seed) for seed in range(5)]
    rows += [
        evaluated(row, store, DENSE, "dense", 0.0, metric="pgd_accuracy"),
        evaluated(row, store, TICKET, metric="pgd_accuracy"),
    ]
    found = per_example(frame(rows, grid="toy"), store)
    clean = found[found["metric"] == "accuracy"]
    assert clean["p_holm"].tolist() == pytest.approx(multipletests(clean["p_mcnemar"], method="holm")[1], abs=1e-12)
    assert found.loc[found["metric"] == "pgd_accuracy", "p_holm"].tolist() == pytest.approx(
        found.loc[found["metric"] == "pgd_accuracy", "p_mcnemar"]
    )


def test_every_ticket_has_its_row_and_a_reason_where_it_is_blank(row, store):
    rows = [evaluated(row, store, DENSE, "dense", 0.0, seed) for seed in range(5)]
    rows += [
        evaluated(row, store, TICKET, seed=0),
        row(seed=1, value=0.6),
        evaluated(row, store, TICKET, seed=2, value=0.9),
    ]
    rows += [
        row(seed=3, status="failed"),
        evaluated(row, store, TICKET[:50], seed=4),
        evaluated(row, store, TICKET, seed=5),
    ]
    found = per_example(frame(rows, grid="toy"), store)
    assert found["p_mcnemar"].notna().tolist() == [True, False, False, False, False, False]
    assert found["n_examples"].isna().tolist() == [False, True, True, True, True, True]
    notes = found["note"].tolist()
    assert notes[1].startswith("artifact e-omp-0.9-1 is not in")
    assert notes[2].endswith("does not keep which examples this metric counts as right")
    assert notes[3:] == [
        "the ticket is not evaluated",
        "the ticket was evaluated on 50 examples, the dense network on 100",
        "the dense network is not evaluated",
    ]


def test_a_damaged_file_is_a_note(row, store):
    rows = [evaluated(row, store, DENSE, "dense", 0.0), evaluated(row, store, TICKET)]
    (store.folder(rows[1].key) / "examples.safetensors").write_bytes(b"damaged")
    found = per_example(frame(rows, grid="toy"), store).iloc[0]
    assert math.isnan(found["p_mcnemar"])
    assert "is corrupt: examples.safetensors has 7 bytes" in found["note"]


def test_values_by_draw_are_not_taken_for_values_by_example(row, store):
    rows = [evaluated(row, store, DENSE, "dense", 0.0), evaluated(row, store, np.stack([TICKET, TICKET], axis=1))]
    assert "does not keep which examples" in per_example(frame(rows, grid="toy"), store)["note"].iloc[0]


def test_networks_that_agree_on_everything_are_not_told_apart(row, store):
    rows = [evaluated(row, store, DENSE, "dense", 0.0), evaluated(row, store, DENSE)]
    found = per_example(frame(rows, grid="toy"), store).iloc[0]
    assert [found["p_mcnemar"], found["diff"]] == [1.0, 0.0]
    assert found["note"] == "no example tells the two networks apart"


def test_metrics_that_count_no_examples_have_no_rows(row, store):
    rows = [
        row("dense", 0.0, 0, 0.5, metric="nll", higher_is_better=False),
        row(value=0.6, metric="nll", higher_is_better=False),
    ]
    found = per_example(frame(rows, grid="toy"), store)
    assert (list(found), len(found)) == (list(PER_EXAMPLE_COLUMNS), 0)


def test_without_a_store_the_table_is_empty(row):
    found = per_example(frame([row("dense", 0.0, 0, 0.5), row(value=0.6)], grid="toy"), None)
    assert (list(found), len(found)) == (list(PER_EXAMPLE_COLUMNS), 0)


def test_order_of_rows_does_not_matter(row, store):
    rows = [evaluated(row, store, DENSE, "dense", 0.0, seed) for seed in range(2)] + [
        evaluated(row, store, TICKET, seed=seed) for seed in range(2)
    ]
    table = frame(rows, grid="toy")
    pd.testing.assert_frame_equal(per_example(table, store), per_example(table[::-1], store))


def test_more_evaluations_than_are_read_are_blank_and_say_what_to_do(row, store, monkeypatch):
    rows = [
        evaluated(row, store, DENSE, "dense", 0.0),
        evaluated(row, store, TICKET),
        evaluated(row, store, TICKET, "imp"),
    ]
    monkeypatch.setattr("analysis.per_example.MOST", 1)
    found = per_example(frame(rows, grid="toy"), store)
    assert set(found["note"]) == {"not read: of 2 evaluations; select at most 1 with --only"}
    assert found[["n_examples", "p_mcnemar", "p_holm"]].isna().all(axis=None)
    monkeypatch.setattr("analysis.per_example.MOST", 2)
    assert set(per_example(frame(rows, grid="toy"), store)["note"]) == {""}
