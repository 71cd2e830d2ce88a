"""Numbers of published studies (`published/*.csv`, restated with their source) beside those that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.pretrainings import is_self_supervised, methods
from analysis.statistics.intervals import CONFIDENCE, t_interval
from analysis.wording import bases
from analysis.words import pruners_by_target

FOLDER = Path(__file__).with_name("published")
# What must agree for two numbers to be of the same thing, in the order in which a difference is named.
_TICKET = ("architecture", "pretraining", "source", "pruner", "granularity", "sparsity")
MATCHED = ("dataset", *_TICKET, "transfer", "objective", "fraction", "metric")
DIFFERENCE, DOUBLE_WIN = "difference to dense", "double_win_sparsity"
UNITS = ("fraction", DIFFERENCE, "sparsity")
CSV_COLUMNS = {
    "study": "the paper or repository that reports the number, as a citation key",
    "item": "table or figure, and the curve or row in it",
    "architecture": "in the suite's words, where it has one",
    "pretraining": "",
    "pruner": "",
    "source": "blank: any",
    "granularity": "",
    "sparsity": "exact rung of the ladder that the study rounds; blank: of no single one",
    "dataset": "",
    "transfer": "blank: of the pre-trained network",
    "objective": "",
    "fraction": "",
    "metric": "",
    "value": "as published",
    "sd": "standard deviation over runs, as published",
    "n_runs": "runs that the value is a mean of",
    "read_out_error": "of a digitised figure as estimated; of a printed number half its last digit",
    "unit": "fraction (of 1), difference to dense (fractions), sparsity",
    "reference": "where the number was read",
    "remark": "what sets the study's protocol apart",
}
_NUMBERS = ("sparsity", "fraction", "value", "sd", "n_runs", "read_out_error")
_WHOLE = ("n_runs", "pretraining_seed", "measured_n")
_OURS = ("grid", "pretraining_seed", "selection")
_REPORTED = ("study", "value", "sd", "n_runs")
# A blank source stands for any: it is matched by entries of every source.
_BY_SOURCE = ((False, list(MATCHED)), (True, [name for name in MATCHED if name != "source"]))
PUBLISHED_COLUMNS = {
    **CSV_COLUMNS,
    "grid": "of the measured entry",
    "pretraining_seed": "of the measured entry",
    "selection": "of the measured entry",
    "measured_mean": "mean over seeds, or mean difference to dense, in the unit of value",
    "measured_sd": "standard deviation over seeds; blank for differences",
    "measured_n": "seeds",
    "difference": "measured_mean - value",
    "uncertainty": f"sqrt(a² + b² + read_out_error²): half-widths of the {CONFIDENCE:.0%} t intervals of a, our mean "
    "(or paired difference), and b, theirs (0 where they print no deviation)",
    "inside": "whether the difference is within the uncertainty",
    "note": "why numbers are blank, what the uncertainty lacks",
}


def read_published(folder: Path = FOLDER) -> pd.DataFrame:
    """All published numbers, with the columns CSV_COLUMNS, in the order of files and lines.

    Raises ValueError for a file with other columns, a unit that is not known, and a value that is no number.
    """
    tables = []
    for path in sorted(folder.glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if list(table) != list(CSV_COLUMNS):
            known = ", ".join(CSV_COLUMNS)
            raise ValueError(f"{path} has the columns {', '.join(map(str, table))}; published numbers need {known}")
        try:
            tables.append(table.assign(**{name: pd.to_numeric(table[name].replace("", None)) for name in _NUMBERS}))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if problems := check(tables[-1]):
            raise ValueError(f"{path}, {problems[0]}")
    numbers = dict.fromkeys(_NUMBERS, "float64")
    if not tables:
        return pd.DataFrame(columns=list(CSV_COLUMNS)).astype(dict.fromkeys(CSV_COLUMNS, "str") | numbers)
    return pd.concat(tables, ignore_index=True).astype(numbers)


def check(table: pd.DataFrame) -> list[str]:
    """What is wrong with published numbers, a sentence each; none if units, ranges and sparsities are sound."""
    rungs = np.concatenate([1 - 0.8 ** np.arange(31), np.arange(10) / 10])
    off = np.abs(table["sparsity"].to_numpy()[:, None] - rungs).min(axis=1) > 1e-9
    lowest = np.where(table["unit"] == DIFFERENCE, -1.0, 0.0)
    wrong = {
        f"the unit is not one of {', '.join(UNITS)}": ~table["unit"].isin(UNITS),
        "the value is not a fraction of 1": ~table["value"].between(lowest, 1.0),
        "the deviation is negative": table["sd"] < 0,
        "a deviation needs the number of runs": table["sd"].notna() & table["n_runs"].isna(),
        "the read-out error is not positive": ~(table["read_out_error"] > 0),
        "the sparsity is neither 1 - 0.8^k nor a tenth": table["sparsity"].notna() & off,
        "where it was read is not said": table["reference"] == "",
    }
    return [f"line {row + 2}: {problem}" for problem, rows in wrong.items() for row in np.flatnonzero(rows)]


def published(board: pd.DataFrame, double_win: pd.DataFrame | None = None, *, folder: Path = FOLDER) -> pd.DataFrame:
    """The table of PUBLISHED_COLUMNS: every published number, with each measured entry of the same words beside it.

    board: a `leaderboard`. double_win: the table of that name, for published double-win sparsities. A number that
    nothing measured matches keeps its row; its note names the first axis on which every measured entry differs.
    """
    theirs = read_published(folder)
    ours = _measured(board.reset_index(drop=True))
    if double_win is not None and len(double_win):
        ours = pd.concat([ours, _double_win_sparsities(double_win)], ignore_index=True)
    wanted, found = _keys(theirs), _keys(ours).join(ours[[*_OURS, *_VALUES]])
    # Two words of a grid may name one mask, such as on=downstream and the target's own name.
    found = found.sort_values("complete", ascending=False, kind="stable").drop_duplicates([*MATCHED, *_OURS])
    parts = []
    for anywhere, by in _BY_SOURCE:
        rows = wanted.loc[(wanted["source"] == "") == anywhere, by]
        rows = rows.assign(row=rows.index, nearest=_nearest(rows, found, by))
        parts.append(rows.merge(found.drop(columns=[name for name in MATCHED if name not in by]), on=by, how="left"))
    matched = pd.concat(parts).drop(columns=list(MATCHED)).sort_values(["row", *_OURS], ignore_index=True)
    return _judged(theirs.loc[matched["row"]].reset_index(drop=True).join(matched))


_VALUES = ("measured_mean", "measured_sd", "measured_n", "half", "diff_mean", "diff_half", "complete")


def _measured(board: pd.DataFrame) -> pd.DataFrame:
    """The board's entries, with half-widths of the t intervals of mean and difference."""
    low, high = t_interval(board["mean"], board["sd"], board["n"])
    ours = board[[*MATCHED, *_OURS, "diff_mean", "complete"]].assign(half=(high - low) / 2)
    ours["diff_half"] = (board["diff_high"] - board["diff_low"]) / 2
    return ours.assign(measured_mean=board["mean"], measured_sd=board["sd"], measured_n=board["n"].astype("float64"))


