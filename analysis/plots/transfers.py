"""Figures: masks by where they were found against where they went, measured alone and beside published matrices."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.plots import style
from analysis.plots.cells import DIVERGING, cells, colour_bar, symmetric
from analysis.plots.style import Drawing
from analysis.published import DIFFERENCE
from analysis.statistics.intervals import CONFIDENCE, Floats
from analysis.tasks import in_order
from analysis.transfer_matrix import FIRST_SCORES, found_on_data, mask_without_data, over_first_scores
from analysis.transfer_matrix import KEYS as TRANSFER
from analysis.wording import transfer
from analysis.words import searched

_PAIR = ("study", "architecture", "granularity", "sparsity", "transfer", "objective", "fraction")
_OURS = ("grid", "pretraining_seed", "selection")
# A hundredth of a share or of a correlation.
_POINT = 100


def transfers(matrix: pd.DataFrame, counts: pd.DataFrame) -> list[Drawing]:
    """One for every setting and family of `transfer_matrix` with a mask that was found on data and went elsewhere.

    Of settings whose targets are judged by different metrics first one with the first score of each; other metrics have
    their own. Those with the most sources come first. Masks of families without data stand alone.
    """
    pooled = over_first_scores(matrix)
    panels = pd.concat([matrix.drop(index=pooled.index), pooled])
    on_data = {name: found_on_data(name) for name in panels["mask_source"].unique()}
    beside = dict(iter(counts.groupby(list(TRANSFER), dropna=False)))
    found = []
    for setting, part in panels.groupby(list(TRANSFER), sort=True, dropna=False):
        known, searches = part["diff_mean"].notna(), part["mask_source"].map(on_data).astype(bool)
        elsewhere = part[known & searches & ~part["same_task"].fillna(False).astype(bool)]
        if not known.any() or (searches.any() and elsewhere.empty):
            continue
        draw = partial(transfer_figure, part, beside.get(setting, counts[:0]))
        place = (part["metric"].iloc[0] != FIRST_SCORES, -elsewhere["mask_source"].nunique())
        found.append((place, Drawing(kind="transfer", setting=setting, draw=draw)))
    return [drawing for _, drawing in sorted(found, key=lambda item: item[0])]


@style.settings()
def transfer_figure(matrix: pd.DataFrame, counts: pd.DataFrame) -> Figure:
    """Difference to dense with half its interval, framed where the mask was found on the target itself.

    Hatched where the interval holds 0 or is not known, grey where a value is missing. counts: what stands on the right,
    on how many other targets a mask is at least as good as the target's own; it may have no rows.
    """
    first = matrix.iloc[0]
    several = first["metric"] == FIRST_SCORES
    unit = _POINT if several else 1
    # Of several metrics a gain is blue whichever way each of them points.
    sign = np.where(matrix["higher_is_better"] | (not several), 1.0, -1.0)
    half = unit * (matrix["diff_high"] - matrix["diff_low"]) / 2
    value = unit * sign * matrix["diff_mean"]
    sources, targets = _sources(matrix["mask_source"]), in_order(matrix["target"])
    values, place = _table(matrix, value, sources, targets)
    texts, unsure = np.full(values.shape, "", dtype=object), np.zeros(values.shape, dtype=bool)
    texts[place] = [_cell(value, width, several) for value, width in zip(value, half, strict=True)]
    unsure[place] = matrix["diff_mean"].notna() & ~((matrix["diff_low"] > 0) | (matrix["diff_high"] < 0))
    # Differences that are small beside their intervals stay pale.
    limit = max(symmetric(values), half.max() if half.notna().any() else 0.0)
    higher = several or bool(first["higher_is_better"])
    drawn = Figure(figsize=(max(3.9, 0.55 * len(targets) + 2.6), 0.36 * len(sources) + 1.4), layout="constrained")
    axes = drawn.subplots()
    mesh = cells(
        axes, values, texts, rows=sources, columns=_columns(matrix, targets) if several else targets,
        colours=DIVERGING if higher else f"{DIVERGING}_r", low=-limit, high=limit, hatched=unsure,
    )  # fmt: skip
    _framed(axes, place, matrix["same_task"])
    axes.set_xlabel("target")
    axes.set_ylabel("mask found on")
    counted = _at_or_above(axes, sources, counts)
    metric = "gain on dense, hundredths" if several else "difference to dense"
    which = "first score of each target" if several else style.direction(first["metric"], higher)
    colour_bar(axes, mesh, f"{metric},\n{style.wrap(which, 34)}")
    n = style.counted(matrix.loc[matrix["n"] > 0, "n"])
    note = (
        f"ticket - dense{' in hundredths' if several else ''} and half its {CONFIDENCE:.0%} t interval over {n}; "
        "hatched: the interval holds 0 or is not known; framed: found on the target; grey: missing"
    )
    note += "; right: other targets on which the mask's mean is at least that of the target's own" if counted else ""
    title = f"transfer of masks, {first['family']} from {first['pretraining']}: {first['metric']}"
    return style.finish(drawn, title=f"{title}\n{_of(first)}, {style.conditions(first)}", note=note)


def beside(published: pd.DataFrame) -> list[Drawing]:
    """One for every matrix of differences in `published` with a measured value: what a study prints, what was measured.

    A matrix has several masks and several targets at one sparsity.
    """
    gains = published[(published["unit"] == DIFFERENCE) & published["sparsity"].notna()]
    gains = gains.assign(mask_source=_mask_sources(gains))
    found = []
    for study, part in gains.groupby(list(_PAIR), sort=True, dropna=False):
        if min(part["mask_source"].nunique(), part["dataset"].nunique()) < 2:
            continue
        theirs = part.drop_duplicates(["mask_source", "dataset", "metric"])
        for ours, measured in part[part["measured_mean"].notna()].groupby(list(_OURS), sort=True):
            draw = partial(beside_figure, theirs, measured)
            found.append(Drawing(kind="matrices", setting=(*study, *ours), draw=draw))
    return found


@style.settings()
def beside_figure(theirs: pd.DataFrame, ours: pd.DataFrame) -> Figure:
    """Differences to dense in hundredths: above as published, below as measured, in the same places and colours.

    Hatched where a measured one differs from the published one by more than the uncertainty.
    """
    sources, targets = _sources(theirs["mask_source"]), in_order(theirs["dataset"])
    sides = (("published", theirs, theirs["value"]), ("measured", ours, ours["measured_mean"]))
    tables = [_table(part, _POINT * value, sources, targets, "dataset") for _, part, value in sides]
    limit = max(symmetric(values) for values, _ in tables)
    height = 0.22 * len(sources) + 0.5
    drawn = Figure(figsize=(max(3.9, 0.46 * len(targets) + 2.6), 2 * height + 0.9), layout="constrained")
    panels = drawn.subplots(2, 1, sharex=True)
    for axes, (name, part, _), (values, place) in zip(panels, sides, tables, strict=True):
        texts = np.array([["" if v != v else f"{v:+.2f}" for v in row] for row in values], dtype=object)
        outside = np.zeros(values.shape, dtype=bool)
        outside[place] = part["inside"].eq(False).fillna(False).to_numpy(bool) & (name == "measured")
        columns = _columns(theirs.rename(columns={"dataset": "target"}), targets)
        mesh = cells(
            axes, values, texts, rows=sources, columns=columns,
            colours=DIVERGING, low=-limit, high=limit, hatched=outside,
        )  # fmt: skip
        _framed(axes, place, part["mask_source"] == part["dataset"])
        axes.set_title(name, loc="left", fontsize=style.LABEL)
        axes.set_ylabel("mask found on")
    for axes in panels[:-1]:
        axes.tick_params(axis="x", labelbottom=False)
    panels[-1].set_xlabel("target")
    bar = drawn.colorbar(mesh, ax=list(panels), shrink=0.6, pad=0.02, aspect=30)
    bar.set_label("difference to dense, hundredths", fontsize=style.NOTE)
    bar.ax.tick_params(labelsize=style.NOTE)
    bar.outline.set_visible(False)
    first, known = theirs.iloc[0], ours["inside"].notna()
    n = style.counted(ours["measured_n"].astype(int))
    inside = (
        f"{int(ours['inside'].eq(True).sum())} of {int(known.sum())} measured differences that have an interval lie "
    )
    notes = [
        f"measured: mean over {n}",
        inside + "within the uncertainty of the published one, the others are hatched",
        "framed: found on the target; grey: missing; measured - published, cell by cell, is in the table",
    ]
    title = f"transfer of masks, {first['study']} and measured\n{_of(first)}, {transfer(first)}"
    return style.finish(drawn, title=title, note="; ".join(notes))


def _mask_sources(table: pd.DataFrame) -> list[str]:
    rows = table[["pruner", "source", "dataset"]].itertuples(index=False, name=None)
    return [searched(*row) or mask_without_data(row[0], row[1]) for row in rows]


def _sources(names: pd.Series[str]) -> list[str]:
    """Data sets in their order, then masks of weights alone, then those of chance or of files."""
    others = sorted({name for name in names if not found_on_data(name)}, key=lambda name: (name[0] != "w", name))
    return [*in_order(name for name in names if found_on_data(name)), *others]


def _columns(matrix: pd.DataFrame, targets: Sequence[str]) -> list[str]:
    """Targets with the metric of each."""
    name = "measured_by" if "measured_by" in matrix else "metric"
    metrics = dict(zip(matrix["target"], matrix[name], strict=True))
    return [f"{target}, {metrics[target]}" for target in targets]


_Place = tuple[npt.NDArray[Any], npt.NDArray[Any]]


def _table(
    matrix: pd.DataFrame, values: pd.Series[float], sources: list[str], targets: list[str], target: str = "target"
) -> tuple[Floats, _Place]:
    """The values by source and target, NaN where there is none, and the place of every row in it."""
    place = (matrix["mask_source"].map(sources.index).to_numpy(), matrix[target].map(targets.index).to_numpy())
    table = np.full((len(sources), len(targets)), np.nan)
    table[place] = values
    return table, place


def _framed(axes: Axes, place: _Place, same: pd.Series[bool]) -> None:
    for y, x in zip(*(part[same.fillna(False).astype(bool)] for part in place), strict=True):
        axes.add_patch(Rectangle((x + 0.03, y + 0.03), 0.94, 0.94, fill=False, edgecolor="black", linewidth=1.2))


def _at_or_above(axes: Axes, sources: Sequence[str], counts: pd.DataFrame) -> bool:
    """On the right of every row on how many other targets it is at or above their own masks; False if none is known."""
    known = counts[counts["n_at_or_above"].notna()]
    rows = zip(known["mask_source"], known["n_at_or_above"], known["n_targets"], strict=True)
    texts = {source: f"{above} of {n}" for source, above, n in rows}
    if not texts:
        return False
    right = axes.secondary_yaxis("right")
    right.set_yticks(np.arange(len(sources)) + 0.5, [texts.get(source, "") for source in sources], fontsize=style.NOTE)
    right.tick_params(length=0)
    right.set_ylabel("targets at or above their own", fontsize=style.NOTE)
    right.spines[:].set_visible(False)
    return True


def _cell(value: float, half: float, hundredths: bool) -> str:
    if value != value:
        return ""
    if hundredths:
        return f"{value:+.1f}" + (f"\n±{half:.1f}" if half == half else "")
    return f"{value:+.2g}" + (f"\n±{half:.1g}" if half == half else "")


def _of(row: pd.Series[Any]) -> str:
    return f"{row['architecture']}, {row['granularity']}, sparsity {row['sparsity']:.3g}"
