"""How much worse than the dense network a ticket may be and still match it, by metric; stated before the runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pandas as pd

from analysis.wording import bases
from bench.catalog import METRICS

# Accuracy under an attack, noise or corruption costs more to measure, on fewer images and with a larger deviation.
_ROBUST = ("pgd", "pgd_10", "pgd_50", "autoattack", "fgsm", "random_noise", "corruption")
# What half a point is asked of, where the test set is large enough to resolve it.
_TEXTS = ("f1", "exact_match", "matthews", "pearson", "spearman")
_CLEAN = ("accuracy", "mean_iou", "pixel_accuracy", "ap", "ap50", "coco_ap", "coco_ap50", *_TEXTS)
# In the metric's own unit: half a point of clean accuracy, mIoU, AP, F1, correlation; a point of robust ones and ECE.
MARGINS: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(_CLEAN, 0.005),
        **{f"{name}_accuracy": 0.01 for name in _ROBUST},
        **dict.fromkeys(METRICS["sensitivity"].reports, 0.01),
        "ood_auroc": 0.005,
        "ece": 0.01,
        "brier": 0.005,
    }
)
# As a share of the dense network's value, for what has no natural scale.
RELATIVE_MARGINS: Mapping[str, float] = MappingProxyType({"nll": 0.02, "perplexity": 0.02})
# Fewer test examples than LARGE cannot resolve half a point.
SMALL_MARGIN = 0.01
LARGE = 5000
NONE_STATED: Mapping[str, float] = MappingProxyType({})


def margin(metric: str, *, n_examples: float, dense_mean: float, stated: Mapping[str, float] = NONE_STATED) -> float:
    """The margin of one metric, in its own unit; see `margins`."""
    found = margins(pd.Series([metric]), pd.Series([float(n_examples)]), pd.Series([float(dense_mean)]), stated)
    return float(found.iloc[0])


def margins(
    metric: pd.Series[str],
    n_examples: pd.Series[float],
    dense_mean: pd.Series[float],
    stated: Mapping[str, float] = NONE_STATED,
) -> pd.Series[float]:
    """Margins in each metric's own unit, positive whatever its direction; NaN where none is known.

    n_examples: examples of the test set; a set of unknown size counts as large. `stated` replaces the table's margins:
    first by the full name, `pgd_accuracy(steps=50)`, then by the name without options. Raises ValueError on a stated
    margin that is not a positive number.
    """
    for label, value in stated.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f'margin of "{label}" is {value}: state a positive number in the unit of the metric')
    name = bases(metric)
    found = _looked_up(name, MARGINS)
    found = found.mask(name.isin(_CLEAN) & (n_examples.astype("float64") < LARGE), SMALL_MARGIN)
    found = found.fillna(_looked_up(name, RELATIVE_MARGINS) * dense_mean.abs())
    found = _looked_up(metric, stated).fillna(_looked_up(name, stated)).fillna(found)
    return found.where(found > 0)


def _looked_up(names: pd.Series[str], values: Mapping[str, float]) -> pd.Series[float]:
    return names.map(dict(values)).astype("float64")
