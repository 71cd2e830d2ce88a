"""The values of a frame by setting and seed, and the settings that differ in one axis alone."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.frame import DECIMALS, DENSE_REFERENCE
from analysis.margins import NONE_STATED
from analysis.margins import margins as margins_of
from analysis.statistics.intervals import Floats
from analysis.statistics.paired import Ints, share_better
from analysis.wording import base
from bench.spec import AXES

Bools = npt.NDArray[np.bool_]
# A setting is a cell with its seed left out, of one metric; its round goes with the sparsity.
SETTING_AXES = tuple(axis for axis in AXES if axis != "seed")
SETTING = ("grid", "metric", "selection", *SETTING_AXES)
# What other levels are compared with.
_FIRST: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "pretraining": ("supervised", "torchvision"),
        "pruner": ("random", "omp"),
        "granularity": ("unstructured",),
        "objective": ("standard",),
    }
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a frame planned, a row per setting in the order of its keys, a column per seed.

    keys: SETTING, higher_is_better, margin (in the metric's unit, NaN if none is known). text: SETTING as categories of
    words. values: NaN where nothing is done.
    """

    keys: pd.DataFrame
    text: pd.DataFrame
    values: Floats
    planned: Bools


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """Both sides of many comparisons, a row each; a and b (rows, units) are NaN where a unit has no pair.

    keys: level_a, level_b and those of SETTING that are fixed, as categories of words. chance: that b is better.
    planned: units with both sides in the grid. cells, left_out: matched settings in the grid, and those of them that
    the means leave out.
    """

    keys: pd.DataFrame
    higher_is_better: Bools
    a: Floats
    b: Floats
    margin: Floats
    chance: Floats
    planned: Bools
    cells: Floats
    left_out: Floats


def settings(table: pd.DataFrame, *, margins: Mapping[str, float] = NONE_STATED) -> Settings:
    """Raises ValueError if two rows are of one setting and seed."""
    groups = table.groupby(list(SETTING), sort=True)
    keys = groups.agg(higher_is_better=("higher_is_better", "first"), n_examples=("n_examples", "max")).reset_index()
    row = groups.ngroup().to_numpy(np.int64)
    seeds, column = np.unique(table["seed"].to_numpy(), return_inverse=True)
    values, planned = np.full((len(keys), len(seeds)), np.nan), np.zeros((len(keys), len(seeds)), bool)
    values[row, column] = table["value"].to_numpy(np.float64)
    planned[row, column] = True
    if planned.sum() < len(table):
        again = table[table.duplicated([*SETTING, "seed"])].iloc[0]
        cell = ", ".join(f"{name} {again[name]}" for name in (*SETTING, "seed"))
        raise ValueError(f"two results of one cell ({cell}): nothing says which of the two counts")
    keys["margin"] = margins_of(
        keys["metric"], keys.pop("n_examples").astype("float64"), _dense_mean(keys, values), margins
    ).to_numpy()
    text = pd.DataFrame({name: _words(keys[name]).astype("category") for name in SETTING})
    return Settings(keys=keys, text=text, values=values, planned=planned)


def matched(found: Settings, axis: str) -> tuple[Ints, Ints]:
    """Rows (a, b) of settings that are equal but for the axis, a of the reference level; each pair of levels once.

    The reference level is one of _FIRST in that order, the larger fraction of labels, or the first by name. Settings
    without a common planned seed are no pair.
    """
    others = [name for name in SETTING if name != axis]
    same = found.text.groupby(others, sort=False, observed=True).ngroup().to_numpy()
    levels = sorted(found.keys[axis].unique(), key=functools.partial(_order, axis))
    level = found.keys[axis].map({name: i for i, name in enumerate(levels)}).to_numpy(np.int64)
    table = np.full((len(levels), same.max(initial=-1) + 1), -1)
    table[level, same] = np.arange(len(same))
    first, second = np.triu_indices(len(levels), 1)
    a, b = table[first].ravel(), table[second].ravel()
    a, b = a[(a >= 0) & (b >= 0)], b[(a >= 0) & (b >= 0)]
    together = (found.planned[a] & found.planned[b]).any(axis=1)
    return a[together], b[together]


def difference(a: Floats, b: Floats) -> Floats:
    """b - a, equal to 0 and to each other where they are so up to rounding."""
    return np.asarray(np.round(b - a, DECIMALS))


def of_settings(found: Settings, axis: str, a: Ints, b: Ints) -> Sides:
    """The pairs of `matched`, each by itself, over seeds."""
    keys = found.text.iloc[a].reset_index(drop=True)
    keys.insert(0, "level_a", keys.pop(axis))
    keys.insert(1, "level_b", found.text[axis].array[b])
    higher = found.keys["higher_is_better"].to_numpy(bool)[a]
    both = np.isfinite(found.values[a]) & np.isfinite(found.values[b])
    values_a, values_b = np.where(both, found.values[a], np.nan), np.where(both, found.values[b], np.nan)
    margin = found.keys["margin"].to_numpy(np.float64)
    return Sides(
        keys=keys,
        higher_is_better=higher,
        a=values_a,
        b=values_b,
        margin=(margin[a] + margin[b]) / 2,
        chance=share_better(_sign(higher) * difference(values_a, values_b)),
        planned=found.planned[a] & found.planned[b],
        cells=np.ones(len(a)),
        left_out=np.zeros(len(a)),
    )


