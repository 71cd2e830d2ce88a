import dataclasses
import pickle

import numpy as np
import torch

from analysis.compiling import compiled
from analysis.drawings import drawings
from analysis.frame import frame
from analysis.gallery import GALLERY
from analysis.report.figures import Figure, by_kind
from bench.masks import pack

SCENES = {
    "images": np.zeros((1, 8, 8, 3), np.uint8),
    "truth": np.eye(8, dtype=np.uint8)[None],
    "predicted": np.zeros((1, 8, 8), np.uint8),
}
MASKS = {"conv.weight": torch.tensor([[1, 0], [0, 0]], dtype=torch.bool).view(2, 2, 1, 1)}


def study(row, store):
    """Two pre-trainings of a network with two stems, a mask each; a classification and a segmentation set."""
    rows = []
    for pretraining in ("torchvision", "moco"):
        store.put(f"t-{pretraining}", {"mask.safetensors": pack(MASKS)})
        for pruner, sparsity, k in (("dense", 0.0, 0), ("imp", 1 - 0.8**4, 4), ("imp", 1 - 0.8**7, 7)):
            for dataset, metric, architecture in (
                ("cifar10", "accuracy", "resnet50(stem=cifar)"),
                ("voc2012", "mean_iou", "resnet50"),
                ("cifar10", "accuracy_weight_noise_0.01", "resnet50(stem=cifar)"),
            ):
                axes = {"dataset": dataset, "metric": metric, "architecture": architecture, "round": k}
                axes |= {"pretraining": pretraining, "source": "imagenet", "transfer": "finetune"}
                key = f"{pretraining}-{dataset}-{metric}-{k}"
                store.put(key, {GALLERY: SCENES} if dataset == "voc2012" else {})
                found = row(pruner, sparsity, 0, 0.7 - k / 100, **axes)
                rows.append(dataclasses.replace(found, key=key, ticket=f"t-{pretraining}"))
    return rows


def listed(row, store, most):
    tables = compiled(frame(study(row, store), grid="toy"), name="toy", store=store)
    pairs = tables.leaderboard[["dataset", "metric"]].drop_duplicates().itertuples(index=False, name=None)
    boards = {pair: f"leaderboards/{'_'.join(pair)}.csv" for pair in pairs}
    return tables, drawings(tables, boards, store, most=most)


KINDS = ("scenes", "published", "sensitivity", "similarity", "empty")


def test_scenes_masks_perturbations_and_publications_have_figures_with_their_numbers(row, store):
    tables, chosen = listed(row, store, 12)
    found = [(shown.drawing.kind, shown.csv) for shown in chosen.shown if shown.drawing.kind in KINDS]
    assert sorted(found) == [
        ("empty", "tables/layers.csv"),
        ("empty", "tables/layers.csv"),
        ("published", "tables/published.csv"),
        ("published", "tables/published.csv"),
        ("scenes", "leaderboards/voc2012_mean_iou.csv"),
        ("scenes", "leaderboards/voc2012_mean_iou.csv"),
        ("sensitivity", "tables/sensitivity.csv"),
        ("similarity", "tables/similarity.csv"),
        ("similarity", "tables/similarity.csv"),
    ]
    for shown in chosen.shown:
        if shown.drawing.kind in KINDS:
            pickle.loads(pickle.dumps(shown.drawing)).draw()
    # One mask of a network with two stems, transferred to both tasks.
    assert tables.universal["architecture"].unique().tolist() == ["resnet50"]
    assert set(tables.universal["n_tasks"]) == {2}


def test_figures_of_scenes_are_limited_like_all_others_and_perturbed_networks_have_the_last_curves(row, store):
    _, chosen = listed(row, store, 1)
    settings = {shown.drawing.kind: shown.drawing.setting for shown in chosen.shown}
    assert [shown.drawing.kind for shown in chosen.shown].count("scenes") == 1
    assert settings["scenes"][:4] == ("voc2012", "mean_iou", "moco", "imp")
    assert settings["curve"][2] in ("accuracy", "mean_iou")
    assert chosen.available >= 2


def test_the_report_names_the_kinds():
    figures = [Figure(name=f"{kind}_1", caption="x.", svg="<svg/>") for kind in KINDS]
    titles = [title for title, _, _ in by_kind(figures)]
    assert titles == [
        "Predictions in scenes",
        "Measured beside published curves",
        "Accuracy under perturbed weights and masks",
        "Similarity of masks between pre-trainings",
        "Empty kernels by layer and pre-training",
    ]
