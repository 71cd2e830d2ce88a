"""The FID Inception network on random weights in the layout of the published file."""

import pytest
import torch

from bench.models import ModelError
from bench.models.inception import Inception, inception


@pytest.fixture(scope="module")
def weights():
    """Without counters of batches, like the published file."""
    with torch.device("meta"):
        layout = Inception().body.state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, tensor in layout.items():
        if tensor.dim() == 4:
            state[name] = torch.randn(tensor.shape, generator=generator) * (2 / tensor[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            state[name] = 0.5 + torch.rand(tensor.shape, generator=generator)
        elif not name.endswith("num_batches_tracked"):
            state[name] = 0.1 * torch.randn(tensor.shape, generator=generator)
    return state


@pytest.fixture(scope="module")
def path(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "pt_inception.pth"
    torch.save(weights, path)
    return path


# pytorch-fid 0.3.0 run beside on the same weights and images, torch.rand of the side's seed: all 2048 features of all
# images were bit for bit equal. Recorded: features 1, 2 and 3 of the first image and the mean.
@pytest.mark.parametrize(
    ("side", "features", "mean"),
    [
        (32, [0.006371127, 0.046076324, 8.225597382], 2.190488100),
        (64, [0.021152392, 0.031566408, 9.453912735], 2.374984503),
        (299, [0.0, 0.060385376, 15.208250046], 3.489754915),
    ],
)
@torch.no_grad()
def test_features_are_those_of_pytorch_fid(path, side, features, mean):
    images = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(side))
    found = inception(path).features(images)
    assert found.shape == (3, 2048)
    assert found[0, 1:4].tolist() == pytest.approx(features, rel=1e-3, abs=1e-5)
    assert float(found.mean()) == pytest.approx(mean, rel=1e-5)


def test_it_comes_in_evaluation_mode_and_draws_nothing(path):
    state = torch.get_rng_state()
    network = inception(path)
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_other_weights_are_refused_and_say_what_was_expected(weights, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({name: tensor for name, tensor in weights.items() if not name.startswith("Mixed_7c")}, path)
    with pytest.raises(
        ModelError, match=r"45 of .* names are missing \(first: Mixed_7c.* Expected pt_inception-2015-12-05"
    ):
        inception(path)
    torch.save(weights | {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}, path)
    with pytest.raises(ModelError, match=r"expected \(1008, 2048\), found \(1000, 2048\)"):
        inception(path)
    with pytest.raises(ModelError, match="is not there"):
        inception(tmp_path / "none.pth")