def averaged(each: Sides, fixed: Sequence[str]) -> Sides:
    """Per seed the mean over the settings that share the fixed keys and are done at every seed that any of them has."""
    group, first = _grouped(each.keys, ["level_a", "level_b", *fixed])
    both = np.isfinite(each.a)
    seeds = _sum(group, both) > 0
    whole = both.any(axis=1) & (both == seeds[group]).all(axis=1)
    count = _sum(group, whole)
    counted = np.where(count > 0, count, np.nan)[:, None]
    used = np.where(seeds, counted, np.nan)
    a = _sum(group, np.where(both & whole[:, None], each.a, 0.0)) / used
    b = _sum(group, np.where(both & whole[:, None], each.b, 0.0)) / used
    higher = each.higher_is_better[first]
    cells = _sum(group, each.cells)
    return Sides(
        keys=each.keys.loc[first, ["level_a", "level_b", *fixed]].reset_index(drop=True),
        higher_is_better=higher,
        a=a,
        b=b,
        margin=_sum(group, np.where(whole, each.margin, 0.0)) / counted[:, 0],
        chance=share_better(_sign(higher) * difference(a, b)),
        planned=_sum(group, each.planned) > 0,
        cells=cells,
        left_out=cells - count,
    )


def over_datasets(seeds: Sides) -> Sides:
    """Per data set the mean over its seeds, a column per data set in the order of its categories."""
    group, first = _grouped(seeds.keys, [str(name) for name in seeds.keys if name != "dataset"])
    datasets = seeds.keys["dataset"].cat
    column = datasets.codes.to_numpy()

    def by_dataset(values: Floats) -> Floats:
        table = np.full((len(first), len(datasets.categories)), np.nan)
        table[group, column] = values
        return table

    a, b = by_dataset(row_mean(seeds.a)), by_dataset(row_mean(seeds.b))
    every = difference(seeds.a[:, :, None], seeds.b[:, None, :]).reshape(len(group), -1)
    return Sides(
        keys=seeds.keys.drop(columns="dataset").loc[first].reset_index(drop=True),
        higher_is_better=seeds.higher_is_better[first],
        a=a,
        b=b,
        margin=row_mean(np.where(np.isfinite(a), by_dataset(seeds.margin), np.nan)),
        chance=row_mean(by_dataset(share_better(_sign(seeds.higher_is_better) * every))),
        planned=np.isfinite(by_dataset(np.zeros(len(group)))),
        cells=_sum(group, seeds.cells),
        left_out=_sum(group, seeds.left_out),
    )


def row_mean(values: Floats) -> Floats:
    """Mean of each row without its gaps, NaN if it has nothing else."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    return np.asarray(np.where(known, values, 0.0).sum(axis=1) / np.where(count > 0, count, np.nan))


def _grouped(keys: pd.DataFrame, fixed: Sequence[str]) -> tuple[Ints, Ints]:
    """The group of every row by the fixed keys, and the first row of every group."""
    group = keys.groupby(list(fixed), observed=True, sort=True).ngroup().to_numpy().astype(np.int64)
    return group, np.unique(group, return_index=True)[1].astype(np.int64)


def _sum(group: Ints, values: npt.NDArray[Any]) -> Floats:
    """Sums over the rows of every group, in the order of the rows; every group has one."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[order], starts, axis=0, dtype=np.float64))


def _sign(higher_is_better: Bools) -> Floats:
    return np.where(higher_is_better, 1.0, -1.0)[:, None]


def _dense_mean(keys: pd.DataFrame, values: Floats) -> pd.Series[float]:
    """Mean over seeds of the dense network that a setting is measured against; NaN where none is done."""
    mean = pd.DataFrame(values).mean(axis=1).where(keys["pruner"] == "dense")
    return mean.groupby([keys[name] for name in DENSE_REFERENCE]).transform("mean")


def _words(column: pd.Series[Any]) -> pd.Series[str]:
    """Numbers with all the digits that tell them apart, and no more."""
    if pd.api.types.is_float_dtype(column):
        return column.map({value: f"{value:.15g}" for value in column.unique()}).astype("str")
    return column.astype("str")


def _order(axis: str, level: Any) -> tuple[float, str]:
    if axis == "fraction":
        return -level, ""
    first = _FIRST.get(axis, ())
    name = base(str(level))
    return first.index(name) if name in first else len(first), str(level)
