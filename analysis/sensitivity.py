"""What is left of a network's accuracy when its weights are shaken, or when shares of its mask are swapped."""

from __future__ import annotations

import pandas as pd

from analysis.frame import ENTRY
from analysis.wording import PERTURBED, base

KEYS = tuple(name for name in ENTRY if name != "metric")
SENSITIVITY_COLUMNS = {
    **dict.fromkeys(KEYS, ""),
    "perturbation": "weight_noise: on the kept weights; mask_swap: kept and pruned weights change places",
    "rate": "noise in standard deviations of a layer's kept weights; share of the kept weights that is swapped",
    "options": "of the metric, such as the number of draws",
    "n": "seeds with a value",
    "complete": "whether these are all that were planned",
    "mean": "accuracy of the perturbed network, mean over seeds",
    "ci_low": "lower limit of its 95 % interval over seeds",
    "ci_high": "upper limit",
    "clean": "accuracy of the same network as it is, mean over seeds; blank where it was not measured",
    "loss": "clean - mean",
}
_NUMBERS = ("n", "complete", "mean", "ci_low", "ci_high")


def sensitivity(board: pd.DataFrame) -> pd.DataFrame:
    """The table of SENSITIVITY_COLUMNS: a row per entry of a `leaderboard`, perturbation and rate, sorted."""
    words = {metric: _parts(metric) for metric in board["metric"].unique()}
    chosen = board[board["metric"].map(lambda metric: words[metric] is not None).astype(bool)]
    parts = chosen["metric"].map(words)
    found = chosen[[*KEYS, *_NUMBERS]].assign(
        perturbation=parts.map(lambda part: part[0]).astype("str"),
        rate=parts.map(lambda part: part[1]).astype("float64"),
        options=parts.map(lambda part: part[2]).astype("str"),
    )
    clean = board.loc[board["metric"] == "accuracy", [*KEYS, "mean"]].rename(columns={"mean": "clean"})
    found = found.merge(clean, on=list(KEYS), how="left", validate="many_to_one")
    found["loss"] = found["clean"] - found["mean"]
    order = [*KEYS, "perturbation", "options", "rate"]
    return found.sort_values(order, kind="stable", ignore_index=True)[list(SENSITIVITY_COLUMNS)]


def _parts(metric: str) -> tuple[str, float, str] | None:
    """weight_noise, 0.01 and draws=5 of accuracy_weight_noise_0.01(draws=5); None for another metric."""
    name = base(metric)
    kind, _, rate = name.rpartition("_")
    if kind not in PERTURBED:
        return None
    return kind.removeprefix("accuracy_"), float(rate), metric.removeprefix(name).strip("()")
