"""Heads on feature maps: attached, of any side, saved and loaded, trained; the body stays what it was."""

import copy

import pytest
import torch

from bench import masks, models
from bench.data.records import Objects
from bench.models.dense import Stage, measured
from bench.models.network import Network, outline
from bench.models.segmentation import dilate
from bench.objectives import detection, segmentation
from bench.spec import Prunable, Recipe, Word

RESNET8 = Word("resnet8")
PLAIN = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
TASKS = ("segmentation", "detection")


def word(name, stem="imagenet"):
    return Word(name, (("stem", stem),), name)


def network(task=None, architecture=RESNET8, *, classes=4, resolution=64, seed=1):
    net = models.build(architecture, classes=7, **PLAIN, seed=0)
    if task is not None:
        models.new_head(net, task, classes, resolution=resolution, seed=seed)
    return net


def pictures(n=2, side=64):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("architecture", "side"), [(RESNET8, 64), (RESNET8, 33), (word("resnet18"), 97), (word("resnet18", "cifar"), 40)], ids=str
)  # fmt: skip
def test_segmentation_gives_a_logit_for_every_class_of_every_pixel(architecture, side):
    net = network("segmentation", architecture, resolution=side)
    assert net.train()(pictures(side=side)).shape == (2, 4, side, side)
    logits = net.eval()(pictures(side=side))
    assert logits.shape == (2, 4, side, side)
    assert logits.dtype == torch.float32


@pytest.mark.parametrize(("architecture", "side"), [(RESNET8, 64), (RESNET8, 33), (word("resnet18"), 97)], ids=str)
def test_detections_lie_in_the_image_with_falling_scores(architecture, side):
    net = network("detection", architecture, resolution=side).eval()
    # A place everywhere is sure of class 2, and of a box of two strides to every side.
    towers = net.top.fcos.head.towers
    torch.nn.init.constant_(towers.classification_head.cls_logits.bias, -9)
    with torch.no_grad():
        towers.classification_head.cls_logits.bias[2] = 2
        towers.regression_head.bbox_reg.bias.fill_(2)
    found = net(pictures(side=side))
    assert len(found) == 2
    for boxes, scores, classes in found:
        assert 0 < len(boxes) <= 100
        assert boxes.shape == (len(scores), 4)
        assert boxes.min() >= 0
        assert boxes.max() == side
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (scores[:-1] >= scores[1:]).all()
        assert ((scores > 0.05) & (scores <= 1)).all()
        assert set(classes.tolist()) == {2}


def test_places_are_a_stride_apart_at_sides_that_the_stride_does_not_divide():
    net = network("detection", word("resnet18"), resolution=97).eval()
    _, anchors, places = net.top.predict(net.maps(pictures(side=97)), 97)
    # Strides 8, 16, 32 of the body, 64 and 128 of two more levels.
    assert places == [13**2, 7**2, 4**2, 2**2, 1]
    finest = ((anchors[:, :2] + anchors[:, 2:]) / 2)[: 13**2].view(13, 13, 2)
    assert finest[0, :, 0].tolist() == [8.0 * k for k in range(13)]
    assert (anchors[:, 2] - anchors[:, 0]).unique().tolist() == [8, 16, 32, 64, 128]


def test_a_small_network_looks_for_objects_at_strides_4_8_and_16():
    net = network("detection").eval()
    _, anchors, places = net.top.predict(net.maps(pictures()), 64)
    assert places == [16**2, 8**2, 4**2]
    assert len(anchors) == sum(places)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "architecture", [word("vgg16_bn", "cifar"), word("mobilenet_v2"), word("vit_b_16", "cifar")], ids=str
)
def test_architectures_without_stages_are_refused(task, architecture):
    net = Network(outline(architecture, classes=3), label="it", **PLAIN)
    with pytest.raises(models.ModelError, match="it has no feature maps of stages: take a residual network"):
        models.new_head(net, task, 4, resolution=32, seed=0)


def test_other_tasks_are_refused():
    with pytest.raises(
        models.ModelError, match=r"there is no head for 'depth' .*known: classification, segmentation, "
    ):
        network("depth")


def test_stages_are_measured():
    channels = {"imagenet": ((64, 4), (128, 8), (256, 16), (512, 32)), "cifar": ((64, 1), (128, 2), (256, 4), (512, 8))}
    for stem, expected in channels.items():
        assert measured(network(architecture=word("resnet18", stem))) == [
            Stage(channels=c, stride=s) for c, s in expected
        ]
    assert [stage.stride for stage in measured(network())] == [1, 2, 4]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("side", [64, 97])
def test_a_dilated_stage_puts_out_what_it_put_out_before_and_more_between(name, side):
    net = network(architecture=word(name)).eval()
    with torch.no_grad():
        before = net.maps(pictures(1, side))
        dilate(net.body.layer4)
        after = net.maps(pictures(1, side))
    assert torch.equal(before[2], after[2])
    assert after[3].shape[-1] == after[2].shape[-1]
    # Sums of up to 4,608 products in another order.
    assert torch.allclose(after[3][:, :, ::2, ::2], before[3], rtol=1e-4, atol=1e-4)


def test_segmentation_dilates_stride_32_only():
    assert network("segmentation", word("resnet18")).body.layer4[1].conv1.dilation == (2, 2)
    assert network("segmentation", word("resnet18", "cifar")).body.layer4[1].conv1.dilation == (1, 1)
    assert network("detection", word("resnet18")).body.layer4[1].conv1.dilation == (1, 1)


