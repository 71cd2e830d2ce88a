import pandas as pd
import pytest

from analysis.pretrainings import is_robust, is_self_supervised, method, methods


@pytest.mark.parametrize(
    ("label", "expected", "robust", "unlabelled"),
    [
        ("supervised", "supervised", False, False),
        ("torchvision(weights=IMAGENET1K_V2)", "torchvision", False, False),
        ("simclr", "simclr", False, True),
        ("moco", "moco", False, True),
        ("checkpoint(path=a/method=b.pt)", "checkpoint", False, False),
        ("checkpoint(path=a.pt, method=moco)", "moco", False, True),
        ("checkpoint(method=simclr, path=a.pt)", "simclr", False, True),
        ("pgd_adversarial(epsilon=3)", "pgd_adversarial", True, False),
        ("smoothing", "smoothing", True, False),
        ("random", "random", False, False),
        ("somebodys", "somebodys", False, False),
    ],
)
def test_how_weights_were_trained_is_read_from_the_word(label, expected, robust, unlabelled):
    assert (method(label), is_robust(label), is_self_supervised(label)) == (expected, robust, unlabelled)
    assert methods(pd.Series([label, label])).tolist() == [expected, expected]
