"""Shaken weights and swapped masks: by hand, by counts, and the network as it was."""

import numpy as np
import pytest
import torch

from bench import models
from bench.data.records import Batch
from bench.masks import apply_, keep_top, kept
from bench.metrics import sensitivity
from bench.metrics.evaluation import Conditions
from bench.metrics.sensitivity import noise_of, shaken, swapped
from bench.spec import Prunable, Word


def network():
    return models.build(Word("resnet8"), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0).eval()


def ticket(density=0.3):
    """A network pruned at random, its masks, and the weights that it had before."""
    net = network()
    pretrained = {name: tensor.clone() for name, tensor in models.state(net).items()}
    names = models.prunable(net, Prunable())
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.rand(pretrained[name].shape, generator=generator) for name in names}
    masks = keep_top(scores, round(density * sum(score.numel() for score in scores.values())))
    apply_(net, masks)
    return net, masks, pretrained


def batches(n=20):
    pixels = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return lambda: [Batch(pixels[i], i % 3, i) for i in torch.arange(n).split(8)]


def test_noise_moves_kept_weights_only_by_the_rate_times_their_spread():
    masks = {
        "w": torch.rand(300, 300, generator=torch.Generator().manual_seed(0)) < 0.5,
        "v": torch.ones(1, dtype=torch.bool),
    }
    before = {
        "w": 3 * torch.randn(300, 300, generator=torch.Generator().manual_seed(1)) * masks["w"],
        "v": torch.ones(1),
    }
    noise = noise_of(before, masks, seed=5)
    after = shaken(before, noise, 0.1)
    moved = (after["w"] - before["w"])[masks["w"]]
    # 45,000 numbers: five standard errors of a standard deviation are 2 %; zeros of pruned weights do not shrink it.
    assert float(moved.std()) == pytest.approx(0.3, rel=0.02)
    assert torch.equal(after["w"][~masks["w"]], before["w"][~masks["w"]])
    assert torch.equal(after["v"], before["v"])  # one weight has no spread
    weaker = shaken(before, noise, 0.01)
    assert torch.allclose((weaker["w"] - before["w"])[masks["w"]], moved / 10, atol=1e-6)
    assert not torch.equal(shaken(before, noise_of(before, masks, seed=6), 0.1)["w"], after["w"])


def test_a_swap_prunes_as_many_as_it_revives_over_all_layers_and_larger_swaps_hold_smaller_ones():
    masks = {"a": torch.tensor([True, True, False, False]), "b": torch.tensor([True, False, False, True])}
    pretrained = {"a": torch.tensor([1.0, 2.0, 3.0, 4.0]), "b": torch.tensor([5.0, 6.0, 7.0, 8.0])}
    before = {name: 10 * pretrained[name] * masks[name] for name in masks}
    flat = torch.cat(list(before.values()))
    lost, gained = set(), set()
    for n in range(5):
        after = torch.cat(list(swapped(before, masks, pretrained, n, seed=3).values()))
        now_lost = set((flat.ne(0) & after.eq(0)).nonzero().flatten().tolist())
        now_gained = set((flat.eq(0) & after.ne(0)).nonzero().flatten().tolist())
        assert (len(now_lost), len(now_gained)) == (n, n)
        assert lost <= now_lost
        assert gained <= now_gained
        lost, gained = now_lost, now_gained
    # Everything swapped: what was pruned is back at its pre-trained value, what was kept is gone.
    assert after.tolist() == [0, 0, 3, 4, 0, 6, 7, 0]


def test_a_ticket_reports_every_rate_and_comes_back_bit_for_bit():
    net, masks, pretrained = ticket()
    before = {name: tensor.clone() for name, tensor in models.state(net).items()}
    conditions = Conditions(batches=batches(), masks=masks, pretrained=pretrained, options={"draws": 2})
    found = sensitivity.evaluate(net, conditions)
    assert all(torch.equal(tensor, before[name]) for name, tensor in models.state(net).items())
    assert list(found.metrics) == [
        f"accuracy_{kind}_{rate}" for kind in ("weight_noise", "mask_swap") for rate in (0.001, 0.005, 0.01, 0.05, 0.1)
    ]
    right = found.examples["correct"]
    assert right.shape == (20, 10, 2)
    assert right.mean(axis=(0, 2)).tolist() == pytest.approx(list(found.metrics.values()))
    assert found.details["draws"]["accuracy_mask_swap_0.1"] == pytest.approx(right[:, 9].mean(axis=0).tolist())
    assert found.flags == ()
    again = sensitivity.evaluate(net, conditions)
    assert np.array_equal(again.examples["correct"], right)


def test_what_is_measured_is_the_swapped_network():
    net, masks, pretrained = ticket()
    seen = []
    hook = net.register_forward_pre_hook(
        lambda *_: seen.append(sum(int((models.state(net)[name] != 0).sum()) for name in masks))
    )
    before = {name: models.state(net)[name].clone() for name in masks}
    sensitivity.evaluate(net, Conditions(batches=batches(8), masks=masks, pretrained=pretrained, options={"draws": 1}))
    hook.remove()
    # Once as it is, five times with noise, five times swapped: always as many weights that are not zero.
    assert seen == [kept(masks)] * 11
    assert all(torch.equal(models.state(net)[name], weight) for name, weight in before.items())


def test_a_dense_network_has_no_mask_to_swap():
    net = network()
    found = sensitivity.evaluate(net, Conditions(batches=batches()))
    swaps = [value for name, value in found.metrics.items() if "swap" in name]
    assert swaps == [pytest.approx(found.details["clean"])] * 5
    assert found.flags == ("no mask to swap: accuracy_mask_swap is the clean accuracy",)
    assert found.examples["correct"].shape == (20, 10, 3)


def test_a_nearly_dense_ticket_swaps_what_it_can_and_says_so():
    net, masks, pretrained = ticket(density=0.97)
    (flag,) = sensitivity.evaluate(net, Conditions(batches=batches(), masks=masks, pretrained=pretrained)).flags
    n_pruned = sum(mask.numel() for mask in masks.values()) - kept(masks)
    assert flag == f"only {n_pruned} weights are pruned, fewer than a swap of 0.05 of the kept ones needs"


def test_the_network_comes_back_when_the_evaluation_is_stopped():
    net, masks, pretrained = ticket()
    before = {name: tensor.clone() for name, tensor in models.state(net).items()}
    calls = []

    def pause():
        calls.append(None)
        if len(calls) > 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sensitivity.evaluate(net, Conditions(batches=batches(), masks=masks, pretrained=pretrained, pause=pause))
    assert all(torch.equal(tensor, before[name]) for name, tensor in models.state(net).items())


def test_a_ticket_without_pretrained_weights_is_refused():
    net, masks, pretrained = ticket()
    del pretrained["conv1.weight"]
    with pytest.raises(ValueError, match=r"1 are missing \(first: conv1.weight\)"):
        sensitivity.evaluate(net, Conditions(batches=batches(), masks=masks, pretrained=pretrained))


def test_less_than_one_draw_is_refused():
    with pytest.raises(ValueError, match="draws >= 1, found -1"):
        sensitivity.evaluate(network(), Conditions(batches=batches(), options={"draws": -1}))
