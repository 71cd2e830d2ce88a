import numpy as np
import pandas as pd
import pytest

from analysis.compiling import compiled
from analysis.frame import frame
from analysis.plots import transfers
from analysis.transfer_matrix import FIRST_SCORES, KEYS, TRANSFER_COUNTS_COLUMNS

ROW = {
    "grid": "toy", "architecture": "resnet8", "pretraining": "supervised", "source": "letters", "pretraining_seed": 0,
    "granularity": "unstructured", "sparsity": 0.9, "round": 10, "transfer": "linear", "objective": "standard",
    "fraction": 1.0, "metric": "accuracy", "selection": "last", "family": "imp",
}  # fmt: skip
BERT = {"architecture": "bert_base", "pretraining": "huggingface", "source": "mlm", "transfer": "finetune"}
NO_COUNTS = pd.DataFrame(columns=list(TRANSFER_COUNTS_COLUMNS))


def transferred(*cells, **columns):
    rows = [
        {name: ROW[name] for name in KEYS}
        | {"mask_source": source, "target": target, "first_score": True, "higher_is_better": True, "n": 3}
        | {"diff_mean": diff, "diff_low": diff - half, "diff_high": diff + half, "same_task": source == target}
        | columns
        for source, target, diff, half in cells
    ]
    return pd.DataFrame(rows)


def texts(axes):
    return {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}


def names(ticks):
    return [text.get_text().replace("\n", " ") for text in ticks]


def axes_of(table, counts=NO_COUNTS):
    return transfers.transfers(table, counts)[0].draw().axes


def test_a_transfer_cell_shows_the_difference_and_half_its_interval():
    axes, bar = axes_of(transferred(("a", "a", 0.04, 0.01), ("b", "a", -0.02, 0.03), ("b", "b", 0.03, np.nan)))
    assert texts(axes) == {(0, 0): "+0.04\n±0.01", (0, 1): "", (1, 0): "-0.02\n±0.03", (1, 1): "+0.03"}
    assert axes.collections[0].get_clim() == (-0.04, 0.04)
    hatched = {(int(patch.get_y()), int(patch.get_x())) for patch in axes.patches if patch.get_hatch()}
    framed = {(int(patch.get_y()), int(patch.get_x())) for patch in axes.patches if not patch.get_hatch()}
    assert (hatched, framed) == ({(1, 0), (1, 1)}, {(0, 0), (1, 1)})
    assert bar.get_ylabel() == "difference to dense,\naccuracy (↑ better)"
    assert axes.child_axes == []


def test_differences_far_inside_their_intervals_are_pale():
    axes, _ = axes_of(transferred(("a", "b", 0.001, 0.1)))
    assert min(axes.collections[0].to_rgba(0.001)[:3]) > 0.9


def test_a_loss_is_red_whichever_way_the_metric_points():
    for higher, diff in ((True, -0.1), (False, 0.1)):
        table = transferred(("a", "b", diff, 0.01), higher_is_better=higher)
        red, _, blue, _ = axes_of(table)[0].collections[0].to_rgba(diff)
        assert red > blue


def test_a_missing_cell_is_grey():
    axes, _ = axes_of(transferred(("a", "b", 0.1, 0.01), ("b", "a", np.nan, np.nan)))
    shown = axes.collections[0].get_array().reshape(2, 2)
    assert np.ma.getmaskarray(shown).tolist() == [[True, False], [True, True]]
    assert axes.get_facecolor()[:3] == pytest.approx((0xD0 / 255,) * 3)


def test_without_a_mask_that_went_elsewhere_there_is_no_matrix():
    assert transfers.transfers(transferred(("a", "b", np.nan, np.nan)), NO_COUNTS) == []
    assert transfers.transfers(transferred(("a", "b", 0.1, 0.1))[:0], NO_COUNTS) == []
    own = transferred(("a", "a", 0.1, 0.1), ("b", "b", 0.1, 0.1), ("weights of c (omp)", "a", 0.1, 0.1))
    assert transfers.transfers(own, NO_COUNTS) == []
    assert len(transfers.transfers(own[own["mask_source"].str.startswith("weights")], NO_COUNTS)) == 1


