import math

import numpy as np
import pandas as pd
import pytest

from analysis.frame import CURVE, frame
from analysis.matching import matching
from analysis.maxima import MAXIMA_COLUMNS, maxima

NOISE = (-0.002, 0.0, 0.002)
DENSE = (0.90, 0.92, 0.94)


def curve(row, losses, pruner="imp", noise=NOISE, **axes):
    """Dense and a level for every (sparsity, loss): dense - loss + noise of the seed."""
    rows = [row("dense", 0.0, seed, value, **axes) for seed, value in enumerate(DENSE[: len(noise)])]
    for sparsity, loss in losses.items():
        for seed, (value, error) in enumerate(zip(DENSE, noise, strict=False)):
            rows.append(row(pruner, sparsity, seed, value - loss + error, **axes))
    return rows


def found(rows, **options):
    table = frame(rows, grid="toy")
    return maxima(table, matching(table, **options))


def test_the_bound_is_the_sparsest_level_up_to_which_all_match(row):
    # Margin 0.01, error 0.002 / sqrt(3) = 0.00115 and t(0.95, 4) = 2.132: a loss up to 0.0075 is shown to be smaller.
    rows = curve(row, {0.5: 0.0, 0.8: 0.005, 0.9: 0.02, 0.95: 0.005})
    bound = found(rows).iloc[0]
    assert (bound["bound"], bound["winning_bound"], bound["bound_censoring"]) == (0.8, 0.8, "none")
    assert (bound["n_levels"], bound["n_seeds"], bound["sparsest_tested"]) == (4, 3, 0.95)
    assert (bound["sd_pooled"], bound["df"], bound["margin"]) == (pytest.approx(0.002), 4, 0.01)
    assert bound["note"] == ""


def test_pooling_the_levels_shows_more_than_each_alone(row):
    # Alone, t(0.95, 2) = 2.920: a loss of 0.007 is 0.003 = 2.6 errors from the margin.
    rows = curve(row, {0.5: 0.0, 0.8: 0.007})
    assert matching(frame(rows, grid="toy"))["label"].tolist() == ["matching", "inconclusive"]
    assert found(rows).at[0, "bound"] == 0.8


def test_the_estimate_is_where_the_curve_crosses_the_margin(row):
    # Losses 0 and 0.02 around the margin of 0.01: half way from -log(0.5) to -log(0.125), which is -log(0.25).
    result = found(curve(row, {0.2: 0.0, 0.5: 0.0, 0.875: 0.02})).iloc[0]
    assert result["estimate"] == pytest.approx(0.75)
    assert 0.5 < result["estimate_low"] < 0.75 < result["estimate_high"] < 0.875
    assert result["censoring"] == "none"


def test_an_interval_that_leaves_the_levels_is_open_and_named(row):
    # Two seeds, noise -+0.002 at both levels: without one, the curve crosses at 0.6 or 0.4 of the way of log(3) = 1.099.
    # The limits are t(0.975, 1) = 12.7 times 0.1 * 1.099 away.
    result = found(curve(row, {0.6: 0.0, 0.7: 0.0, 0.9: 0.02}, noise=(-0.002, 0.002))).iloc[0]
    assert result["estimate"] == pytest.approx(1 - math.sqrt(0.3 * 0.1))
    assert result["censoring"] == "interval left and right: reaches beyond all levels tested"
    assert result[["estimate_low", "estimate_high"]].isna().all()


@pytest.mark.parametrize(
    ("losses", "words", "bound"),
    [
        ({0.5: 0.0, 0.9: 0.001}, "right: matches at the sparsest tested", 0.9),
        ({0.5: 0.05, 0.9: 0.001}, "left: fails at the densest tested", math.nan),
        ({0.5: 0.03}, "left: fails at the densest tested", math.nan),
        ({0.5: 0.0}, "right: matches at the sparsest tested", 0.5),
    ],
)
def test_what_lies_outside_the_levels_is_named_and_has_no_number(row, losses, words, bound):
    result = found(curve(row, losses)).iloc[0]
    np.testing.assert_equal(result["bound"], bound)
    assert result["censoring"] == words
    assert result["bound_censoring"] == words.replace("fails", "not shown to match")
    assert result[["estimate", "estimate_low", "estimate_high"]].isna().all()