def _double_win_sparsities(wins: pd.DataFrame) -> pd.DataFrame:
    """The sparsest double win of every curve, up to which every measured sparsity is one; 0 where there is none."""
    by = [name for name in MATCHED if name not in ("sparsity", "objective", "metric")]
    ladder = wins.sort_values([*by, *_OURS, "robust_metric", "sparsity"], kind="stable", ignore_index=True)
    curve = [ladder[name] for name in (*by, *_OURS, "robust_metric")]
    won = ladder["double_win"].astype("boolean").fillna(False).astype("int64")
    reached = (ladder["sparsity"] * won.groupby(curve).cumprod()).groupby(curve).max()
    found = reached.rename("measured_mean").reset_index()
    blank = dict.fromkeys(("sparsity", "measured_sd", "measured_n", "half", "diff_mean", "diff_half"), np.nan)
    return found.assign(metric=DOUBLE_WIN, objective="", complete=True, **blank)


def reported(entries: pd.DataFrame, *, folder: Path = FOLDER) -> pd.DataFrame:
    """study, value, sd and n_runs of the first published number, in fractions, of every entry; blank where none is.

    entries: columns MATCHED; the result has their index.
    """
    theirs = read_published(folder)
    theirs = theirs[theirs["unit"] == UNITS[0]].reset_index(drop=True)
    wanted, given = _keys(entries), _keys(theirs).join(theirs[list(_REPORTED)])
    found = pd.DataFrame(index=entries.index, columns=list(_REPORTED))
    for anywhere, by in _BY_SOURCE:
        first = given[(given["source"] == "") == anywhere].drop_duplicates(by)
        more = wanted[by].merge(first[[*by, *_REPORTED]], on=by, how="left", validate="many_to_one")
        found = found.fillna(more[list(_REPORTED)].set_axis(entries.index))
    return found.fillna({"study": ""}).astype({"study": "str"} | dict.fromkeys(_REPORTED[1:], "float64"))


