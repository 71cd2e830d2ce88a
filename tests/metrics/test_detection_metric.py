"""Average precision: by hand, against a plain implementation of VOC's eleven points, and against pycocotools."""

import contextlib
import io
import json
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from bench import catalog, models
from bench.metrics import detection
from bench.metrics.evaluation import Conditions
from bench.models.detection import Detections
from bench.spec import Word

A, B, FAR = (0, 0, 10, 10), (20, 20, 30, 40), (50, 50, 60, 60)


class Objects(NamedTuple):
    boxes: Tensor
    classes: Tensor
    difficult: Tensor


class Batch(NamedTuple):
    inputs: Tensor
    labels: list[Objects]
    indices: Tensor


class Told(nn.Module):
    """Finds what it is told for the image whose number is written into its first pixel, in 1/100."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def forward(self, images):
        return [self.found[round(float(image[0, 0, 0]) * 100)] for image in images]


def objects(*rows):
    """Rows (box, class) or (box, class, difficult)."""
    return Objects(
        torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([row[1] for row in rows], dtype=torch.int64),
        torch.tensor([len(row) > 2 for row in rows], dtype=torch.bool),
    )


def detections(*rows):
    """Rows (box, class, score)."""
    boxes = torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4)
    scores, classes = torch.tensor([float(row[2]) for row in rows]), torch.tensor([row[1] for row in rows])
    return Detections(boxes, scores, classes.long())


def evaluate(truth, found, *, order=None, sizes=None):
    """truth and found: one entry an image."""
    images = (torch.arange(len(truth)) / 100).view(-1, 1, 1, 1).expand(-1, 3, 64, 64)
    positions = torch.arange(len(truth)) if order is None else torch.tensor(order)
    parts = [
        Batch(images[part], [truth[k] for k in part.tolist()], part) for part in positions.split(sizes or len(truth))
    ]
    return detection.evaluate(Told(found), Conditions(batches=lambda: parts))


@pytest.mark.parametrize(
    ("truth", "found", "ap50", "coco_ap50"),
    [
        # Perfect.
        (objects((A, 0), (B, 0)), detections((A, 0, 0.9), (B, 0, 0.8)), 1, 1),
        # Nothing predicted; one of the wrong class; one that overlaps too little: 50 of 150.
        (objects((A, 0)), detections(), 0, 0),
        (objects((A, 0)), detections((A, 1, 0.9)), 0, 0),
        (objects((A, 0)), detections(((0, 5, 10, 15), 0, 0.9)), 0, 0),
        # Half found: recalls 0 to 0.5 are 6 of 11, and 51 of 101.
        (objects((A, 0), (B, 0)), detections((A, 0, 0.9)), 6 / 11, 51 / 101),
        # Wrong first: a precision of 1 / 2 at every recall.
        (objects((A, 0)), detections((FAR, 0, 0.9), (A, 0, 0.8)), 1 / 2, 1 / 2),
        # Wrong last: all recalls were reached before.
        (objects((A, 0)), detections((A, 0, 0.9), (FAR, 0, 0.8)), 1, 1),
        # A duplicate is wrong: precision 1 up to recall 1/2, then 2/3.
        (objects((A, 0), (B, 0)), detections((A, 0, 0.9), (A, 0, 0.8), (B, 0, 0.7)), (6 + 5 * 2 / 3) / 11, (51 + 50 * 2 / 3) / 101),
        # Three of ten are found: a recall of exactly 0.3 reaches the fourth of eleven.
        (objects(*(((0, 6 * k, 5, 6 * k + 5), 0) for k in range(10))), detections(*(((0, 6 * k, 5, 6 * k + 5), 0, 0.9) for k in range(3))), 4 / 11, 31 / 101),
        # Class 0 perfect, class 2 missed; class 1 has no objects, what is found of it is left out.
        (objects((A, 0), (B, 2)), detections((A, 0, 0.9), (FAR, 1, 0.8)), 1 / 2, 1 / 2),
        # Difficult: missed is no loss, found is neither right nor wrong, though it comes first; found twice is wrong once.
        (objects((A, 0), (B, 0, "difficult")), detections((A, 0, 0.9)), 1, 1),
        (objects((A, 0), (B, 0, "difficult")), detections((B, 0, 0.9), (A, 0, 0.8)), 1, 1),
        (objects((A, 0), (B, 0, "difficult")), detections((B, 0, 0.9), (B, 0, 0.8), (A, 0, 0.7)), 1 / 2, 1 / 2),
        # A large detection around a difficult object overlaps it by 100 of 400 only: wrong.
        (objects((FAR, 0), (A, 0, "difficult")), detections(((0, 0, 20, 20), 0, 0.9), (FAR, 0, 0.8)), 1 / 2, 1 / 2),
        # A class of difficult objects only is left out.
        (objects((A, 0), (B, 1, "difficult")), detections((A, 0, 0.9), (FAR, 1, 0.9)), 1, 1),
    ],
)  # fmt: skip
def test_one_image_by_hand(truth, found, ap50, coco_ap50):
    metrics = evaluate([truth], [found]).metrics
    assert metrics["ap50"] == pytest.approx(ap50, abs=1e-12)
    assert metrics["coco_ap50"] == pytest.approx(coco_ap50, abs=1e-12)


def test_ap_is_the_mean_over_ten_overlaps():
    # 72 of 100: right at 0.50, 0.55, 0.60, 0.65 and 0.70.
    found = evaluate([objects((A, 0))], [detections(((0, 0, 10, 7.2), 0, 0.9))])
    assert found.metrics == pytest.approx({"ap": 0.5, "ap50": 1.0, "coco_ap": 0.5, "coco_ap50": 1.0})
    assert found.details == {"ap_by_class": {"0": pytest.approx(0.5)}, "ap50_by_class": {"0": pytest.approx(1.0)}}


def test_what_is_found_in_an_image_without_objects_is_wrong():
    found = evaluate([objects(), objects((A, 0))], [detections((A, 0, 0.9)), detections((A, 0, 0.8))])
    assert found.metrics["ap50"] == pytest.approx(0.5)
    assert found.examples["found"].tolist() == [0, 1]
    assert found.examples["objects"].tolist() == [0, 1]


def test_found_counts_the_objects_of_every_image_that_are_not_difficult():
    truth = [objects((A, 0), (B, 1), (FAR, 1, "difficult")), objects((A, 1)), objects()]
    found = [detections((A, 0, 0.2), (B, 1, 0.1), (FAR, 1, 0.9)), detections((A, 0, 0.9)), detections()]
    examples = evaluate(truth, found).examples
    assert examples["found"].tolist() == [2, 0, 0]
    assert examples["objects"].tolist() == [2, 1, 0]


@pytest.mark.parametrize("truth", [[objects(), objects()], [objects((A, 0, "difficult"))]])
def test_a_set_without_objects_is_refused(truth):
    with pytest.raises(ValueError, match=rf"{len(truth)} images hold no object that counts"):
        evaluate(truth, [detections((A, 0, 0.9))] * len(truth))


def test_no_examples_are_refused():
    with pytest.raises(ValueError, match="no examples"):
        detection.evaluate(Told([]), Conditions(batches=lambda: []))


def drawn(seed, n_images=6, classes=3, difficult=0.0):
    """Objects on a coarse grid, found with jitter, some twice, some with another class; scores differ."""
    draw = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(n_images):
        rows, guesses = [], []
        for _ in range(draw.integers(0, 6)):
            left, top = draw.integers(0, 40, 2)
            box = (left, top, left + draw.integers(8, 24), top + draw.integers(8, 24))
            rows.append((box, int(draw.integers(classes)), *(["difficult"] if draw.random() < difficult else [])))
            for _ in range(draw.integers(0, 3)):
                moved = np.array(box) + draw.normal(0, 1.5, 4)
                label = rows[-1][1] if draw.random() < 0.8 else int(draw.integers(classes))
                guesses.append((tuple(moved), label, draw.random()))
        truth.append(objects(*rows))
        found.append(detections(*sorted(guesses, key=lambda guess: -guess[2])))
    return truth, found


def overlap(one, other):
    left, top = max(one[0], other[0]), max(one[1], other[1])
    width, height = min(one[2], other[2]) - left, min(one[3], other[3]) - top
    both = max(width, 0) * max(height, 0)
    area = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (area - both)


def eleven_points(truth, found, threshold):
    """VOC 2007's average precision, a loop over classes, detections and recalls, in exact fractions."""
    values = []
    for label in sorted({int(c) for scene in truth for c in scene.classes[~scene.difficult]}):
        left = [
            [(box.tolist(), bool(hard)) for box, c, hard in zip(*scene, strict=True) if c == label] for scene in truth
        ]
        n = sum(not hard for scene in left for _, hard in scene)
        guesses = sorted(
            (-score.item(), image, box.tolist())
            for image, seen in enumerate(found)
            for box, score, c in zip(*seen, strict=True)
            if c == label
        )
        right = wrong = 0
        points = []
        for _, image, box in guesses:
            best = max(
                (o for o in left[image] if overlap(box, o[0]) >= threshold),
                key=lambda o: (not o[1], overlap(box, o[0])),
                default=None,
            )
            if best is None:
                wrong += 1
            else:
                left[image].remove(best)
                right += not best[1]
            if right + wrong:
                points.append((Fraction(right, n), Fraction(right, right + wrong)))
        recalls = [Fraction(k, 10) for k in range(11)]
        values.append(sum(max((p for r, p in points if r >= recall), default=Fraction(0)) for recall in recalls) / 11)
    return float(sum(values) / len(values))


