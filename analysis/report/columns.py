"""The columns of each table that the report shows, in reading order; the CSV files have all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.report.views import Column


def _columns(kind: str, *names: str, **headings: str) -> tuple[Column, ...]:
    named = {**{name: name.replace("_", " ") for name in names}, **headings}
    return tuple(Column(name=name, heading=heading, kind=kind) for name, heading in named.items())


def _interval(low: str, high: str, heading: str = "95 % interval") -> Column:
    return Column(name=low, heading=heading, kind="interval", high=high)


_TASK = _columns("text", "grid", "dataset", "metric")
_HOW = (*_columns("text", "transfer", "objective"), *_columns("axis", "fraction"))
_NETWORK = _columns("text", "architecture", "pretraining", "source", "pruner", "granularity")
_SPARSITY = _columns("axis", "sparsity")
_REST = (*_columns("axis", "pretraining_seed"), *_columns("text", "selection"))
_NOTE = _columns("text", "note")
_DIFFERENCE = (*_columns("signed", diff_mean="difference"), _interval("diff_low", "diff_high"))
_ENTRY = (*_TASK, *_NETWORK, *_SPARSITY, *_HOW, *_REST)
_SETTING = (*_columns("text", "grid", "metric", "selection", "transfer", "objective"), *_columns("axis", "fraction"))

COLUMNS: Mapping[str, Sequence[Column]] = {
    "leaderboard": (
        *_columns("integer", "rank"),
        *_ENTRY,
        *_columns("decimal", "mean"),
        _interval("ci_low", "ci_high"),
        *_columns("integer", n="n", n_planned="planned"),
        *_columns("signed", diff_mean="to dense"),
        _interval("diff_low", "diff_high", "95 % interval of it"),
        *_columns("label", label="against dense"),
        *_columns("integer", rank_in_setting="rank in setting", rank_low="at best", rank_high="at worst"),
        *_columns("integer", kept="weights kept", macs="MACs"),
        *_columns("hours", device_hours="device-hours"),
        *_columns("text", "device", "flags"),
    ),
    "overall": (
        *_columns("integer", "rank"),
        *_SETTING,
        *_NETWORK,
        *_SPARSITY,
        *_columns("axis", "pretraining_seed"),
        *_columns("decimal", mean_rank="mean rank"),
        _interval("mean_rank_low", "mean_rank_high"),
        *_columns("integer", n_datasets="data sets", n_datasets_planned="planned"),
        *_columns("decimal", "mean"),
        *_columns("signed", diff_mean="to dense"),
        *_NOTE,
    ),
    "maxima": (
        *_TASK,
        *_NETWORK,
        *_HOW,
        *_REST,
        *_columns("decimal", "margin"),
        *_columns("axis", bound="matching up to", estimate="estimate"),
        _interval("estimate_low", "estimate_high"),
        *_columns("axis", sparsest_by_mean="by mean", sparsest_by_sd_larger="within 1 sd", sparsest_tested="tested to"),
        *_columns("integer", n_seeds="n"),
        *_columns("text", bound_censoring="limit of the grid", censoring="limit of the estimate"),
        *_NOTE,
    ),
    "matching": (
        *_ENTRY,
        *_columns("label", "label"),
        *_DIFFERENCE,
        *_columns("decimal", "margin"),
        *_columns("p", "p", p_ladder="p along the ladder"),
        *_columns("integer", n_pairs="n"),
        *_columns("flag", "winning"),
        *_NOTE,
    ),
    "double_win": (
        *_columns("text", "grid", "dataset", robust_metric="robust metric"),
        *_NETWORK,
        *_SPARSITY,
        *_columns("text", "transfer"),
        *_columns("axis", "fraction", "pretraining_seed"),
        *_columns("text", "selection"),
        *_columns("label", standard_sa="SA, standard", standard_ra="RA, standard"),
        *_columns("label", adversarial_sa="SA, adversarial", adversarial_ra="RA, adversarial"),
        *_columns("flag", double_win="double win", double_win_by_mean="by mean"),
        *_columns("p", "p"),
        *_NOTE,
    ),
    "universal": (
        *_columns("text", "grid"),
        *_NETWORK,
        *_SPARSITY,
        *_HOW,
        *_REST,
        *_columns("text", "tasks"),
        *_columns("integer", n_matching="matching", n_tasks="of tasks"),
        *_columns("flag", universal="universal", universal_by_mean="by mean"),
        *_columns("p", "p"),
        *_NOTE,
    ),
    "comparisons": (
        *_columns("text", "axis", level_a="reference", level_b="against it", unit="over"),
        *_TASK,
        *_HOW,
        *_DIFFERENCE,
        *_columns("integer", "n"),
        *_columns("p", p_holm="p (Holm)"),
        *_columns("text", "favours"),
        *_columns("text", "pruner"),
        *_SPARSITY,
        *_columns("text", "pretraining", "architecture", "source", "granularity"),
        *_REST,
        *_columns("p", p_t="p (t)", p_wilcoxon="p (Wilcoxon)"),
        *_columns("decimal", effect_size="effect size", mde="least detectable"),
        *_columns("integer", "wins", "ties", "losses"),
        *_NOTE,
    ),
    "omnibus": (
        *_SETTING,
        *_SPARSITY,
        *_columns("integer", n_methods="methods", n_datasets="data sets"),
        *_columns("decimal", f="F"),
        *_columns("p", p="p", p_chi2="p (chi squared)"),
        *_columns("text", "dropped"),
        *_NOTE,
    ),
    "ranks": (
        *_SETTING,
        *_SPARSITY,
        *_columns("text", "method"),
        *_columns("decimal", mean_rank="mean rank"),
        _interval("rank_low", "rank_high"),
        *_columns("text", "group"),
        *_columns("integer", n_datasets="data sets"),
        *_NOTE,
    ),
    "aggregates": (
        *_SETTING,
        *_SPARSITY,
        *_columns("text", "method"),
        *_columns("decimal", "mean"),
        _interval("mean_low", "mean_high"),
        *_columns("decimal", iqm="interquartile mean"),
        _interval("iqm_low", "iqm_high"),
        *_columns("decimal", worst_quartile="worst quartile"),
        _interval("worst_quartile_low", "worst_quartile_high"),
        *_columns("integer", n_tasks="data sets", n_runs="runs"),
        *_NOTE,
    ),
    "published": (
        *_columns("text", "study", "item", "grid", "dataset", "metric", "architecture", "pretraining", "pruner"),
        *_SPARSITY,
        *_HOW,
        *_columns("decimal", value="published", measured_mean="measured"),
        *_columns("integer", measured_n="n"),
        *_columns("signed", "difference"),
        *_columns("decimal", "uncertainty"),
        *_columns("flag", inside="inside it"),
        *_columns("text", "reference"),
        *_NOTE,
    ),
    "gap_regression": (
        *_columns("text", "grid", "architecture", "source", "natural", "robust", "pruner"),
        *_SPARSITY,
        *_HOW,
        *_columns("text", "metric", "selection", gap_metric="gap"),
        *_columns("integer", n_datasets="data sets"),
        *_columns("signed", "slope"),
        _interval("slope_low", "slope_high"),
        *_columns("p", "p", p_spearman="p (Spearman)"),
        *_columns("signed", spearman="rank correlation"),
        *_NOTE,
    ),
    "missing": (
        *_ENTRY,
        *_columns("axis", "seed"),
        *_columns("label", "status"),
        *_columns("text", "reason", "key"),
    ),
}