@pytest.mark.parametrize("task", TASKS)
def test_a_top_is_a_function_of_the_seed_and_leaves_the_body_and_the_global_generator(task):
    drawn = torch.get_rng_state()
    first, again, other = network(task), network(task), network(task, seed=2)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(map(torch.equal, models.state(first).values(), models.state(again).values()))
    tops = [torch.cat([p.flatten() for p in net.top.parameters()]) for net in (first, other)]
    assert not torch.equal(*tops)
    plain = models.state(network())
    body = {name: value for name, value in models.state(first).items() if not name.startswith("top.")}
    assert set(plain) - set(body) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(plain[name], value) for name, value in body.items())


@pytest.mark.parametrize("task", TASKS)
def test_states_go_around_and_heads_are_named_under_top(task):
    net, other = network(task).eval(), network(task, seed=2).eval()
    with torch.no_grad():
        net.train()(pictures())
        net.eval()
    state = {name: value.clone() for name, value in models.state(net).items()}
    names = models.head_parameters(net)
    assert set(names) == {name for name in state if name.startswith("top.")}
    assert {id(p) for p in net.top.parameters()} == {id(p) for p in models.head_weights(net)}
    models.load_state(other, state)
    assert all(torch.equal(models.state(other)[name], value) for name, value in state.items())
    body = {name: value for name, value in state.items() if name not in names}
    with pytest.raises(models.ModelError, match=rf"{len(names)} of {len(state)} names are missing \(first: top\."):
        models.load_state(other, body)
    third = network(task, seed=3)
    before = {name: value.clone() for name, value in models.state(third).items()}
    models.load_state(third, body, allow_head_mismatch=True)
    for name, value in models.state(third).items():
        assert torch.equal(value, before[name] if name in names else state[name])


@pytest.mark.parametrize("task", TASKS)
def test_only_the_body_is_prunable_and_counted(task):
    plain, net = network(), network(task)
    assert models.prunable(net, Prunable()) == models.prunable(plain, Prunable())
    counts = models.uses(plain, 64)
    assert counts.pop("fc.weight") == 1
    assert models.uses(net, 64) == counts
    big = network(task, word("resnet18"))
    # The last stage at stride 16 instead of 32 has four times the positions.
    factor = 4 if task == "segmentation" else 1
    assert models.uses(big, 64)["layer4.1.conv2.weight"] == factor * 2**2
    assert models.uses(big, 64)["layer3.1.conv2.weight"] == 4**2


@pytest.mark.parametrize("task", TASKS)
def test_a_copy_is_a_network_of_its_own(task):
    net = network(task).eval()
    twin = copy.deepcopy(net)
    torch.nn.init.zeros_(net.body.conv1.weight)
    assert twin.body.conv1.weight.abs().sum() > 0
    assert not torch.equal(twin.maps(pictures())[0], net.maps(pictures())[0])
    assert twin.top is not net.top


def digit_scenes():
    """Four scenes with a bright square each, of class k % 2, on dim noise: images, masks, objects."""
    images = 0.3 * pictures(4, 32)
    labels = torch.zeros(4, 32, 32, dtype=torch.int64)
    scenes = []
    for k in range(4):
        x, y = 4 + 3 * k, 14 - 4 * k
        images[k, k % 2, y : y + 14, x : x + 14] = 1.0
        labels[k, y : y + 14, x : x + 14] = 1 + k % 2
        box = torch.tensor([[x, y, x + 14, y + 14]], dtype=torch.float32)
        scenes.append(Objects(box, torch.tensor([k % 2]), torch.tensor([False])))
    return images, labels, scenes


def train(net, task, steps, lr):
    images, labels, scenes = digit_scenes()
    objective, given = (segmentation, labels) if task == "segmentation" else (detection, scenes)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    holder = masks.Holder(net, {"layer1.0.conv1.weight": torch.arange(16 * 16 * 9).view(16, 16, 3, 3) % 2 == 0})
    values = []
    torch.manual_seed(0)
    for step in range(steps):
        loss, _ = objective.loss(
            net.train(), images, given, recipe=Recipe(epochs=1), seed=0, step=step, indices=torch.arange(4)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        holder.apply_()
        values.append(loss.item())
    return values


@pytest.mark.parametrize("task", TASKS)
def test_training_fits_four_scenes_and_masks_stay(task):
    net = network(task, classes=3 if task == "segmentation" else 2, resolution=32)
    values = train(net, task, steps=60, lr=0.01)
    assert values[-1] < 0.5 * values[0]
    pruned = net.body.layer1[0].conv1.weight.flatten()[1::2]
    assert pruned.abs().sum() == 0
    images, labels, scenes = digit_scenes()
    found = net.eval()(images)
    if task == "segmentation":
        assert (found.argmax(1) == labels).double().mean() > 0.95
    else:
        for seen, scene in zip(found, scenes, strict=True):
            assert seen.classes[0] == scene.classes[0]
            assert (seen.boxes[0] - scene.boxes[0]).abs().max() < 3


@pytest.mark.parametrize("task", TASKS)
def test_half_precision_and_another_memory_format_change_little(task):
    net = network(task).eval()
    net.to(memory_format=torch.channels_last)
    with torch.no_grad():
        before = (
            net.top.predict(net.maps(pictures()), 64).outputs["cls_logits"] if task == "detection" else net(pictures())
        )
        with torch.autocast("cpu", torch.bfloat16):
            images = pictures().to(memory_format=torch.channels_last)
            after = net.top.predict(net.maps(images), 64).outputs["cls_logits"] if task == "detection" else net(images)
    assert after.dtype == torch.float32
    # bfloat16 keeps 8 bits: each of some 15 layers in a row errs by about 1/256 of what it puts out.
    assert (after - before).abs().max() < 15 / 256 * before.abs().max()
