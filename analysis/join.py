"""Result rows of several grids, or of other people's CSV files, in one frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.frame import COLUMNS, DONE, HIGHER_IS_BETTER, IDENTITY, NUMBERS, check, ordered, typed
from analysis.wording import bases
from bench.results import STATUSES

# Without these a row says nothing; what else is not given is blank.
REQUIRED = tuple(name for name in IDENTITY if name not in ("grid", "selection", "granularity", "pretraining_seed"))
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def read_csv(path: Path) -> pd.DataFrame:
    """The frame of a `rows.csv`, of this suite or written by hand to the same columns.

    Columns that are not there take their plain value: the grid is the file's name, the status `done` where there is a
    value, the direction that of the metric. Raises ValueError, or OSError where the file cannot be read.
    """
    try:
        found = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{path} is no CSV file with a header: {error}") from None
    if lacking := [name for name in (*REQUIRED, "value") if name not in found]:
        raise ValueError(
            f"{path} has no column {lacking[0]} (found: {', '.join(map(str, found))}); "
            f"rows need {', '.join((*REQUIRED, 'value'))}: analysis writes such a file as rows.csv"
        )
    plain = {"grid": path.stem, "selection": "last", "granularity": "unstructured", "pretraining_seed": "0"}
    table = found.assign(**{name: value for name, value in plain.items() if name not in found})
    for name in COLUMNS:
        if name not in table:
            table[name] = ""
    for name in REQUIRED:
        if (blank := table[name].str.strip() == "").any():
            raise ValueError(f"{path}, line {_line(blank)}: {name} is blank; it is part of what the result is of")
    for name in NUMBERS:
        table[name] = _numbers(table[name], path)
    done = np.where(table["value"].notna(), DONE, "missing")
    table["status"] = table["status"].where(table["status"] != "", done)
    if unknown := sorted(set(table["status"]) - set(STATUSES)):
        raise ValueError(f'{path}: status "{unknown[0]}" is not known (known: {", ".join(STATUSES)})')
    table["higher_is_better"] = _directions(table, path)
    return ordered(typed(table[list(COLUMNS)]))


def join(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """All rows of the frames. A row that several hold stays once; raises ValueError where they disagree on it."""
    together = pd.concat(tables, ignore_index=True) if len(tables) > 1 else tables[0]
    identity, is_done = list(IDENTITY), together["status"] == DONE
    done = together[is_done].drop_duplicates([*identity, "value", "key"])
    # What one frame has and the other lacks is no disagreement.
    rest = together[~is_done].drop_duplicates(identity)
    rest = rest[~pd.MultiIndex.from_frame(rest[identity]).isin(pd.MultiIndex.from_frame(done[identity]))]
    joined = ordered(pd.concat([done, rest], ignore_index=True))
    check(joined)
    return joined


def _numbers(column: pd.Series[str], path: Path) -> pd.Series[float]:
    text = column.str.strip()
    numbers = pd.to_numeric(text.where(text != ""), errors="coerce")
    wrong = numbers.isna() & (text != "")
    if wrong.any():
        raise ValueError(f'{path}, line {_line(wrong)}: {column.name} "{text[wrong].iloc[0]}" is not a number')
    return numbers.astype("float64")


def _line(wrong: pd.Series[bool]) -> int:
    """The line of the first one; the header is line 1."""
    return int(np.flatnonzero(wrong)[0]) + 2


def _directions(table: pd.DataFrame, path: Path) -> pd.Series[bool]:
    known = bases(table["metric"]).map(HIGHER_IS_BETTER)
    given = table["higher_is_better"].str.strip().str.lower()
    found = given.map(_TRUTHS).where(given != "", known)
    if found.isna().any():
        row = table[found.isna()].iloc[0]
        raise ValueError(
            f'{path}: higher_is_better "{row["higher_is_better"]}" of metric {row["metric"]}: write True or False; '
            f"it may be left out for {', '.join(sorted(HIGHER_IS_BETTER))}"
        )
    return found.astype(bool)
