"""Every architecture of the catalog builds, runs, prunes by name and changes its head."""

import pytest
import torch
from torchvision import models as torchvision_models

from bench import catalog, models
from bench.models.network import Network, outline
from bench.spec import Prunable, Word

RESNET8 = Word("resnet8")
# 0 mean and unit spread leave the pixels as they are.
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


VISION = {name: entry for name, entry in catalog.ARCHITECTURES.items() if entry.reads == "images"}


def words():
    for name, entry in VISION.items():
        for stem in entry.options["stem"].choices if entry.options else (None,):
            yield Word(name, (("stem", stem),) if stem else (), f"{name}(stem={stem})" if stem else name)


def word(name, stem="imagenet"):
    return Word(name, (("stem", stem),), f"{name}(stem={stem})")


def on_paper(architecture, classes=10):
    """The network without numbers: names, shapes and the rules over them."""
    return Network(outline(architecture, classes=classes), label=str(architecture), **PLAIN)


def count(network, rule):
    return sum(network.body.get_parameter(name).numel() for name in models.prunable(network, rule))


@pytest.mark.parametrize("architecture", list(words()), ids=str)
def test_every_architecture_maps_images_of_its_resolution_to_logits_and_prunes(architecture):
    network = on_paper(architecture).eval()
    side = 224 if network.largest == 224 else 32
    with torch.device("meta"):
        images = torch.empty(2, 3, side, side)
        assert network.to("meta")(images).shape == (2, 10)
        features = network.features(images)
    assert features.shape == (2, models.head(network).in_features)
    names = models.prunable(network, Prunable())
    assert names
    assert not set(names) & set(models.head_parameters(network))
    assert all(network.body.get_parameter(name).dim() in (2, 4) for name in names)
    assert models.head_name(architecture) == network.head_name


@pytest.mark.parametrize("name", VISION)
def test_the_catalog_tells_the_parameters_in_millions(name):
    entry = catalog.ARCHITECTURES[name]
    classes = 1000 if entry.options else 10
    body = outline(word(name) if entry.options else Word(name), classes=classes).module
    millions = sum(parameter.numel() for parameter in body.parameters()) / 1e6
    assert millions == pytest.approx(entry.parameters_m, abs=0.05 if entry.options else 0.005)


@pytest.mark.parametrize("name", [name for name, entry in VISION.items() if entry.options])
def test_the_imagenet_stem_has_exactly_torchvisions_state(name):
    with torch.device("meta"):
        published = torchvision_models.get_model(name).state_dict()
    ours = outline(word(name), classes=1000).module.state_dict()
    assert [(key, value.shape) for key, value in ours.items()] == [(k, v.shape) for k, v in published.items()]


@pytest.mark.parametrize("name", [name for name, entry in VISION.items() if entry.options])
def test_the_cifar_stem_changes_the_shapes_it_declares_and_no_other(name):
    imagenet, cifar = (outline(word(name, stem), classes=10) for stem in ("imagenet", "cifar"))
    before = {key: value.shape for key, value in imagenet.module.state_dict().items()}
    after = {key: value.shape for key, value in cifar.module.state_dict().items()}
    assert before.keys() == after.keys()
    # The head of VGG reads the narrower hidden layer, and a head is new in any case.
    changed = {key for key in before if before[key] != after[key]} - {f"{cifar.head}.weight"}
    assert changed == set(cifar.stem)
    assert imagenet.stem == ()


def test_prunable_weights_of_resnet8_by_hand():
    network = on_paper(RESNET8)
    blocks = tuple(f"layer{stage}.0.conv{k}.weight" for stage in (1, 2, 3) for k in (1, 2))
    assert models.prunable(network, Prunable()) == ("conv1.weight", *blocks)
    assert models.prunable(network, Prunable(first_conv=False)) == blocks
    # 3 x 3 kernels: 3 -> 16, 16 -> 16 twice, 16 -> 32, 32 -> 32, 32 -> 64, 64 -> 64
    assert count(network, Prunable()) == 9 * (48 + 2 * 256 + 512 + 1024 + 2048 + 4096)


def test_resnet20_has_nineteen_convolutions_and_the_published_size():
    network = on_paper(Word("resnet20"))
    assert len(models.prunable(network, Prunable())) == 19
    # 0.27 M in He et al. 2016, table 6; 269,722 is the usual count with parameter-free shortcuts.
    assert sum(parameter.numel() for parameter in network.parameters()) == 269_722


