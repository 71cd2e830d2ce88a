"""Figures: published curves beside measured ones, and empty kernels of every pre-training."""

import dataclasses

import numpy as np
import pytest
import torch

from analysis.frame import frame
from analysis.layers import layers
from analysis.leaderboard import leaderboard
from analysis.matching import matching
from analysis.plots import kernels, measured
from analysis.published import published
from bench.masks import pack

ROUNDS = (4, 7, 18)
MOCO = "checkpoint(path=m.pth, method=moco)"


def study(row, dataset, metric, architecture, pretraining, pruner="imp", top=0.7):
    axes = {"dataset": dataset, "metric": metric, "architecture": architecture, "pretraining": pretraining}
    axes |= {"source": "imagenet", "transfer": "finetune"}
    rows = [row("dense", 0.0, seed, top + seed / 1000, **axes, round=0) for seed in range(3)]
    return rows + [
        row(pruner, 1 - 0.8**k, seed, top - k / 100 + seed / 1000, **axes, round=k) for k in ROUNDS for seed in range(3)
    ]


def compared(rows):
    table = frame(rows, grid="study")
    return published(leaderboard(table, matching(table)))


@pytest.mark.parametrize(
    ("dataset", "metric", "architecture", "item"),
    [
        ("cifar10", "accuracy", "resnet50(stem=cifar)", "figure 3, (m_{}, theta_MoCo)"),
        ("voc2012", "mean_iou", "resnet50", "dense.png, (m_{}, theta_MoCo)"),
        ("voc2007", "ap", "resnet50", "dense.png, (m_{}, theta_MoCo)"),
    ],
)
@pytest.mark.parametrize("pretraining", ["moco", MOCO])
def test_every_task_of_the_study_meets_its_published_curves(row, dataset, metric, architecture, item, pretraining):
    rows = study(row, dataset, metric, architecture, pretraining)
    rows += study(row, dataset, metric, architecture, pretraining, "imp(on=downstream)")[3:]
    found = compared(rows)
    done = found[found["measured_mean"].notna()]
    assert set(done["dataset"]) == {dataset}
    for mask in ("MoCo", "T"):
        curve = done[done["item"] == item.format(mask)].set_index("sparsity")
        assert len(curve) == 1 + len(ROUNDS)
        assert curve.at[0.0, "measured_mean"] == pytest.approx(0.701)
        assert curve["measured_mean"].to_numpy()[-1] == pytest.approx(0.521)


@pytest.mark.parametrize(
    ("pretraining", "pruner", "item"),
    [
        ("torchvision", "imp", "figure 3, (m_Img, theta_Img)"),
        ("simclr", "imp", "figure 3, (m_sim, theta_sim)"),
        ("random", "imp(on=downstream)", "figure 3, (m_T, theta_0)"),
        ("random", "imp(on=downstream, rewind_epoch=9)", "figure 3, (m_T, theta_5%)"),
    ],
)
def test_pretrainings_and_pruners_go_by_the_words_of_the_grid(row, pretraining, pruner, item):
    found = compared(study(row, "svhn", "accuracy", "resnet50(stem=cifar)", pretraining, pruner))
    pruned = found[found["measured_mean"].notna() & (found["sparsity"] > 0)]
    assert set(pruned["item"]) == {item}
    assert len(pruned) == len(ROUNDS)


@pytest.mark.parametrize("pretraining", ["checkpoint(path=m.pth)", "moco(queue=9)", "supervised"])
def test_other_weights_are_not_taken_for_published_ones(row, pretraining):
    found = compared(study(row, "cifar10", "accuracy", "resnet50(stem=cifar)", pretraining))
    assert found["measured_mean"].isna().all()
    assert measured.measured(found) == []


