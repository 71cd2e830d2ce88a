"""Checkpoints from elsewhere load under torchvision's names, or say in one sentence why not."""

import argparse
import contextlib
import os
import sys
import types
from pathlib import Path

import dill
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model_weights

from bench import catalog, models
from bench.models import external
from bench.models.formats import FORMATS
from bench.models.network import outline
from bench.spec import Word

RESNET8 = Word("resnet8")
RESNET18 = Word("resnet18", (("stem", "imagenet"),))
RESNET18_CIFAR = Word("resnet18", (("stem", "cifar"),), "resnet18(stem=cifar)")


def build(architecture, classes=10, seed=0):
    return models.build(architecture, classes=classes, mean=(0.0,) * 3, std=(1.0,) * 3, seed=seed)


class Foreign:
    """What a checkpoint must not be able to bring along."""

    made = 0

    def __setstate__(self, _):
        Foreign.made += 1


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def state():
    return models.state(build(RESNET8))


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def robustness(state, wrapping="module.model.", attacker="module.attacker.model."):
    """As MadryLab's library saves: the network twice, the second time in the attacker, and both normalisers."""
    normaliser = {"new_mean": torch.full((3, 1, 1), 0.5), "new_std": torch.ones(3, 1, 1)}
    return {
        **prefixed(normaliser, "module.normalizer."),
        **prefixed(state, wrapping),
        **prefixed(normaliser, "module.attacker.normalize."),
        **prefixed({name: value + 1 for name, value in state.items()}, attacker),
    }


def moco(state, head):
    """Query encoder, momentum encoder and queue; `head` are the layers of the projection, in the place of `fc`."""
    encoder = {name: value for name, value in state.items() if not name.startswith("fc.")}
    for layer in head:
        encoder |= {f"{layer}.weight": torch.ones(128, 64), f"{layer}.bias": torch.ones(128)}
    momentum = {name: value + 1 for name, value in encoder.items()}
    return {
        **prefixed(encoder, "module.encoder_q."),
        **prefixed(momentum, "module.encoder_k."),
        "module.queue": torch.zeros(128, 16),
        "module.queue_ptr": torch.zeros(1, dtype=torch.long),
    }


def pruned(state, prefix=""):
    """As torch.nn.utils.prune leaves the convolutions after the first: every second weight is masked."""
    result = {}
    for name, value in state.items():
        if value.dim() == 4 and name != "conv1.weight":
            mask = (torch.arange(value.numel()) % 2).view_as(value).float()
            result |= {f"{prefix}{name}_orig": value + 2 * (1 - mask), f"{prefix}{name}_mask": mask}
        else:
            result[prefix + name] = value
    return result


def halved(state):
    """What the network of `pruned(state)` computes with."""
    masked = {n: v * (torch.arange(v.numel()) % 2).view_as(v) for n, v in state.items() if v.dim() == 4}
    return {**state, **masked, "conv1.weight": state["conv1.weight"]}


def no_head(state):
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


# Format -> (what a file of it holds, what of the network is in it), by the layouts of the projects named there.
TRAINING = {"epoch": 3, "arch": "resnet8", "best_acc1": 70.0, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}
LAYOUTS = {
    "torchvision": ("torchvision", lambda s: dict(s), lambda s: s),
    "wrapped": ("wrapped", lambda s: prefixed(s, "module."), lambda s: s),
    "simclr converted": ("checkpoint", lambda s: {"state_dict": dict(s)}, lambda s: s),
    "fast_adversarial": (
        "fast_adversarial",
        lambda s: {**TRAINING, "best_prec1": torch.tensor(60.0), "state_dict": prefixed(s, "module.")},
        lambda s: s,
    ),
    "robustness": (
        "robustness",
        lambda s: {**TRAINING, "model": robustness(s), "schedule": None, "amp": None},
        lambda s: s,
    ),
    "robustness, legacy entry": ("robustness", lambda s: {"state_dict": robustness(s)}, lambda s: s),
    "robust-models-transfer, wrapped twice": (
        "robustness",
        lambda s: {"model": robustness(s, "module.model.model.", "module.attacker.model.model.")},
        lambda s: s,
    ),
    "moco v1": ("moco", lambda s: {**TRAINING, "state_dict": moco(s, ["fc"])}, no_head),
    "moco v2": ("moco", lambda s: {**TRAINING, "state_dict": moco(s, ["fc.0", "fc.2"])}, no_head),
    "double-win ticket": (
        "checkpoint",
        lambda s: {
            **TRAINING,
            "state_dict": {
                **pruned(s),
                "normalize.mean": torch.zeros(1, 3, 1, 1),
                "normalize.std": torch.ones(1, 3, 1, 1),
            },
            "init": {name: value + 1 for name, value in s.items()},
            "state_prune": 3,
        },
        halved,
    ),
    "cv ticket": (
        "checkpoint",
        lambda s: {"state_dict": pruned(s), "init_weight": prefixed(s, ""), "mask": None},
        halved,
    ),
    "simclr ticket": (
        "simclr_ticket",
        lambda s: {**pruned(no_head(s), "module."), **prefixed({"fc.fc1.weight": torch.ones(64, 64)}, "module.")},
        lambda s: no_head(halved(s)),
    ),
    "moco ticket": (
        "moco",
        lambda s: {"state_dict": {**pruned(s, "module.encoder_q."), **prefixed(pruned(s), "module.encoder_k.")}},
        lambda s: no_head(halved(s)),
    ),
    # What is BERT's own is in test_huggingface.py.
    "huggingface": ("huggingface", lambda s: dict(s), lambda s: s),
    "dense weights of a ticket": ("ticket_start", lambda s: {"init": dict(s), "state_dict": {}}, lambda s: s),
}