@pytest.mark.parametrize(
    ("name", "convolutions", "without_first", "with_linear"),
    [
        ("resnet18", 11_166_912, 11_157_504, 11_166_912),
        ("resnet50", 23_454_912, 23_445_504, 23_454_912),
        # The two hidden layers of the classifier: 25,088 x 4,096 and 4,096 x 4,096.
        ("vgg16_bn", 14_710_464, 14_708_736, 14_710_464 + 25_088 * 4_096 + 4_096**2),
        # Patches 768 x 3 x 16 x 16; in each of 12 layers attention 4 x 768^2 and two matrices 768 x 3,072.
        ("vit_b_16", 589_824, 0, 589_824 + 12 * (4 * 768**2 + 2 * 768 * 3_072)),
    ],
)
def test_prunable_counts(name, convolutions, without_first, with_linear):
    network = on_paper(word(name))
    assert count(network, Prunable(linear=False)) == convolutions
    assert count(network, Prunable(linear=False, first_conv=False)) == without_first
    assert count(network, Prunable()) == with_linear


def test_attention_projections_are_prunable_linear_layers():
    layer = "encoder.layers.encoder_layer_0"
    names = models.prunable(on_paper(word("vit_b_16")), Prunable())
    assert names[:5] == (
        "conv_proj.weight",
        f"{layer}.self_attention.in_proj_weight",
        f"{layer}.self_attention.out_proj.weight",
        f"{layer}.mlp.0.weight",
        f"{layer}.mlp.3.weight",
    )


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet50", "fc"),
        ("vgg16_bn", "classifier.6"),
        ("mobilenet_v2", "classifier.1"),
        ("vit_b_16", "heads.head"),
        ("convnext_tiny", "classifier.2"),
    ],
)
def test_head_names_are_torchvisions(name, head):
    assert models.head_name(word(name)) == head


@pytest.mark.parametrize(
    ("architecture", "layer", "side"),
    [
        (RESNET8, "layer1", 32),
        (RESNET8, "layer3", 8),
        (word("resnet18", "cifar"), "layer1", 32),
        (word("resnet50", "cifar"), "layer4", 4),
        (word("resnet50"), "layer4", 1),
        (word("vgg16_bn", "cifar"), "features", 1),
        (word("mobilenet_v2", "cifar"), "features", 4),
        (word("mobilenet_v2"), "features", 1),
        (word("convnext_tiny", "cifar"), "features", 2),
    ],
    ids=str,
)
def test_an_image_of_32_pixels_reaches_a_layer_with_this_side(architecture, layer, side):
    network, sides = on_paper(architecture).to("meta"), []
    network.body.get_submodule(layer).register_forward_hook(lambda _, __, out: sides.append(out.shape[-1]))
    network(torch.empty(2, 3, 32, 32, device="meta"))
    assert sides == [side]


def test_a_shortcut_of_resnet8_subsamples_and_pads_with_zeros():
    block = models.build(RESNET8, classes=10, **PLAIN, seed=0).body.get_submodule("layer2.0").eval()
    torch.nn.init.zeros_(block.bn2.weight)  # the residual branch vanishes, the shortcut is left
    x = torch.rand(1, 16, 4, 4)
    out = block(x)
    assert torch.equal(out[:, :16], x[:, :, ::2, ::2])
    assert torch.equal(out[:, 16:], torch.zeros(1, 16, 2, 2))


def test_building_is_a_function_of_the_seed_and_leaves_the_global_generator():
    before = torch.get_rng_state()
    first, again, other = (models.build(RESNET8, classes=10, **PLAIN, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert all(map(torch.equal, models.state(first).values(), models.state(again).values()))
    assert not torch.equal(first.body.conv1.weight, other.body.conv1.weight)


def test_the_normaliser_is_the_first_layer_and_no_part_of_the_state():
    network = models.build(RESNET8, classes=10, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0), seed=0)
    assert network.normalise(torch.ones(1, 3, 1, 1)).flatten().tolist() == [1.0, 3.0, 1.0]
    assert not any("normalise" in name for name in network.state_dict())
    assert next(iter(models.state(network))) == "conv1.weight"
    images = torch.rand(2, 3, 8, 8)
    network.eval()
    assert torch.equal(network(images), network.body(network.normalise(images)))


def test_a_zero_standard_deviation_is_refused():
    with pytest.raises(ValueError, match="std > 0"):
        models.build(RESNET8, classes=10, mean=(0.5,) * 3, std=(0.0, 1.0, 1.0), seed=0)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "convnext_tiny"])