def test_a_figure_shows_both_curves_of_every_pretraining(row):
    rows = study(row, "voc2012", "mean_iou", "resnet50", MOCO) + study(row, "voc2012", "mean_iou", "resnet50", "simclr")
    drawings = measured.measured(compared(rows))
    assert [drawing.setting[:3] for drawing in drawings] == [("chen2021_cv", "voc2012", "mean_iou")]
    figure = drawings[0].draw()
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["imp", "imp(on=downstream)"]
    lines = {line.get_label(): line for line in panels[0].lines}
    assert sorted(lines) == ["moco, measured", "moco, published", "simclr, measured", "simclr, published",
                             "torchvision, published"]  # fmt: skip
    assert len(lines["moco, published"].get_xdata()) == 19
    assert lines["moco, measured"].get_ydata() == pytest.approx([0.701, 0.661, 0.631, 0.521])
    assert lines["moco, measured"].get_color() == lines["moco, published"].get_color()
    # Of downstream masks nothing is measured but the dense end.
    assert len({line.get_label(): line for line in panels[1].lines}["moco, measured"].get_xdata()) == 1


def test_single_points_are_no_curve(row):
    found = compared(study(row, "cifar10", "accuracy", "resnet50(stem=cifar)", MOCO))
    assert measured.measured(found[found["sparsity"] == 0]) == []


WIDE, NARROW = (2, 2, 3, 3), (2, 2, 1, 1)


def masked(row, store, key, empty, **axes):
    """A ticket whose 3 x 3 convolution has this many empty kernels of 4."""
    mask = torch.ones(WIDE, dtype=torch.bool)
    mask.view(4, 9)[:empty] = False
    if not store.has(key):
        masks = {"layer1.conv1.weight": torch.zeros(NARROW, dtype=torch.bool), "layer1.conv2.weight": mask}
        store.put(key, {"mask.safetensors": pack(masks)})
    return dataclasses.replace(row("imp", value=0.5, **axes), ticket=key)


def emptied(rows, store):
    table = frame(rows, grid="toy")
    return kernels.emptied(layers(table, store), table)


def test_pretrainings_stand_side_by_side_with_the_share_of_their_empty_kernels(row, store):
    rows = [
        masked(row, store, f"m{seed}", seed + 1, pretraining="moco", seed=seed, dataset=name)
        for seed in (0, 1)
        for name in ("cifar10", "svhn")
    ]
    rows.append(masked(row, store, "i0", 4, pretraining="torchvision", dataset="cifar10"))
    rows.append(masked(row, store, "i0", 4, pretraining="torchvision", dataset="svhn"))
    (drawing,) = emptied(rows, store)
    figure = drawing.draw()
    panels = figure.axes[:2]
    assert [axes.get_title(loc="left") for axes in panels] == ["moco", "torchvision"]
    # Seeds have 1 and 2 empty kernels of 4; kernels of one weight are left out.
    shares = [np.ravel(axes.collections[0].get_array()) for axes in panels]
    assert [share.tolist() for share in shares] == [pytest.approx([0.375]), pytest.approx([1.0])]
    assert [text.get_text() for text in panels[0].get_xticklabels()] == ["layer1.conv2"]
    assert panels[0].get_ylim()[0] > panels[0].get_ylim()[1]
    assert "kernels of one weight are left out" in figure.get_label().replace("\n", " ")


def test_masks_found_on_a_data_set_have_a_figure_for_it(row, store):
    rows = [masked(row, store, name, 1, dataset=name) for name in ("cifar10", "svhn")]
    assert [drawing.setting[-1] for drawing in emptied(rows, store)] == ["cifar10", "svhn"]


def test_where_no_kernel_is_empty_there_is_no_figure(row, store):
    assert emptied([masked(row, store, "m", 0)], store) == []
    assert kernels.emptied(layers(frame([], grid="toy"), store), frame([], grid="toy")) == []


def test_the_panels_read_from_dense_to_sparse_however_many_they_are(row, store):
    rows = []
    for pretraining in ("a", "b", "c", "d"):
        for sparsity in (0.5, 0.9):
            key = f"{pretraining}{sparsity}"
            found = masked(row, store, key, 2, pretraining=pretraining)
            rows.append(dataclasses.replace(found, cell=dataclasses.replace(found.cell, sparsity=sparsity)))
    figure = emptied(rows, store)[0].draw()
    assert all(axes.get_ylim()[0] > axes.get_ylim()[1] for axes in figure.axes[:4])
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["50.00 %", "90.00 %"]
