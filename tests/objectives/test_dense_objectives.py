"""What segmentation and detection minimise."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from bench import models
from bench.data.records import Objects
from bench.models.rows import AllRows
from bench.objectives import detection, segmentation
from bench.spec import Recipe, Word

RECIPE = Recipe(epochs=1)
OUT = 255  # not counted


def network(task):
    net = models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    models.new_head(net, task, 3, resolution=32, seed=1)
    return net


def pictures(n=3):
    return torch.rand(n, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def run(objective, net, images, labels, recipe=RECIPE):
    return objective.loss(net, images, labels, recipe=recipe, seed=0, step=0, indices=torch.arange(len(images)))


def objects(*rows):
    """Rows (box, class) or (box, class, difficult)."""
    return Objects(
        torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([row[1] for row in rows], dtype=torch.int64),
        torch.tensor([len(row) > 2 for row in rows], dtype=torch.bool),
    )


SCENES = [objects(((4, 4, 18, 20), 1), ((16, 14, 30, 30), 2)), objects(), objects(((0, 8, 12, 24), 0))]


class Uniform(nn.Module):
    """Logits of 0 everywhere, of 4 classes; its layer across processes tells what it saw."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.all_rows = AllRows()
        self.all_rows.register_forward_hook(lambda _, inputs, __: self.seen.append(inputs[0]))

    def forward(self, images):
        return torch.zeros(len(images), 4, *images.shape[2:])


def test_segmentation_is_the_mean_over_counted_pixels_of_all_images():
    labels = torch.tensor([[[0, 1], [2, 3]], [[OUT, OUT], [OUT, 1]]])
    net = Uniform()
    loss, logits = run(segmentation, net, torch.zeros(2, 3, 2, 2), labels)
    assert loss.item() == pytest.approx(math.log(4), rel=1e-6)
    assert logits.shape == (2, 4, 2, 2)
    (rows,) = net.seen
    assert rows.tolist() == [[pytest.approx(4 * math.log(4)), 4.0], [pytest.approx(math.log(4)), 1.0]]


def test_segmentation_agrees_with_torchs_cross_entropy_and_smooths_labels():
    net = network("segmentation").eval()
    labels = torch.randint(3, (3, 32, 32), generator=torch.Generator().manual_seed(1))
    labels[0, :20] = OUT
    loss, logits = run(segmentation, net, pictures(), labels, Recipe(epochs=1, label_smoothing=0.1))
    expected = F.cross_entropy(logits, labels, ignore_index=OUT, label_smoothing=0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_segmentation_without_counted_pixels_is_zero():
    loss, _ = run(segmentation, Uniform(), torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2), OUT))
    assert loss.item() == 0


def places(scene, anchors, counts):
    """Object of every place or -1, one place and object at a time. Tian et al. 2019, arXiv:1904.01355."""
    level = [number for number, count in enumerate(counts) for _ in range(count)]
    found = []
    for number, anchor in zip(level, anchors.tolist(), strict=True):
        x, y, stride = (anchor[0] + anchor[2]) / 2, (anchor[1] + anchor[3]) / 2, anchor[2] - anchor[0]
        best = (math.inf, -1)
        for k, (x0, y0, x1, y1) in enumerate(scene.boxes.tolist()):
            far = max(x - x0, y - y0, x1 - x, y1 - y)
            low = 0 if number == 0 else 4 * stride
            high = math.inf if number == len(counts) - 1 else 8 * stride
            central = max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) < 1.5 * stride
            if central and min(x - x0, y - y0, x1 - x, y1 - y) > 0 and low < far < high:
                best = min(best, ((x1 - x0) * (y1 - y0), k))
        found.append(best[1])
    return torch.tensor(found)