def test_the_head_reads_the_features(name):
    network = models.build(word(name, "cifar"), classes=10, **PLAIN, seed=0).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(models.head(network)(network.features(images)), network(images))
    assert not models.head(network)._forward_pre_hooks


def test_a_new_head_has_the_new_classes_and_the_seeds_weights():
    networks = [models.build(RESNET8, classes=26, **PLAIN, seed=0) for _ in range(3)]
    body = {name: value.clone() for name, value in models.state(networks[0]).items() if not name.startswith("fc.")}
    state = torch.get_rng_state()
    for network, seed in zip(networks, (1, 1, 2), strict=True):
        models.replace_head(network, 10, seed=seed)
    assert torch.equal(torch.get_rng_state(), state)
    assert networks[0].eval()(torch.rand(2, 3, 8, 8)).shape == (2, 10)
    heads = [models.head(network).weight for network in networks]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert all(torch.equal(models.state(networks[0])[name], value) for name, value in body.items())
    assert models.head_parameters(networks[0]) == ("fc.weight", "fc.bias")


def test_a_head_is_replaced_inside_a_sequence_too():
    network = models.build(word("mobilenet_v2"), classes=5, **PLAIN, seed=0)
    models.replace_head(network, 3, seed=0)
    assert models.state(network)["classifier.1.weight"].shape == (3, 1280)


def test_normalisation_tensors_are_told_from_weights():
    network = on_paper(word("convnext_tiny"))
    resnet = on_paper(RESNET8)
    assert models.is_normalisation(network, "features.0.1.weight")
    assert models.is_normalisation(resnet, "bn1.running_mean")
    assert models.is_normalisation(resnet, "layer1.0.bn2.bias")
    assert not models.is_normalisation(resnet, "layer1.0.conv2.weight")
    assert not models.is_normalisation(resnet, "fc.bias")
    assert not models.is_normalisation(on_paper(word("vit_b_16")), "class_token")


@pytest.mark.parametrize(
    ("architecture", "side", "message"),
    [
        (word("vgg16_bn", "cifar"), 8, r"vgg16_bn\(stem=cifar\) reads images of 32 px and more, found 8 px"),
        (word("vit_b_16"), 32, r"vit_b_16\(stem=imagenet\) reads images of exactly 224 px, found 32 px"),
        (word("convnext_tiny", "cifar"), 8, "16 px and more, found 8 px"),
    ],
)
def test_images_that_cannot_be_read_are_named(architecture, side, message):
    with pytest.raises(models.ModelError, match=message):
        on_paper(architecture)(torch.empty(1, 3, side, side, device="meta"))


def test_a_state_loads_whole():
    source, target = (models.build(RESNET8, classes=10, **PLAIN, seed=seed) for seed in (0, 1))
    source.body.bn1.running_mean.fill_(7)
    models.load_state(target, models.state(source))
    assert all(map(torch.equal, models.state(source).values(), models.state(target).values()))


def test_a_misfit_is_counted_named_and_loads_nothing():
    network = models.build(RESNET8, classes=10, **PLAIN, seed=0)
    state = {name: value.clone() + 1 for name, value in models.state(network).items()}
    del state["bn1.weight"], state["bn1.bias"]
    state["surplus"] = torch.zeros(1)
    state["fc.bias"] = torch.zeros(4)
    before = network.body.conv1.weight.clone()
    with pytest.raises(models.ModelError) as error:
        models.load_state(network, state)
    assert str(error.value) == (
        "the weights do not fit resnet8: 2 of 44 names are missing (first: bn1.weight), 1 names are unknown "
        "(first: surplus), 1 have another shape (first: fc.bias, expected (10,), found (4,))"
    )
    assert torch.equal(network.body.conv1.weight, before)


def test_another_head_is_left_out_on_request_only():
    source = models.state(models.build(RESNET8, classes=26, **PLAIN, seed=0))
    target = models.build(RESNET8, classes=10, **PLAIN, seed=1)
    own = models.head(target).weight.clone()
    with pytest.raises(models.ModelError, match=r"2 have another shape \(first: fc.weight"):
        models.load_state(target, source)
    models.load_state(target, source, allow_head_mismatch=True)
    assert torch.equal(target.body.conv1.weight, source["conv1.weight"])
    assert torch.equal(models.head(target).weight, own)
    headless = {name: value for name, value in source.items() if not name.startswith("fc.")}
    models.load_state(target, headless, allow_head_mismatch=True)
    assert torch.equal(models.head(target).weight, own)