def _keys(table: pd.DataFrame) -> pd.DataFrame:
    """MATCHED as words, numbers to four decimals; of weights from a file the method that trained them.

    A mask that was found on the target itself is on=downstream, whichever way its word says so.
    """
    keys = table[list(MATCHED)].copy()
    keys["pretraining"] = _pretraining(keys["pretraining"])
    keys["pruner"] = pruners_by_target(keys)
    for name in ("sparsity", "fraction"):
        keys[name] = table[name].map("{:.4f}".format).replace("nan", "")
    return keys.astype("str")


def _pretraining(labels: pd.Series[str]) -> pd.Series[str]:
    """A file is a published pre-training where its word says how it was trained: checkpoint(method=moco): moco."""
    files = bases(labels) == "checkpoint"
    return labels.mask(files & labels.map(is_self_supervised).astype(bool), methods(labels))


def _nearest(wanted: pd.DataFrame, found: pd.DataFrame, by: list[str]) -> pd.Series[str]:
    """The first axis on which no entry agrees with a row that agrees on the axes before it; blank for a match."""
    axis = pd.Series("", index=wanted.index, dtype="str")
    for depth in range(len(by), 0, -1):
        known = set(found[by[:depth]].itertuples(index=False, name=None))
        absent = [key not in known for key in wanted[by[:depth]].itertuples(index=False, name=None)]
        axis[absent] = by[depth - 1]
    return axis


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    gain = table["unit"] == DIFFERENCE
    table["measured_mean"] = table["diff_mean"].where(gain, table["measured_mean"])
    table["measured_sd"] = table["measured_sd"].mask(gain)
    ours = table["diff_half"].where(gain, table["half"])
    low, high = t_interval(table["value"], table["sd"], table["n_runs"])
    theirs = np.nan_to_num((high - low) / 2)
    table["difference"] = table["measured_mean"] - table["value"]
    table["uncertainty"] = np.sqrt(ours**2 + theirs**2 + table["read_out_error"] ** 2)
    incomplete = table["complete"].astype("boolean").eq(False).fillna(False)
    known = table["difference"].notna() & table["uncertainty"].notna() & ~incomplete
    # A rounding error decides nothing.
    inside = table["difference"].abs() <= table["uncertainty"] + 1e-12
    table["inside"] = inside.astype("boolean").mask(~known)
    note = pd.Series("", index=table.index, dtype="str")
    note[table["sd"].isna()] = "their deviation is not published: the uncertainty holds ours and the read-out error"
    note[table["uncertainty"].isna()] = "no interval of ours: fewer than two seeds, equal values, or not a mean"
    note[incomplete | table["measured_mean"].isna()] = "a planned seed or the dense network is missing"
    absent = table["nearest"] != ""
    note[absent] = "not measured: no entry has its " + table["nearest"]
    table["note"] = note
    table = table.astype(dict.fromkeys(_WHOLE, "Float64")).astype(dict.fromkeys(_WHOLE, "Int64"))
    return table.fillna({"grid": "", "selection": ""}).astype({"grid": "str", "selection": "str"})[
        list(PUBLISHED_COLUMNS)
    ]