@pytest.mark.parametrize("forced", [False, True], ids=["auto", "forced"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_weights_of_the_network(layout, forced, state, tmp_path):
    format, content, expected = LAYOUTS[layout]
    torch.save(content(state), tmp_path / "weights.pt")
    options = {"format": format} if forced else {}
    found = external.read_checkpoint(tmp_path / "weights.pt", architecture=RESNET8, **options)
    assert found.keys() == expected(state).keys()
    assert all(torch.equal(found[name], value) for name, value in expected(state).items())


def test_every_format_has_a_layout():
    assert {format for format, _, _ in LAYOUTS.values()} == {format.name for format in FORMATS}


def test_another_format_is_taken_where_it_is_named(state, tmp_path):
    torch.save(LAYOUTS["double-win ticket"][1](state), tmp_path / "3-checkpoint.pth.tar")
    dense = external.read_checkpoint(tmp_path / "3-checkpoint.pth.tar", architecture=RESNET8, format="ticket_start")
    assert torch.equal(dense["conv1.weight"], state["conv1.weight"] + 1)


def test_a_format_that_is_not_known_is_named(tmp_path):
    with pytest.raises(
        models.ModelError, match=r"format 'robustnes' is in no line .*known: auto, torchvision, wrapped, "
    ):
        external.read_checkpoint(tmp_path / "x.pt", architecture=RESNET8, format="robustnes")


def test_vision_transformers_published_with_old_names_load(tmp_path):
    word = Word("vit_b_16", (("stem", "imagenet"),))
    body = outline(word, classes=10).module
    own = {name: torch.zeros(()).expand(tensor.shape) for name, tensor in body.state_dict().items()}
    old = {n.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): v for n, v in own.items()}
    assert len(own.keys() - old.keys()) == 48
    torch.save(old, tmp_path / "vit_b_16-c867db91.pth")
    assert external.read_checkpoint(tmp_path / "vit_b_16-c867db91.pth", architecture=word).keys() == own.keys()


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "before torch 1.6"])
class TestPickledByDill:
    """Files of the robustness library, as dill pickles them."""

    def save(self, content, path, legacy):
        torch.save(content, path, pickle_module=dill, _use_new_zipfile_serialization=not legacy)

    def test_objects_that_are_not_needed_are_left_out(self, legacy, state, tmp_path):
        content = {"model": robustness(state), "args": argparse.Namespace(epochs=90), "device": Foreign()}
        self.save(content, tmp_path / "resnet8_l2_eps3.ckpt", legacy)
        Foreign.made = 0
        found = external.read_checkpoint(tmp_path / "resnet8_l2_eps3.ckpt", architecture=RESNET8)
        assert torch.equal(found["fc.weight"], state["fc.weight"])
        assert Foreign.made == 0

    def test_code_is_run_only_where_that_is_allowed(self, legacy, state, tmp_path):
        factor = 0.1
        path = tmp_path / "resnet8_linf_eps4.0.ckpt"
        self.save({"model": robustness(state), "schedule": lambda epoch: factor**epoch}, path, legacy)
        with pytest.raises(
            models.ModelError, match=r"without running code that it holds .* add unpickle=true"
        ) as error:
            external.read_checkpoint(path, architecture=RESNET8)
        assert "\n" not in str(error.value)
        found = external.read_checkpoint(path, architecture=RESNET8, unpickle=True)
        assert torch.equal(found["conv1.weight"], state["conv1.weight"])

    def test_a_command_in_a_file_is_not_run(self, legacy, state, tmp_path):
        path, trace = tmp_path / "evil.pt", tmp_path / "trace"
        self.save({"model": dict(state), "x": Command(f"touch {trace}")}, path, legacy)
        with contextlib.suppress(models.ModelError):
            external.read_checkpoint(path, architecture=RESNET8)
        assert not trace.exists()


