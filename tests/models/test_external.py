"""Checkpoints from elsewhere load under torchvision's names, or say in one sentence why not."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model_weights

from bench import catalog, models
from bench.models import external
from bench.spec import Word

RESNET8 = Word("resnet8")
RESNET18 = Word("resnet18", (("stem", "imagenet"),))
RESNET18_CIFAR = Word("resnet18", (("stem", "cifar"),), "resnet18(stem=cifar)")


def build(architecture, classes=10, seed=0):
    return models.build(architecture, classes=classes, mean=(0.0,) * 3, std=(1.0,) * 3, seed=seed)


@pytest.fixture
def state():
    return models.state(build(RESNET8))


@pytest.mark.parametrize("format", external.FORMATS, ids=lambda f: f"{f.container}/{f.prefix}")
def test_every_known_format_gives_the_same_weights(format, state, tmp_path):
    named = {format.prefix + name: value for name, value in state.items()}
    content = named if format.container is None else {"epoch": 3, format.container: named, "optimizer": {"lr": 0.1}}
    torch.save(content, tmp_path / "weights.pt")
    found = external.read_checkpoint(tmp_path / "weights.pt", architecture=RESNET8)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


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


class Foreign:
    """What a checkpoint must not be able to bring along."""


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


def test_a_file_with_more_than_tensors_is_not_loaded(tmp_path):
    torch.save({"state_dict": {}, "arguments": Foreign()}, tmp_path / "unsafe.pt")
    with pytest.raises(models.ModelError, match=r"unsafe\.pt .* could run code"):
        external.read_checkpoint(tmp_path / "unsafe.pt", architecture=RESNET8)


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


def test_a_file_without_any_known_name_says_what_it_holds(tmp_path):
    torch.save({"encoder": torch.zeros(2), "queue": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(models.ModelError, match=r"expected names such as conv1.weight, found 2 entries \(first: enc"):
        external.read_checkpoint(tmp_path / "other.pt", architecture=RESNET8)


def test_a_list_is_no_checkpoint(tmp_path):
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(models.ModelError, match="holds a list"):
        external.read_checkpoint(tmp_path / "list.pt", architecture=RESNET8)


def test_published_weights_are_read_from_the_root_and_never_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: pytest.fail("asked for the network"))
    with pytest.raises(models.ModelError, match=r"run `python -m bench.prepare torchvision:resnet18` where"):
        external.torchvision_weights(RESNET18, "IMAGENET1K_V1", tmp_path)
    published = models.state(build(RESNET18, classes=1000))
    torch.save(published, tmp_path / "resnet18-f37072fd.pth")
    found = external.torchvision_weights(RESNET18, "IMAGENET1K_V1", tmp_path)
    assert torch.equal(found["fc.weight"], published["fc.weight"])


@pytest.mark.parametrize("name", [name for name, entry in catalog.ARCHITECTURES.items() if entry.options])
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