def test_detection_is_the_published_loss_per_place_inside_an_object():
    net = network("detection").eval()
    # Boxes that are no points, and logits that differ.
    nn.init.constant_(net.top.fcos.head.towers.regression_head.bbox_reg.bias, 1.5)
    loss, logits = run(detection, net, pictures(), SCENES)
    outputs, anchors, counts = net.top.predict(net.maps(pictures()), 32)
    total, inside = 0.0, 0
    for image, scene in enumerate(SCENES):
        matched = places(scene, anchors, counts)
        within = matched >= 0
        target = torch.zeros(len(anchors), 3)
        target[within, scene.classes[matched[within]]] = 1
        total += sigmoid_focal_loss(outputs["cls_logits"][image], target, alpha=0.25, gamma=2, reduction="sum")
        inside += int(within.sum())
        if not within.any():
            continue
        centres = (anchors[within, :2] + anchors[within, 2:]) / 2
        sides = (anchors[within, 2] - anchors[within, 0])[:, None] * outputs["bbox_regression"][image, within]
        boxes = torch.cat([centres - sides[:, :2], centres + sides[:, 2:]], dim=1)
        true = scene.boxes[matched[within]]
        total += generalized_box_iou_loss(boxes, true, reduction="sum")
        left, right = (centres - true[:, :2]), (true[:, 2:] - centres)
        centreness = (torch.minimum(left, right) / torch.maximum(left, right)).prod(dim=1).sqrt()
        total += F.binary_cross_entropy_with_logits(
            outputs["bbox_ctrness"][image, within, 0], centreness, reduction="sum"
        )
    assert inside > 20
    assert loss.item() == pytest.approx(total.item() / inside, rel=1e-5)
    assert torch.equal(logits, outputs["cls_logits"])


def test_difficult_objects_are_no_targets():
    net = network("detection").eval()
    hard = [objects(((4, 4, 18, 20), 1), ((16, 14, 30, 30), 2, "difficult"))]
    without = [objects(((4, 4, 18, 20), 1))]
    assert torch.equal(run(detection, net, pictures(1), hard)[0], run(detection, net, pictures(1), without)[0])


def test_scenes_without_objects_give_a_finite_loss_and_gradients():
    net = network("detection")
    loss, _ = run(detection, net, pictures(2), [objects(), objects()])
    loss.backward()
    assert torch.isfinite(loss)
    assert loss > 0
    assert all(parameter.grad is None or torch.isfinite(parameter.grad).all() for parameter in net.parameters())
    assert net.body.conv1.weight.grad.abs().sum() > 0


class Others(AllRows):
    """As in a second process: the rows of `other` follow."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def forward(self, rows):
        return torch.cat([rows, self.other])


def rows_of(objective, net, images, labels):
    seen = []
    hook = net.all_rows.register_forward_hook(lambda _, __, output: seen.append(output.detach()))
    run(objective, net, images, labels)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_parts_of_a_batch_give_the_loss_of_the_whole(task):
    objective = {"segmentation": segmentation, "detection": detection}[task]
    # In evaluation mode images do not see each other.
    net = network(task).eval()
    masks = torch.randint(3, (3, 32, 32), generator=torch.Generator().manual_seed(1))
    masks[0, :20] = OUT
    labels = masks if task == "segmentation" else SCENES
    whole, _ = run(objective, net, pictures(), labels)
    net.all_rows = Others(rows_of(objective, net, pictures()[1:], labels[1:]))
    part, _ = run(objective, net, pictures()[:1], labels[:1])
    assert part.item() == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_every_parameter_is_trained_and_the_global_generator_left_alone(task):
    objective = {"segmentation": segmentation, "detection": detection}[task]
    net = network(task).eval()
    state = torch.get_rng_state()
    labels = torch.zeros(3, 32, 32, dtype=torch.int64) if task == "segmentation" else SCENES
    run(objective, net, pictures(), labels)[0].backward()
    assert torch.equal(torch.get_rng_state(), state)
    unused = [name for name, parameter in net.named_parameters() if parameter.grad is None]
    assert unused == []
