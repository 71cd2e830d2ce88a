import dataclasses

import numpy as np
import pytest

from analysis.frame import frame
from analysis.gallery import GALLERY, Unreadable, read, scenes
from analysis.plots import scenes as plots
from analysis.plots.style import save
from bench.data.sources import voc
from bench.store import StoreError

SIDE = 8
IMAGES = np.arange(2 * SIDE * SIDE * 3, dtype=np.uint8).reshape(2, SIDE, SIDE, 3)
# The left half of the first scene is class 3; its upper row is not counted.
TRUTH = np.zeros((2, SIDE, SIDE), np.uint8)
TRUTH[0, :, :4], TRUTH[0, 0] = 3, 255
PREDICTED = np.where(TRUTH == 3, 15, 0).astype(np.uint8)
MASKS = {"images": IMAGES, "truth": TRUTH, "predicted": PREDICTED}
BOXES = {
    "images": IMAGES,
    "truth_boxes": np.array([[0, 1, 1, 5, 6, 2, 0], [1, 0, 0, 8, 8, 4, 1]], np.float32),
    "predicted_boxes": np.array([[0, 1, 2, 5, 6, 2, 0.5], [0, 0, 0, 3, 3, 11, 0.9]], np.float32),
}


def seen(row, store, arrays=MASKS, pruner="imp", sparsity=0.9, seed=0, metric="mean_iou", dataset="voc2012", **axes):
    """The row of an evaluation that keeps a gallery; without arrays it keeps none."""
    key = f"{pruner}{sparsity}{seed}{dataset}{sorted(axes.items())}"
    files = {"examples.safetensors": {"iou": np.zeros(1)}} | ({GALLERY: arrays} if arrays else {})
    store.put(key, files)
    return dataclasses.replace(row(pruner, sparsity, seed, 0.5, metric=metric, dataset=dataset, **axes), key=key)


def found(rows, store, **options):
    return scenes(frame(rows, grid="toy"), store, **options)


def test_a_figure_has_the_dense_network_and_its_tickets_from_dense_to_sparse(row, store):
    rows = [seen(row, store, pruner="dense", sparsity=0.0)] + [seen(row, store, sparsity=s) for s in (0.9, 0.5)]
    rows += [seen(row, store, sparsity=0.5, seed=1), seen(row, store, pruner="random")]
    imp, random = found(rows, store)
    assert [column.sparsity for column in imp.columns] == [0.0, 0.5, 0.9]
    assert (imp.seed, imp.columns[0].value) == (0, 0.5)
    assert [column.key.partition("0")[0] for column in random.columns] == ["dense", "random"]


def test_pretrainings_and_data_sets_are_figures_of_their_own(row, store):
    rows = [
        seen(row, store, dataset=dataset, pretraining=pretraining)
        for dataset in ("voc2012", "scenes_segmentation")
        for pretraining in ("moco", "simclr")
    ]
    assert len(found(rows, store)) == 4


def test_of_many_sparsities_the_first_and_the_last_are_shown(row, store):
    rows = [seen(row, store, pruner="dense", sparsity=0.0)]
    rows += [seen(row, store, sparsity=k / 10) for k in range(1, 10)]
    (shown,) = found(rows, store)
    assert [column.sparsity for column in shown.columns] == [0.0, 0.1, 0.5, 0.9]
    (few,) = found(rows, store, most_columns=3)
    assert len(few.columns) == 2


def test_all_networks_are_of_the_lowest_seed_that_the_dense_one_has(row, store):
    rows = [seen(row, store, pruner="dense", sparsity=0.0, seed=1), seen(row, store), seen(row, store, seed=1)]
    (shown,) = found(rows, store)
    assert (shown.seed, len(shown.columns)) == (1, 2)
    (alone,) = found(rows[1:2], store)
    assert (alone.seed, [column.sparsity for column in alone.columns]) == (0, [0.9])


def test_without_galleries_or_a_store_there_is_no_figure(row, store):
    rows = [seen(row, store, None), dataclasses.replace(seen(row, store, sparsity=0.5), key="gone")]
    rows += [seen(row, store, dataset="cifar10", metric="accuracy")]
    assert found(rows, store) == []
    assert found([seen(row, store, sparsity=0.8)], None) == []
    assert found([], store) == []


def test_masks_and_boxes_are_read_as_they_were_kept(row, store):
    masks = read(store, seen(row, store).key)
    assert masks.task == "segmentation"
    np.testing.assert_array_equal(masks.predicted, PREDICTED)
    boxes = read(store, seen(row, store, BOXES, dataset="voc2007", metric="ap").key)
    assert boxes.task == "detection"
    np.testing.assert_array_equal(boxes.truth, BOXES["truth_boxes"])