def test_collapsed_levels_do_not_widen_the_pooled_deviation(row):
    rows = curve(row, {0.5: 0.0, 0.8: 0.005, 0.9: 0.02})
    wild = [row("imp", 0.99, seed, value) for seed, value in enumerate((0.1, 0.3, 0.5))]
    result, without = found(rows + wild).iloc[0], found(rows).iloc[0]
    assert result[["sd_pooled", "bound"]].tolist() == without[["sd_pooled", "bound"]].tolist()
    assert result["note"] == "sd_pooled is of 3 of 4 levels: the others are more than 10 margins below dense"


def test_a_curve_that_collapses_at_once_is_tested_at_its_densest_level(row):
    result = found(curve(row, {0.5: 0.4, 0.9: 0.6})).iloc[0]
    assert (result["df"], result["bound_censoring"]) == (2, "left: not shown to match at the densest tested")


def test_a_level_that_lacks_a_seed_ends_the_sequence_and_is_left_out_of_the_estimate(row):
    rows = curve(row, {0.5: 0.0, 0.75: 0.001, 0.875: 0.02, 0.9: 0.03})
    rows = [r for r in rows if not (r.cell.sparsity == 0.75 and r.cell.seed == 2)]
    rows.append(row("imp", 0.75, 2, status="missing", reason="not run"))
    result = found(rows).iloc[0]
    assert (result["bound"], result["bound_censoring"]) == (0.5, "stopped: the next level is incomplete")
    assert (result["n_levels"], result["censoring"]) == (3, "none")
    assert result["estimate"] == pytest.approx(0.75)
    assert result["note"] == "1 of 4 levels lack a seed and are left out"


def test_where_lower_is_better_the_curve_is_turned(row):
    options = {"metric": "ece", "higher_is_better": False}
    result = found(curve(row, {0.2: 0.0, 0.5: 0.0, 0.875: -0.02}, **options)).iloc[0]
    assert result["estimate"] == pytest.approx(0.75)
    assert not result["higher_is_better"]


def test_the_papers_rules_take_the_last_level_that_passes(row):
    result = found(curve(row, {0.5: 0.01, 0.8: -0.001, 0.9: 0.015, 0.95: 0.03})).iloc[0]
    rules = ["sparsest_by_mean", "sparsest_by_sd_dense", "sparsest_by_sd_ticket", "sparsest_by_sd_larger"]
    # Deviations: dense 0.02, tickets 0.022.
    assert result[rules].tolist() == [0.8, 0.9, 0.9, 0.9]
    assert found(curve(row, {0.5: 0.1}))[rules].isna().all(axis=None)


def test_only_tickets_on_the_pretrained_weights_win(row):
    result = found(curve(row, {0.5: 0.0, 0.9: 0.0}, "imp(rewind=never)")).iloc[0]
    assert result["bound"] == 0.9
    assert np.isnan(result["winning_bound"])


@pytest.mark.parametrize(
    ("noise", "options", "note"),
    [
        ((0.002,), {}, "one seed: no bound and no interval"),
        ((0.0, 0.0, 0.0), {}, "the differences are the same with every seed: no bound"),
        (NOISE, {"metric": "frechet_distance"}, "no margin is known for frechet_distance: state one"),
    ],
)
def test_degenerate_curves_are_explained(row, noise, options, note):
    result = found(curve(row, {0.5: 0.0, 0.9: 0.02}, noise=noise, **options)).iloc[0]
    assert result[["bound", "estimate_low", "estimate_high"]].isna().all()
    assert result["bound_censoring"] == ""
    assert note in result["note"]


