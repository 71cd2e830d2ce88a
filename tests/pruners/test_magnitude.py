import torch

from bench import granularity, masks, models
from bench.pruners import magnitude
from bench.pruners.conditions import Conditions
from bench.spec import Word

CONDITIONS = Conditions(keep=2, select=granularity.selector(Word("unstructured")), resolution=8)


def test_large_weights_of_either_sign_are_kept_across_layers():
    net = models.build(Word("resnet8"), classes=10, mean=(0.5,) * 3, std=(0.5,) * 3, seed=0)
    names = ("conv1.weight", "layer1.0.conv1.weight")
    with torch.no_grad():
        for name in names:
            net.body.get_parameter(name).fill_(0.1)
        net.body.conv1.weight[0, 0, 0, 1] = -5.0
        net.body.layer1[0].conv1.weight[2, 3, 1, 1] = 4.0
    kept = masks.keep_top(magnitude.scores(net, names, CONDITIONS), 2)
    assert kept["conv1.weight"].nonzero().tolist() == [[0, 0, 0, 1]]
    assert kept["layer1.0.conv1.weight"].nonzero().tolist() == [[2, 3, 1, 1]]