@pytest.mark.parametrize("seed", range(8))
def test_random_scenes_agree_with_eleven_points_by_loops(seed):
    truth, found = drawn(seed, difficult=0.25)
    metrics = evaluate(truth, found).metrics
    by_overlap = [eleven_points(truth, found, 0.5 + 0.05 * k) for k in range(10)]
    assert metrics["ap50"] == pytest.approx(by_overlap[0], abs=1e-9)
    assert metrics["ap"] == pytest.approx(sum(by_overlap) / 10, abs=1e-9)
    assert 0 < metrics["ap"] < 1


@pytest.mark.parametrize("seed", range(3))
def test_coco_ap_is_what_pycocotools_sums_up(seed):
    truth, found = drawn(seed)
    boxes = lambda rows: [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in rows.boxes.tolist()]  # noqa: E731
    labels = [
        {"image_id": i, "category_id": int(c), "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for i, scene in enumerate(truth)
        for box, c in zip(boxes(scene), scene.classes, strict=True)
    ]
    results = [
        {"image_id": i, "category_id": int(c), "bbox": box, "score": float(s)}
        for i, seen in enumerate(found)
        for box, c, s in zip(boxes(seen), seen.classes, seen.scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(len(truth))],
            "categories": [{"id": k} for k in range(3)],
            "annotations": [label | {"id": k} for k, label in enumerate(labels, start=1)],
        }
        index.createIndex()
        evaluation = COCOeval(index, index.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    metrics = evaluate(truth, found).metrics
    assert metrics["coco_ap"] == pytest.approx(evaluation.stats[0], abs=1e-12)
    assert metrics["coco_ap50"] == pytest.approx(evaluation.stats[1], abs=1e-12)


def test_neither_the_batches_nor_their_order_matter_and_nothing_is_printed(capsys):
    truth, found = drawn(1)
    one, many = evaluate(truth, found), evaluate(truth, found, order=[4, 0, 5, 2, 1, 3], sizes=[1, 3, 2])
    assert one.metrics == many.metrics
    for values, others in zip(
        (*one.examples.values(), *one.gallery.values()), (*many.examples.values(), *many.gallery.values()), strict=True
    ):
        assert np.array_equal(values, others)
    assert capsys.readouterr().out == ""


def test_the_gallery_holds_the_boxes_of_the_first_eight_images():
    truth = [objects((A, k % 3), *([(B, 2, "difficult")] if k == 1 else [])) for k in range(10)]
    found = [detections((B, 1, 0.5), (A, 0, 0.25)) for _ in range(10)]
    gallery = evaluate(truth, found, order=[9, *range(9)], sizes=4).gallery
    assert gallery["images"].shape == (8, 64, 64, 3)
    assert gallery["images"][:, 0, 0, 0].tolist() == [round(255 * k / 100) for k in range(8)]
    assert gallery["truth_boxes"][:3].tolist() == [[0, *A, 0, 0], [1, *A, 1, 0], [1, *B, 2, 1]]
    assert gallery["truth_boxes"].shape == (9, 7)
    assert gallery["predicted_boxes"].tolist() == [[k, *B, 1, 0.5] for k in range(8)]
    assert gallery["truth_boxes"].dtype == gallery["predicted_boxes"].dtype == np.float32


def test_a_network_is_measured_as_the_catalog_declares_and_left_as_it_was():
    network = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    models.new_head(network, "detection", 3, resolution=64, seed=1)
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    parts = [Batch(images, [objects((A, 0)), objects(), objects((B, 1), (FAR, 2))], torch.arange(3))]
    before = {name: value.clone() for name, value in models.state(network).items()}
    found = detection.evaluate(network.train(), Conditions(batches=lambda: parts))
    assert list(found.metrics) == list(catalog.METRICS["detection"].reports)
    assert json.loads(json.dumps(found.details)) == found.details
    assert network.training
    assert all(torch.equal(models.state(network)[name], value) for name, value in before.items())
    torch.nn.init.constant_(network.body.bn1.weight, float("inf"))
    with pytest.raises(ValueError, match="not finite"):
        detection.evaluate(network, Conditions(batches=lambda: parts))