def test_a_package_that_unpickling_needs_is_named(state, tmp_path, monkeypatch):
    module = types.ModuleType("absent_package")
    module.Thing = type("Thing", (), {"__module__": "absent_package", "__setitem__": lambda *_: None})
    monkeypatch.setitem(sys.modules, "absent_package", module)
    content = {"model": robustness(state), "log": module.Thing(), "code": (lambda factor: lambda e: factor * e)(2)}
    torch.save(content, tmp_path / "needs.ckpt", pickle_module=dill)
    monkeypatch.delitem(sys.modules, "absent_package")
    with pytest.raises(models.ModelError, match=r"needs the Python package 'absent_package'"):
        external.read_checkpoint(tmp_path / "needs.ckpt", architecture=RESNET8, unpickle=True)


def test_a_safetensors_file_is_read(state, tmp_path):
    save_file(dict(state), tmp_path / "weights.safetensors")
    found = external.read_checkpoint(tmp_path / "weights.safetensors", architecture=RESNET8)
    assert torch.equal(found["conv1.weight"], state["conv1.weight"])


def test_a_head_of_any_size_or_none_is_accepted(state, tmp_path):
    wide = models.state(build(RESNET8, classes=1000))
    torch.save(wide, tmp_path / "wide.pt")
    assert external.read_checkpoint(tmp_path / "wide.pt", architecture=RESNET8)["fc.weight"].shape == (1000, 64)
    torch.save({name: value for name, value in state.items() if not name.startswith("fc")}, tmp_path / "none.pt")
    headless = external.read_checkpoint(tmp_path / "none.pt", architecture=RESNET8)
    network = build(RESNET8, seed=1)
    models.load_state(network, headless, allow_head_mismatch=True)
    assert torch.equal(network.body.conv1.weight, state["conv1.weight"])


def test_old_files_without_batch_counters_load(state, tmp_path):
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, tmp_path / "old.pt")
    found = external.read_checkpoint(tmp_path / "old.pt", architecture=RESNET8)
    assert found["bn1.num_batches_tracked"].item() == 0


def test_a_first_convolution_that_does_not_fit_the_cifar_stem_stays_random(tmp_path):
    published = models.state(build(RESNET18, classes=20))
    torch.save(published, tmp_path / "imagenet.pt")
    found = external.read_checkpoint(tmp_path / "imagenet.pt", architecture=RESNET18_CIFAR)
    assert set(published) - set(found) == {"conv1.weight"}
    network = build(RESNET18_CIFAR, seed=1)
    random = network.body.conv1.weight.clone()
    models.load_state(network, found, allow_head_mismatch=True)
    assert torch.equal(network.body.conv1.weight, random)
    assert torch.equal(network.body.bn1.weight, published["bn1.weight"])
    assert torch.equal(network.body.layer4[1].conv2.weight, published["layer4.1.conv2.weight"])