def test_a_gallery_of_no_task_and_an_absent_one_are_refused(row, store):
    with pytest.raises(Unreadable, match=r"gallery.safetensors holds images, which is no task's"):
        read(store, seen(row, store, {"images": IMAGES}).key)
    with pytest.raises(StoreError, match="gone"):
        read(store, "gone")


def drawn(rows, store):
    return plots.galleries(found(rows, store), store)[0].draw()


def test_masks_are_coloured_where_objects_are_and_nowhere_else(row, store):
    figure = drawn([seen(row, store, pruner="dense", sparsity=0.0), seen(row, store)], store)
    truth, dense, ticket = figure.axes[:3]
    assert [axes.get_title(loc="left") for axes in (truth, dense, ticket)] == [
        "truth\n",
        "dense\nmIoU 50.0 %",
        "90.00 % sparse\nmIoU 50.0 %",
    ]
    shown = truth.images[0].get_array().astype(int)
    grey = (shown == shown[..., :1]).all(axis=2)
    assert not grey[1:, :4].any()
    # Neither the background nor what is not counted.
    assert grey[0].all()
    assert grey[:, 4:].all()
    assert [text.get_text() for text in truth.texts] == ["bird"]
    assert [text.get_text() for text in ticket.texts] == ["person"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["bird", "person"]
    # The second scene holds nothing.
    assert list(figure.axes[3].texts) == []


def test_boxes_are_drawn_with_class_and_score_the_surest_first(row, store):
    rows = [seen(row, store, BOXES, dataset="voc2007", metric="ap")]
    figure = drawn(rows, store)
    truth, ticket, second = figure.axes[:3]
    assert [text.get_text() for text in truth.texts] == ["bird"]
    assert [text.get_text() for text in ticket.texts] == ["dog .90", "bird .50"]
    (box,) = truth.patches
    # Edges of pixels are half a pixel off their centres.
    assert (*box.get_xy(), box.get_width(), box.get_height()) == (0.5, 0.5, 4, 5)
    assert box.get_linestyle() == "-"
    assert second.patches[0].get_linestyle() != "-"
    assert "dashed: objects that are difficult" in figure.get_label().replace("\n", " ")


def test_digits_are_named_by_their_number(row, store):
    figure = drawn([seen(row, store, dataset="scenes_segmentation")], store)
    assert [text.get_text() for text in figure.axes[0].texts] == ["2"]


def test_large_images_are_made_smaller_with_their_masks_and_boxes(row, store):
    side = 400
    images = np.zeros((1, side, side, 3), np.uint8)
    images[:, :, 200:] = 255
    boxes = {"images": images, "truth_boxes": np.array([[0, 200, 0, 400, 400, 0, 0]], np.float32)}
    boxes["predicted_boxes"] = boxes["truth_boxes"][:0]
    axes = drawn([seen(row, store, boxes, dataset="voc2007", metric="ap")], store).axes[0]
    shown = axes.images[0].get_array()
    assert shown.shape == (133, 133, 3)
    assert axes.patches[0].get_x() == pytest.approx(200 / 3 - 0.5)
    masks = {"images": images, "truth": (images[..., 0] > 0).astype(np.uint8), "predicted": images[..., 0] * 0}
    shown = drawn([seen(row, store, masks)], store).axes[0].images[0].get_array().astype(int)
    coloured = ~(shown == shown[..., :1]).all(axis=2)
    assert not coloured[:, :66].any()
    assert coloured[:, 67:].all()


def test_a_gallery_that_cannot_be_read_leaves_a_note_in_its_place(row, store):
    rows = [seen(row, store, {"images": IMAGES}, "dense", 0.0), seen(row, store)]
    figure = drawn(rows, store)
    assert "which is no" in figure.axes[1].texts[0].get_text().replace("\n", " ")
    assert figure.axes[0].images
    assert figure.axes[2].images


def test_the_files_depend_on_the_content_alone(row, store, tmp_path):
    for arrays, dataset, metric in ((MASKS, "voc2012", "mean_iou"), (BOXES, "voc2007", "ap")):
        rows = [seen(row, store, arrays, dataset=dataset, metric=metric)]
        first, second = (save(drawn(rows, store), tmp_path / name, name="x") for name in "ab")
        assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_the_classes_are_those_of_the_set():
    assert plots.VOC == voc.CLASSES


def test_of_boxes_upon_each_other_the_surest_is_left_whatever_its_class():
    rows = np.array(
        [
            [0, 0, 0, 10, 10, 3, 0.4],
            [0, 0, 0, 10, 9, 1, 0.8],  # nine tenths of the first
            [0, 5, 0, 15, 10, 1, 0.5],  # a third of it
            [0, 30, 30, 34, 34, 1, 0.3],
        ],
        np.float32,
    )
    assert plots.surest(rows)[:, 6].tolist() == [np.float32(0.8), np.float32(0.5), np.float32(0.3)]
    assert plots.surest(rows[:0]).shape == (0, 7)
