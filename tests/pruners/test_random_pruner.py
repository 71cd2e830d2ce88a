import math

import torch

from bench import granularity, masks, models
from bench.pruners import random
from bench.pruners.conditions import Conditions
from bench.spec import Prunable, Word

CONDITIONS = Conditions(keep=0, select=granularity.selector(Word("unstructured")), resolution=8, seed=7)


def test_every_layer_keeps_its_share():
    net = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    scores = random.scores(net, models.prunable(net, Prunable()), CONDITIONS)
    total = sum(score.numel() for score in scores.values())
    for name, (kept, size) in masks.per_layer(masks.keep_top(scores, total // 4)).items():
        # Hypergeometric with p = 1/4; six standard deviations of the binomial, which is wider.
        assert abs(kept - size / 4) < 6 * math.sqrt(size * 3 / 16), name


def test_the_weights_values_do_not_matter():
    net = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    names = models.prunable(net, Prunable())
    before = random.scores(net, names, CONDITIONS)
    torch.nn.init.zeros_(net.body.conv1.weight)
    after = random.scores(net, names, CONDITIONS)
    assert all(torch.equal(before[name], after[name]) for name in names)