def test_data_sets_stand_in_the_order_of_the_catalog_and_one_shot_and_random_masks_last():
    rows = [(name, "squad", 0.1, 0.01) for name in ("chance (random)", "mlm", "weights of mlm (omp)", "squad", "mnli")]
    axes, _ = axes_of(transferred(*rows, ("mlm", "mnli", 0.1, 0.01)))
    assert names(axes.get_yticklabels()) == ["mnli", "squad", "mlm", "weights of mlm (omp)", "chance (random)"]
    assert names(axes.get_xticklabels()) == ["mnli", "squad"]


def test_counts_stand_on_the_right():
    counts = pd.DataFrame(
        [ROW | {"mask_source": name, "n_targets": 2, "n_at_or_above": n} for name, n in (("b", 1), ("a", None))]
    ).astype({"n_at_or_above": "Int64"})
    axes, _ = axes_of(transferred(("a", "b", 0.1, 0.01), ("b", "a", 0.1, 0.01)), counts)
    right = axes.child_axes[0]
    assert names(right.get_yticklabels()) == ["", "1 of 2"]
    assert right.get_ylabel() == "targets at or above their own"


def study(row):
    """Two seeds; masks of rte, cola and mlm on rte (accuracy) and cola (correlation, and accuracy as a second score)."""
    rows = []
    values = {
        "dense": (0.66, 0.545, 0.8),
        "imp(on=rte)": (0.6, 0.1, 0.7),
        "imp(on=cola)": (0.55, 0.4, 0.75),
        "imp": (0.62, 0.45, 0.7),
        "omp": (0.58, 0.3, 0.7),
    }
    for pruner, (rte, cola, accuracy) in values.items():
        for dataset, metric, value in (
            ("rte", "accuracy", rte),
            ("cola", "matthews", cola),
            ("cola", "accuracy", accuracy),
        ):
            for seed in (0, 1):
                axes = {"dataset": dataset, "metric": metric, **BERT}
                rows.append(
                    row(
                        pruner, 0.0 if pruner == "dense" else 0.7, seed, value + 0.01 * seed * (pruner == "imp"), **axes
                    )
                )
    return compiled(frame(rows, grid="toy"), name="toy")


def test_targets_of_different_metrics_share_a_matrix_by_the_first_score_of_each(row):
    tables = study(row)
    pooled, second = transfers.transfers(tables.transfer_matrix, tables.transfer_counts)
    assert [FIRST_SCORES in pooled.setting, "accuracy" in second.setting] == [True, True]
    axes, bar = pooled.draw().axes
    assert names(axes.get_xticklabels()) == ["rte, accuracy", "cola, matthews"]
    assert names(axes.get_yticklabels()) == ["rte", "cola", "mlm", "weights of mlm (omp)"]
    shown = [text.partition("\n")[0] for text in texts(axes).values()]
    assert shown == ["-6.0", "-44.5", "-11.0", "-14.5", "-3.5", "-9.0", "-8.0", "-24.5"]
    # At or above: on rte -6.0, on cola -14.5.
    assert names(axes.child_axes[0].get_yticklabels()) == ["0 of 1", "0 of 1", "2 of 2", "0 of 2"]
    assert bar.get_ylabel().startswith("gain on dense, hundredths")
    # The accuracy of cola is not what it is judged by first.
    assert names(second.draw().axes[0].get_xticklabels()) == ["cola"]


def test_a_published_matrix_stands_above_the_measured_one(row):
    (drawing,) = transfers.beside(study(row).published)
    above, below, _ = drawing.draw().axes
    assert len(above.get_yticks()) == 12
    assert [text.get_text() for text in above.texts][:3] == ["+0.14", "-0.99", "-3.63"]
    measured = [text.get_text() for text in below.texts if text.get_text()]
    assert measured == ["-6.00", "-44.50", "-11.00", "-14.50", "-3.50", "-9.00", "-8.00", "-24.50"]
    assert transfers.beside(study(row).published[:0]) == []
