"""Masks from the released repositories' files, in the layouts that those write."""

import pytest
import torch

from bench import models
from bench.models.tickets import read_ticket
from bench.spec import Prunable, Word

RESNET8 = Word("resnet8")
VGG = Word("vgg16_bn", (("stem", "cifar"),))
NETWORK = models.build(RESNET8, classes=10, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0)
STATE = models.state(NETWORK)
EVERY = models.prunable(NETWORK, Prunable())
INNER = models.prunable(NETWORK, Prunable(first_conv=False))
MATRICES = ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense")
BERT = (*(f"bert.encoder.layer.{i}.{m}.weight" for i in range(2) for m in MATRICES), "bert.pooler.dense.weight")


def bits(name, shape=None):
    """A mask that is a function of the name: every second or every third weight is kept."""
    shape = STATE[name].shape if shape is None else shape
    step = 2 + len(name) % 2
    return (torch.arange(torch.Size(shape).numel()) % step == 0).float().view(shape)


def masks(names, prefix="", suffix="_mask"):
    return {f"{prefix}{name}{suffix}": bits(name) for name in names}


def pruned(names, prefix=""):
    """A state dict under torch.nn.utils.prune."""
    own = {
        f"{prefix}{name}_orig" if name in names else prefix + name: torch.full_like(value, 7, dtype=value.dtype)
        for name, value in STATE.items()
    }
    return {**own, **masks(names, prefix)}


# Layout -> (format, content, prunable names, are there dense weights to start from).
LAYOUTS = {
    "double-win": (
        "pruned",
        lambda: {
            "state_dict": {**pruned(EVERY), "normalize.mean": torch.zeros(1, 3, 1, 1)},
            "init": {**STATE, "normalize.mean": torch.zeros(1, 3, 1, 1)},
            "state_prune": 4,
            "best_acc1": torch.tensor(60.0),
        },
        EVERY,
        True,
    ),
    "cv imagenet": (
        "mask_entry",
        lambda: {"state_dict": STATE, "mask": masks(INNER), "init_weight": STATE, "state": 2},
        INNER,
        True,
    ),
    "cv imagenet, names without suffix": (
        "mask_entry",
        lambda: {"state_dict": STATE, "mask": masks(INNER, suffix=""), "init_weight": STATE},
        INNER,
        True,
    ),
    "cv small sets": ("pruned", lambda: {"state_dict": pruned(INNER), "init_weight": STATE, "result": {}}, INNER, True),
    "cv simclr": ("pruned", lambda: pruned(INNER, "module."), INNER, False),
    "cv moco": (
        "pruned_moco",
        lambda: {
            "epoch": 20,
            "state_dict": {
                **pruned(INNER, "module.encoder_q."),
                **{f"module.encoder_k.{name}_mask": 1 - bits(name) for name in INNER},
                "module.queue": torch.zeros(128, 8),
            },
        },
        INNER,
        False,
    ),
    "cv mask file": ("pruned", lambda: masks(INNER), INNER, False),
}