def test_a_fitting_first_convolution_is_kept(tmp_path):
    own = models.state(build(RESNET18_CIFAR))
    torch.save(own, tmp_path / "cifar.pt")
    found = external.read_checkpoint(tmp_path / "cifar.pt", architecture=RESNET18_CIFAR)
    assert torch.equal(found["conv1.weight"], own["conv1.weight"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (b"not a checkpoint at all", "is damaged"),
    ],
    ids=["empty", "text"],
)
def test_a_damaged_file_is_refused_in_one_sentence(content, message, tmp_path):
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(models.ModelError, match=message) as error:
        external.read_checkpoint(path, architecture=RESNET8)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_truncated_file_is_refused(suffix, state, tmp_path):
    path = tmp_path / f"half.{suffix}"
    save_file(dict(state), path) if suffix == "safetensors" else torch.save(dict(state), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(models.ModelError, match=r"half\.\w+ (is damaged|cannot be read)"):
        external.read_checkpoint(path, architecture=RESNET8)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(models.ModelError, match=r"absent\.pt is not there"):
        external.read_checkpoint(tmp_path / "absent.pt", architecture=RESNET8)


def test_weights_of_another_network_are_counted_and_named(tmp_path):
    torch.save(models.state(build(Word("resnet20"))), tmp_path / "resnet20.pt")
    with pytest.raises(models.ModelError, match=r"72 names are unknown \(first: layer1.1.conv1.weight\)"):
        external.read_checkpoint(tmp_path / "resnet20.pt", architecture=RESNET8)


def test_a_file_without_any_known_name_says_what_every_format_found(tmp_path):
    torch.save(
        {"encoder": torch.zeros(2), "queue": torch.zeros(2), "model": {"w": torch.zeros(1)}}, tmp_path / "other.pt"
    )
    with pytest.raises(models.ModelError) as error:
        external.read_checkpoint(tmp_path / "other.pt", architecture=RESNET8)
    message = str(error.value)
    assert "no weights of resnet8: expected 44 names (first: conv1.weight, bn1.weight, bn1.bias)" in message
    assert "torchvision: 2 names (first: encoder, queue); " in message
    assert "robustness: 1 name (first: w); " in message
    assert "; ticket_start: no entry init or init_weight; " in message


def test_a_list_is_no_checkpoint(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(models.ModelError, match=r"holds a list, expected a dictionary .*: save its state_dict"):
        external.read_checkpoint(tmp_path / "list.pt", architecture=RESNET8)


def test_published_weights_are_read_from_the_root_and_never_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: pytest.fail("asked for the network"))
    with pytest.raises(models.ModelError, match=r"run `python -m bench.prepare torchvision:resnet18` where"):
        external.torchvision_weights(RESNET18, "IMAGENET1K_V1", tmp_path)
    published = models.state(build(RESNET18, classes=1000))
    torch.save(published, tmp_path / "resnet18-f37072fd.pth")
    found = external.torchvision_weights(RESNET18, "IMAGENET1K_V1", tmp_path)
    assert torch.equal(found["fc.weight"], published["fc.weight"])


@pytest.mark.parametrize("name", [name for name, entry in catalog.ARCHITECTURES.items() if "stem" in entry.options])
def test_every_torchvision_architecture_has_a_published_file(name):
    url, file = external.weights_file(name, "IMAGENET1K_V1")
    assert url == get_model_weights(name)["IMAGENET1K_V1"].url
    assert url.endswith("/" + file)
    assert file.startswith(name.split("_")[0])


def test_unknown_published_weights_are_named():
    with pytest.raises(models.ModelError, match=r"IMAGENET22K for resnet50 \(known: IMAGENET1K_V1, IMAGENET1K_V2"):
        external.weights_file("resnet50", "IMAGENET22K")
    with pytest.raises(models.ModelError, match="no weights for resnet8"):
        external.weights_file("resnet8", "IMAGENET1K_V1")


def test_a_download_is_checked_by_its_digest_and_done_once(tmp_path, monkeypatch):
    asked = []

    def fetch(url, destination, *, hash_prefix, progress):
        asked.append((url.rpartition("/")[2], hash_prefix))
        Path(destination).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    for _ in range(2):
        path = external.download_torchvision_weights("resnet50", tmp_path / "weights")
    assert path == tmp_path / "weights" / "resnet50-0676ba61.pth"
    assert asked == [("resnet50-0676ba61.pth", "0676ba61")]


def test_a_failed_download_leaves_one_sentence(tmp_path, monkeypatch):
    def fetch(*_, **__):
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(models.ModelError, match=r"could not be downloaded to .*invalid hash value"):
        external.download_torchvision_weights("resnet50", tmp_path)


PROJECTIONS = {
    "moco v2": (lambda s: {"state_dict": moco(s, ["fc.0", "fc.2"])}, ["0.bias", "0.weight", "2.bias", "2.weight"]),
    "moco v1": (lambda s: {"state_dict": moco(s, ["fc"])}, []),
    "simclr ticket": (
        lambda s: {f"module.fc.fc{k}.{part}": torch.ones(3) for k in (1, 2) for part in ("weight", "bias")},
        ["0.bias", "0.weight", "2.bias", "2.weight"],
    ),
    "supervised": (lambda s: dict(s), []),
}


@pytest.mark.parametrize("layout", PROJECTIONS)
def test_projection_heads_of_two_layers_are_read_from_files_that_hold_them(layout, state, tmp_path):
    content, expected = PROJECTIONS[layout]
    torch.save(content(state), tmp_path / "weights.pt")
    found = external.read_projection(tmp_path / "weights.pt")
    assert sorted(found) == expected
    # The query encoder's, not the momentum encoder's.
    assert all((tensor == 1).all() for tensor in found.values())