def test_nothing_done_yet_is_said(row):
    rows = [row("imp", 0.5, seed, status="missing", reason="not run") for seed in range(3)]
    result = found(rows).iloc[0]
    assert result["n_levels"] == 0
    assert result[["sparsest_tested", "margin", "sd_pooled", "bound", "estimate"]].isna().all()
    assert result["note"].startswith("no level has every planned seed of ticket and dense network")


def test_an_empty_frame_gives_an_empty_table():
    assert list(found([])) == list(MAXIMA_COLUMNS)
    assert found([]).empty


def test_tables_of_different_rows_are_refused(row):
    first, second = (frame(curve(row, losses), grid="toy") for losses in ({0.5: 0.0}, {0.5: 0.0, 0.9: 0.0}))
    with pytest.raises(ValueError, match="not of these rows"):
        maxima(first, matching(second))


def test_the_order_of_the_rows_does_not_matter(row):
    rows = curve(row, {0.5: 0.0, 0.8: 0.005, 0.9: 0.02}) + curve(row, {0.5: 0.0, 0.8: 0.02}, dataset="letters")
    table = frame(rows, grid="toy")
    expected = maxima(table, matching(table))
    assert len(expected) == 2
    assert expected[list(CURVE)].equals(expected[list(CURVE)].sort_values(list(CURVE), ignore_index=True))
    for seed in range(3):
        mixed = table.sample(frac=1, random_state=seed)
        tickets = matching(mixed).sample(frac=1, random_state=seed)
        pd.testing.assert_frame_equal(maxima(mixed, tickets), expected, check_exact=True)


def simulated(row, losses, n, sd, curves, seed=0):
    """Curves of 20 rounds, `losses` below dense, with independent noise of sd in the differences; margin 0.005."""
    template = frame([row("dense", 0.0, 0, 0.9), row("imp", 0.5, 0, 0.9)], grid="toy")
    names, seeds = np.repeat(np.arange(curves), n), np.tile(np.arange(n), curves)
    noise = np.random.default_rng(seed).normal(0, sd, (len(losses), curves * n))
    repeated = template.loc[np.repeat([0, 1], curves * n)].reset_index(drop=True)
    parts = [repeated[repeated["pruner"] == "dense"].assign(dataset=names.astype(str), seed=seeds)]
    tickets = repeated[repeated["pruner"] == "imp"]
    for k, loss in enumerate(losses):
        level = {"sparsity": 1 - 0.8 ** (k + 1), "round": k + 1, "value": 0.9 - loss + noise[k]}
        parts.append(tickets.assign(dataset=names.astype(str), seed=seeds, **level))
    table = pd.concat(parts, ignore_index=True).assign(n_examples=10_000)
    tickets = matching(table)
    return tickets, maxima(table, tickets)


@pytest.mark.parametrize(("n", "sd"), [(3, 0.0015), (3, 0.006), (5, 0.003)])
def test_the_bound_seldom_claims_more_than_the_truth(row, n, sd):
    # Level 15 is the first that has lost the margin, exactly. 1,000 curves: at 0.05 the standard error is 0.007; 4 are
    # allowed above.
    losses = np.concatenate([np.zeros(10), np.linspace(0.001, 0.004, 4), np.linspace(0.005, 0.03, 6)])
    _, table = simulated(row, losses, n, sd, 1000)
    assert (table["bound"] >= 1 - 0.8**15 - 1e-9).mean() <= 0.05 + 0.028


def test_pooling_keeps_a_noisy_sequence_from_stopping_too_early(row):
    # The true bound is round 14. At every level before it the margin is 4.3 errors away, which 3 seeds alone show in
    # 80 %, so that half of the sequences have stopped after three levels; on 4 degrees of freedom it is 97 %.
    losses = np.concatenate([np.zeros(14), np.linspace(0.006, 0.03, 6)])
    tickets, table = simulated(row, losses, 3, 0.002, 300)
    alone = (
        tickets[tickets["p_ladder"] < 0.05].groupby("dataset")["round"].max().reindex(table["dataset"], fill_value=0)
    )
    assert alone.median() <= 4
    assert table["bound"].fillna(0).median() >= 1 - 0.8**13