@pytest.mark.parametrize("forced", [False, True], ids=["auto", "forced"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_of_every_layout_are_read_under_the_networks_names(layout, forced, tmp_path):
    format, content, names, has_weights = LAYOUTS[layout]
    torch.save(content(), tmp_path / "3checkpoint.pth.tar")
    options = {"format": format} if forced else {}
    ticket = read_ticket(tmp_path / "3checkpoint.pth.tar", architecture=RESNET8, names=names, **options)
    assert ticket.format == format
    assert tuple(ticket.masks) == names
    assert all(mask.dtype == torch.bool and torch.equal(mask, bits(n).bool()) for n, mask in ticket.masks.items())
    assert (ticket.weights is not None) == has_weights
    if ticket.weights is not None:
        assert ticket.weights.keys() == STATE.keys()
        assert all(torch.equal(ticket.weights[name], value) for name, value in STATE.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool])
def test_masks_of_bert_need_the_names_alone(dtype, tmp_path):
    torch.save({f"{name}_mask": bits(name, (4, 3)).to(dtype) for name in BERT}, tmp_path / "mask.pt")
    ticket = read_ticket(tmp_path / "mask.pt", architecture=None, names=BERT)
    assert tuple(ticket.masks) == BERT
    assert torch.equal(ticket.masks[BERT[0]], bits(BERT[0], (4, 3)).bool())
    assert ticket.weights is None


def test_a_first_convolution_without_a_mask_is_kept_whole(tmp_path):
    torch.save(masks(INNER), tmp_path / "mask-3.pt")
    ticket = read_ticket(tmp_path / "mask-3.pt", architecture=RESNET8, names=EVERY)
    assert ticket.masks["conv1.weight"].all()
    assert tuple(ticket.masks) == EVERY
    assert set(EVERY) - set(INNER) == {"conv1.weight"}


def test_another_weight_without_a_mask_is_counted_and_named(tmp_path):
    torch.save(masks(INNER[:-2]), tmp_path / "mask.pt")
    expected = r"no masks for 2 of 6 weights, 2 names \(first: layer3.0.conv1.weight, layer3.0.conv2.weight\)$"
    with pytest.raises(models.ModelError, match=expected):
        read_ticket(tmp_path / "mask.pt", architecture=RESNET8, names=INNER)


def test_hidden_linear_layers_without_masks_name_the_option_of_the_protocol(tmp_path):
    network = models.build(VGG, classes=10, mean=(0.0,) * 3, std=(1.0,) * 3, seed=0)
    shapes = {name: tensor.shape for name, tensor in models.state(network).items()}
    convolutions = models.prunable(network, Prunable(linear=False))
    torch.save(
        {f"{n}_mask": torch.ones((), dtype=torch.bool).expand(shapes[n]) for n in convolutions}, tmp_path / "m.pt"
    )
    with pytest.raises(
        models.ModelError, match=r"no masks for 2 of 15 .*classifier.0.weight.*Prunable\(linear=False\)"
    ):
        read_ticket(tmp_path / "m.pt", architecture=VGG, names=models.prunable(network, Prunable()))


def test_a_pruned_weight_that_the_protocol_does_not_prune_names_the_option(tmp_path):
    torch.save(masks(EVERY), tmp_path / "mask.pt")
    with pytest.raises(models.ModelError, match=r"not, 1 name \(first: conv1.weight\): .* Prunable\(first_conv=True\)"):
        read_ticket(tmp_path / "mask.pt", architecture=RESNET8, names=INNER)
    whole = {**masks(INNER), "conv1.weight_mask": torch.ones(16, 3, 3, 3)}
    torch.save(whole, tmp_path / "whole.pt")
    assert tuple(read_ticket(tmp_path / "whole.pt", architecture=RESNET8, names=INNER).masks) == INNER


def test_masks_of_the_head_fit_no_protocol(tmp_path):
    torch.save({**masks(EVERY), "fc.weight_mask": torch.zeros(2, 64)}, tmp_path / "mask.pt")
    with pytest.raises(models.ModelError, match=r"does not, 1 name \(first: fc.weight\)$"):
        read_ticket(tmp_path / "mask.pt", architecture=RESNET8, names=EVERY)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"conv1.weight_mask": torch.full((16, 3, 3, 3), 0.5)}, "other than 0 and 1: 1 name .first: conv1.weight"),
        ({"conv1.weight_mask": torch.ones(16, 3, 7, 7)}, r"expected \(16, 3, 3, 3\), found \(16, 3, 7, 7\)"),
        ({"layer9.weight_mask": torch.zeros(3)}, r"masks of no weights of resnet8: 1 name \(first: layer9.weight\)"),
    ],
    ids=["values", "shape", "name"],
)
def test_masks_that_cannot_be_are_refused(changed, message, tmp_path):
    torch.save({**masks(EVERY), **changed}, tmp_path / "mask.pt")
    with pytest.raises(models.ModelError, match=message):
        read_ticket(tmp_path / "mask.pt", architecture=RESNET8, names=EVERY)


def test_a_file_without_masks_says_what_every_format_found(tmp_path):
    torch.save({"state_dict": STATE, "mask": None}, tmp_path / "0model_best.pth.tar")
    with pytest.raises(models.ModelError) as error:
        read_ticket(tmp_path / "0model_best.pth.tar", architecture=RESNET8, names=INNER)
    expected = (
        "no masks: expected for 6 names (first: layer1.0.conv1.weight, layer1.0.conv2.weight, layer2.0.conv1.weight)"
    )
    assert expected in str(error.value)
    assert str(error.value).endswith("found as mask_entry: no entry mask; pruned: no names; pruned_moco: no names")


def test_a_snapshot_of_another_network_is_refused(tmp_path):
    init = {name: value for name, value in STATE.items() if not name.startswith("layer3")}
    torch.save({"state_dict": pruned(INNER), "init_weight": init}, tmp_path / "3checkpoint.pth.tar")
    with pytest.raises(models.ModelError, match=r"does not fit resnet8 as ticket_start: \d+ of \d+ names are missing"):
        read_ticket(tmp_path / "3checkpoint.pth.tar", architecture=RESNET8, names=INNER)


def test_a_format_of_masks_that_is_not_known_is_named(tmp_path):
    with pytest.raises(
        models.ModelError, match=r"format 'robustness' is in no .*known: auto, mask_entry, pruned, pruned_moco\)"
    ):
        read_ticket(tmp_path / "x.pt", architecture=RESNET8, names=INNER, format="robustness")
