"""The checks tell a network whose gradients are masked from a plain one."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from bench.metrics import attack_checks
from bench.metrics.evaluation import Conditions
from bench.spec import Attack

ATTACKS = [Attack(epsilon_255=25.5), Attack(norm="l2", epsilon_255=0.5)]


class Batch(NamedTuple):
    inputs: Tensor
    labels: Tensor
    indices: Tensor


class Scaled(nn.Module):
    """A network whose logits are multiplied: the same predictions, saturated cross-entropy."""

    def __init__(self, inner, factor):
        super().__init__()
        self.inner, self.factor = inner, factor

    def forward(self, images):
        return self.inner(images) * self.factor


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return torch.tensor(data.images / 16, dtype=torch.float32)[:, None], torch.tensor(data.target)


@pytest.fixture(scope="module")
def trained(digits):
    """A small convolutional network, right on most digits."""
    images, labels = (part[:400] for part in digits)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 32), nn.ReLU(), nn.Linear(32, 10)
        )  # fmt: skip
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(40):
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
    return net.eval()


def evaluate(net, digits, attack):
    images, labels = (part[800:1100] for part in digits)
    parts = [Batch(images[rows], labels[rows], rows) for rows in torch.arange(300).split(200)]
    return attack_checks.evaluate(net, Conditions(batches=lambda: parts, attack=attack))


@pytest.mark.parametrize("attack", ATTACKS, ids=["linf", "l2"])
def test_a_plain_network_is_not_flagged(trained, digits, attack):
    found = evaluate(trained, digits, attack)
    assert found.flags == ()
    numbers = found.metrics
    assert numbers["random_noise_accuracy"] > numbers["fgsm_accuracy"] > numbers["pgd_50_accuracy"] > 0
    assert abs(numbers["pgd_10_accuracy"] - numbers["pgd_50_accuracy"]) < 0.05
    assert numbers["large_epsilon_accuracy"] == numbers["zero_gradient_share"] == 0
    assert found.details["accuracy"] > 0.85
    assert (found.examples["correct"] <= found.examples["pgd_50"]).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=["linf", "l2"])
def test_masked_gradients_are_flagged(trained, digits, attack):
    found = evaluate(Scaled(trained, 1000), digits, attack)
    assert found.metrics["zero_gradient_share"] > 0.5
    assert any("gradients vanish" in flag for flag in found.flags)
    assert any("in a ball that holds every image" in flag for flag in found.flags)


def rights(*shares):
    """Columns of 200 examples, of which the first so many per cent are right."""
    return [np.arange(200) < 2 * share for share in shares]


def test_an_order_is_broken_by_more_than_two_standard_errors_and_one_point():
    some, same, fewer, far = rights(60, 60, 58.5, 40)
    assert attack_checks._broken_order(far, some)
    assert not attack_checks._broken_order(some, far)  # the stronger attack breaks more: as it should be
    assert not attack_checks._broken_order(some, same)
    # Three of 200 one way: 1.5 points, but less than 2 sqrt(3) = 3.46 examples.
    assert not attack_checks._broken_order(fewer, some)
    # 20 one way and 60 the other: 40 is more than 2 sqrt(80) = 17.9.
    mixed = np.roll(some, 20) & (np.arange(200) < 80)
    assert attack_checks._broken_order(mixed, some)


def test_each_broken_order_has_its_flag():
    columns = dict(zip(("random_noise", "fgsm", "pgd_10", "pgd_50"), rights(50, 60, 70, 80), strict=True))
    assert attack_checks._flags(columns, 0.01) == (
        "gradient masking suspected: 50 steps break less than one (60.0% and 80.0% right)",
        "gradient masking suspected: 50 steps break less than 10 from the same starts (70.0% and 80.0% right)",
        "gradient masking suspected: random noise breaks more than PGD-10 (50.0% and 70.0% right)",
    )
    ordered = dict(zip(("random_noise", "fgsm", "pgd_10", "pgd_50"), rights(90, 60, 50, 48), strict=True))
    assert attack_checks._flags(ordered, 0.04) == ()
    assert attack_checks._flags(ordered, 0.3) == (
        "gradient masking suspected: 30.0% are right in a ball that holds every image",
    )


def test_a_network_that_is_always_wrong_has_no_gradients_to_doubt(trained, digits):
    images, _ = digits
    wrong = (trained(images[:1]).argmax(dim=1) + 1) % 10
    batch = Batch(images[:1], wrong, torch.tensor([0]))
    found = attack_checks.evaluate(trained, Conditions(batches=lambda: [batch], attack=ATTACKS[0]))
    assert set(found.metrics.values()) == {0.0}
    assert found.flags == ()


def test_a_network_that_puts_out_probabilities_is_flagged(trained, digits):
    found = evaluate(nn.Sequential(trained, nn.Softmax(dim=1)), digits, ATTACKS[0])
    assert any("probabilities, not logits" in flag for flag in found.flags)


def test_a_network_whose_images_see_each_other_is_flagged(trained, digits):
    class Centred(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = trained

        def forward(self, images):
            return self.inner(images - images.mean(0))

    assert any("depend on the others in its batch" in flag for flag in evaluate(Centred(), digits, ATTACKS[0]).flags)
