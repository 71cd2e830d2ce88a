import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.frame import frame
from analysis.plots import similarity as plots
from analysis.similarity import SIMILARITY_COLUMNS, similarity
from bench.masks import pack

MOCO, SIMCLR = "checkpoint(path=m.pth, method=moco)", "checkpoint(path=s.pth, method=simclr)"


def ticket(row, store, key, mask, pretraining, pruner="imp", seed=0, sparsity=0.9, datasets=("cifar10", "svhn")):
    """Results on several data sets of one mask."""
    if not store.has(key):
        store.put(key, {"mask.safetensors": pack({"x": torch.tensor(mask, dtype=torch.bool)})})
    rows = [row(pruner, sparsity, seed, 0.5, pretraining=pretraining, dataset=name) for name in datasets]
    return [dataclasses.replace(found, ticket=key) for found in rows]


def test_masks_of_one_pruner_and_seed_are_compared_between_pretrainings(row, store):
    rows = ticket(row, store, "i0", [1, 1, 0, 0], "torchvision") + ticket(row, store, "m0", [0, 1, 1, 0], MOCO)
    rows += ticket(row, store, "s0", [1, 1, 0, 0], SIMCLR)
    found = similarity(frame(rows, grid="toy"), store)
    assert list(found) == list(SIMILARITY_COLUMNS)
    pairs = found.set_index(["pretraining_a", "pretraining_b"])
    # In the order of the methods, whatever the files are called.
    assert pairs.index.tolist() == [(MOCO, SIMCLR), (MOCO, "torchvision"), (SIMCLR, "torchvision")]
    # 1 of 3 weights; two independent masks of 2 of 4 weights share 1 of 3.
    assert pairs["iou"].tolist() == pytest.approx([1 / 3, 1 / 3, 1])
    assert pairs["expected_iou"].tolist() == pytest.approx([1 / 3] * 3)
    assert set(found["note"]) == {""}
    assert set(found["dataset"]) == {""}


def test_nothing_but_the_pretraining_differs_in_a_pair(row, store):
    rows = ticket(row, store, "i0", [1, 0], "torchvision") + ticket(row, store, "i1", [1, 0], "torchvision", seed=1)
    rows += ticket(row, store, "r0", [1, 0], "torchvision", "random")
    rows += ticket(row, store, "m1", [1, 0], MOCO, seed=1) + ticket(row, store, "m5", [1, 0], MOCO, sparsity=0.5)
    found = similarity(frame(rows, grid="toy"), store)
    assert found[["ticket_a", "ticket_b", "seed"]].to_numpy().tolist() == [["m1", "i1", 1]]


def test_masks_found_on_a_data_set_are_compared_on_it_alone(row, store):
    own = "imp(on=downstream)"
    rows = [
        result
        for name in ("cifar10", "svhn")
        for key, pretraining in (("i", "torchvision"), ("m", MOCO))
        for result in ticket(row, store, f"{key}-{name}", [1, 0], pretraining, own, datasets=(name,))
    ]
    found = similarity(frame(rows, grid="toy"), store)
    assert found[["dataset", "ticket_a", "ticket_b"]].to_numpy().tolist() == [
        ["cifar10", "m-cifar10", "i-cifar10"],
        ["svhn", "m-svhn", "i-svhn"],
    ]


def test_pairs_that_cannot_be_compared_say_why(row, store):
    rows = ticket(row, store, "i0", [1, 0], "torchvision") + ticket(row, store, "m0", [1, 0, 1], MOCO)
    rows += [dataclasses.replace(found, ticket="gone") for found in ticket(row, store, "s0", [1, 0], SIMCLR)]
    found = similarity(frame(rows, grid="toy"), store)
    assert found["iou"].isna().all()
    notes = found.set_index(["ticket_a", "ticket_b"])["note"]
    assert notes["m0", "i0"] == "the masks are of different layers or shapes"
    assert "gone" in notes["m0", "gone"]


def test_beyond_the_limit_the_lowest_seeds_are_read(row, store):
    rows = []
    for seed in (0, 1):
        rows += ticket(row, store, f"i{seed}", [1, 0], "torchvision", seed=seed)
        rows += ticket(row, store, f"m{seed}", [1, 0], MOCO, seed=seed)
    found = similarity(frame(rows, grid="toy"), store, most=1).set_index("seed")
    assert found["iou"].notna().to_dict() == {0: True, 1: False}
    assert found.at[1, "note"] == "not read: of 2 pairs"


def test_without_a_store_or_a_second_pretraining_there_is_nothing(row, store):
    rows = ticket(row, store, "i0", [1, 0], "torchvision")
    for found in (similarity(frame(rows, grid="toy"), store), similarity(frame(rows, grid="toy"), None)):
        assert (list(found), len(found)) == (list(SIMILARITY_COLUMNS), 0)


def test_the_order_of_the_rows_does_not_matter(row, store):
    rows = ticket(row, store, "i0", [1, 1, 0], "torchvision") + ticket(row, store, "m0", [0, 1, 1], MOCO)
    table = frame(rows, grid="toy")
    pd.testing.assert_frame_equal(similarity(table[::-1].reset_index(drop=True), store), similarity(table, store))


def test_a_line_is_the_mean_over_seeds_of_a_pair_and_a_panel_a_pruner(row, store):
    rows = []
    masks = {0: [0, 1, 1, 0], 1: [1, 1, 0, 0]}
    for seed, mask in masks.items():
        for pruner in ("imp", "random"):
            rows += ticket(row, store, f"i{pruner}{seed}", [1, 1, 0, 0], "torchvision", pruner, seed)
            rows += ticket(row, store, f"m{pruner}{seed}", mask, MOCO, pruner, seed)
    (drawing,) = plots.similarities(similarity(frame(rows, grid="toy"), store))
    figure = drawing.draw()
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["imp", "random"]
    expected, line = panels[0].lines
    assert line.get_ydata() == pytest.approx([np.mean([1 / 3, 1])])
    assert expected.get_ydata() == pytest.approx([1 / 3])
    assert line.get_xdata() == pytest.approx([0.1])
    assert "mean of n = 2 seeds" in figure.texts[1].get_text().replace("\n", " ")
    assert plots.similarities(similarity(frame(rows, grid="toy"), None)) == []
