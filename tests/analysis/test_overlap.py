import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.frame import frame
from analysis.overlap import OVERLAP_COLUMNS, OVERLAP_LAYERS_COLUMNS, overlap
from bench.masks import pack


def ticket(row, store, key, masks, pruner="omp", seed=0):
    store.put(
        key,
        {"mask.safetensors": pack({name: torch.tensor(mask, dtype=torch.bool) for name, mask in masks.items()})},
    )
    return dataclasses.replace(row(pruner, 0.9, seed, 0.5), ticket=key)


def test_overlap_of_a_pair_over_layers_and_in_each(row, store):
    rows = [
        ticket(row, store, "a", {"x": [1, 1, 0, 0], "y": [1, 0]}, "imp"),
        ticket(row, store, "b", {"x": [0, 1, 1, 0], "y": [1, 1]}),
    ]
    pairs, by_layer = overlap(frame(rows, grid="toy"), store)
    assert len(pairs) == 1
    pair = pairs.iloc[0]
    assert [pair["name_a"], pair["name_b"], pair["note"]] == ["imp", "omp", ""]
    # x: 1 of 3; y: 1 of 2. Independent: 1 of x and 1 of y are shared, 3 + 2 kept by one.
    assert pair["iou"] == pytest.approx(2 / 5)
    assert pair["expected_iou"] == pytest.approx((1 + 1) / (3 + 2))
    assert by_layer["layer"].tolist() == ["x", "y"]
    assert by_layer["iou"].tolist() == pytest.approx([1 / 3, 1 / 2])
    assert by_layer["expected_iou"].tolist() == pytest.approx([1 / 3, 1 / 2])


def test_independent_masks_overlap_as_expected_and_equal_ones_wholly(row, store):
    generator = np.random.default_rng(0)
    densities = {"x": 0.5, "y": 0.05}
    drawn = {
        key: {name: generator.uniform(size=50_000) < density for name, density in densities.items()} for key in "ab"
    }
    rows = [ticket(row, store, key, masks, seed=seed) for seed, (key, masks) in enumerate(drawn.items())]
    rows.append(ticket(row, store, "c", drawn["a"], seed=2))
    pairs, _ = overlap(frame(rows, grid="toy"), store)
    found = pairs.set_index(["ticket_a", "ticket_b"])
    assert found.loc[("a", "c"), "iou"] == 1.0
    independent = found.loc[("a", "b")]
    # 12,600 shared of 42,000: sd of the share 0.0022, four of them. Layers pooled would expect 0.16, not 0.30.
    assert independent["iou"] == pytest.approx(independent["expected_iou"], abs=0.009)
    assert independent["expected_iou"] == pytest.approx((0.25 + 0.0025) / (0.75 + 0.0975), abs=0.009)


def test_only_tickets_of_one_sparsity_are_compared(row, store):
    rows = [ticket(row, store, "a", {"x": [1, 0]})]
    rows += [dataclasses.replace(row("omp", 0.5, 0, 0.5), ticket="b"), row("dense", 0.0, value=0.9)]
    assert overlap(frame(rows, grid="toy"), store)[0].empty


def test_a_cap_is_said_and_keeps_the_lowest_seeds_of_every_pruner(row, store):
    rows = [
        ticket(row, store, f"{pruner}{seed}", {"x": [1, 0]}, pruner, seed)
        for seed in range(3)
        for pruner in ("imp", "omp")
    ]
    pairs, by_layer = overlap(frame(rows, grid="toy"), store, max_tickets=4)
    assert len(pairs) == 6
    assert set(pairs["ticket_a"]) | set(pairs["ticket_b"]) == {"imp0", "imp1", "omp0", "omp1"}
    said = {"4 of 6 tickets are compared: the lowest seeds"}
    assert set(pairs["note"]) == said
    assert set(by_layer["note"]) == said
    assert set(overlap(frame(rows, grid="toy"), store)[0]["note"]) == {""}


def test_pairs_that_cannot_be_compared_say_why(row, store):
    rows = [
        ticket(row, store, "a", {"x": [1, 0]}, seed=0),
        ticket(row, store, "b", {"y": [1, 0]}, seed=1),
        dataclasses.replace(row(seed=2, status="missing"), ticket="c"),
    ]
    pairs, by_layer = overlap(frame(rows, grid="toy"), store)
    assert pairs["iou"].isna().all()
    notes = pairs.set_index(["ticket_a", "ticket_b"])["note"]
    assert notes["a", "b"] == "the masks are of different layers or shapes"
    assert "artifact c is not in" in notes["a", "c"]
    assert by_layer.empty


def test_empty_masks_have_no_overlap(row, store):
    rows = [
        ticket(row, store, key, {"x": [0, 0], "y": [int(full), 0]}, seed=seed)
        for seed, (key, full) in enumerate([("a", 0), ("b", 0), ("c", 1)])
    ]
    pairs, by_layer = overlap(frame(rows, grid="toy"), store)
    found = pairs.set_index(["ticket_a", "ticket_b"])
    assert np.isnan(found.loc[("a", "b"), "iou"])
    assert found.loc[("a", "b"), "note"] == "neither mask keeps anything"
    assert found.loc[("a", "c"), "iou"] == 0.0
    assert by_layer.loc[by_layer["layer"] == "x", "note"].unique().tolist() == ["neither mask keeps anything"]


def test_no_store_no_rows_and_two_tickets_make_a_pair(row, store):
    for found, columns in zip(
        overlap(frame([row(value=0.5)], grid="toy"), None), (OVERLAP_COLUMNS, OVERLAP_LAYERS_COLUMNS), strict=True
    ):
        assert (list(found), len(found)) == (list(columns), 0)
    with pytest.raises(ValueError, match="max_tickets is 1: a pair needs 2"):
        overlap(frame([row(value=0.5)], grid="toy"), store, max_tickets=1)


def test_order_of_rows_does_not_matter(row, store):
    table = frame([ticket(row, store, f"t{seed}", {"x": [1, seed % 2]}, seed=seed) for seed in range(4)], grid="toy")
    for ours, shuffled in zip(
        overlap(table, store, max_tickets=3), overlap(table[::-1], store, max_tickets=3), strict=True
    ):
        pd.testing.assert_frame_equal(ours, shuffled)
