import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.frame import frame
from analysis.ranking import OMNIBUS_COLUMNS, RANK_PAIRS_COLUMNS, RANKS_COLUMNS, ranking
from analysis.statistics.ranks import friedman

# Four data sets; ranks of dense, imp, omp: 1 2 3, 1 2 3, 2 1 3, 1 3 2.
TOY = {"a": (0.9, 0.8, 0.7), "b": (0.8, 0.7, 0.6), "c": (0.6, 0.7, 0.5), "d": (0.9, 0.4, 0.5)}
PRUNERS = ("dense", "imp", "omp")


@pytest.fixture
def table(row):
    def build(scores, pruners=PRUNERS, *, missing=(), sparsity=0.9, seeds=2, **common):
        """A frame with the mean score of each data set and pruner; (data set, pruner) in `missing` lack a seed."""
        rows = []
        for (dataset, values), seed in itertools.product(scores.items(), range(seeds)):
            for pruner, value in zip(pruners, values, strict=True):
                failed = (dataset, pruner) in missing and seed == 0
                shown = (
                    {"value": None, "status": "failed"} if failed else {"value": value + 0.01 * (2 * seed - seeds + 1)}
                )
                rows.append(
                    row(pruner, 0.0 if pruner == "dense" else sparsity, seed, dataset=dataset, **(common | shown))
                )
        return frame(rows, grid="toy")

    return build


def normal_scores(n, k, seed=0, shift=0.5):
    values = np.random.default_rng(seed).normal(size=(n, k)) + shift * np.arange(k)
    return {f"d{i:02}": tuple(row) for i, row in enumerate(values)}


def test_ranks_and_omnibus_by_hand(table):
    found = ranking(table(TOY))
    assert found.ranks["method"].tolist() == ["dense", "imp", "omp"]
    # Sums 5, 8, 11 over 4 data sets.
    assert found.ranks["mean_rank"].tolist() == [1.25, 2.0, 2.75]
    omnibus = found.omnibus.iloc[0]
    assert (omnibus["methods"], omnibus["n_methods"], omnibus["n_datasets"], omnibus["dropped"]) == (
        "dense; imp; omp",
        3,
        4,
        "",
    )
    # chi2 = 12 / (4 * 3 * 4) * (25 + 64 + 121) - 3 * 4 * 4 = 4.5; F = 3 * 4.5 / (4 * 2 - 4.5).
    assert (omnibus["chi2"], omnibus["f"], omnibus["df1"], omnibus["df2"]) == pytest.approx((4.5, 13.5 / 3.5, 2, 6))
    assert omnibus["p_chi2"] == pytest.approx(stats.chi2.sf(4.5, 2))
    assert omnibus["p"] == pytest.approx(stats.f.sf(13.5 / 3.5, 2, 6))


def test_the_interval_of_a_mean_rank_is_student_t_within_the_ranks_there_are(table):
    ranks = ranking(table(TOY)).ranks.set_index("method")
    low, high = stats.t.interval(0.95, 3, loc=1.25, scale=stats.sem([1, 1, 2, 1]))
    assert low < 1
    assert (ranks.loc["dense", "rank_low"], ranks.loc["dense", "rank_high"]) == pytest.approx((1, high))
    low, high = stats.t.interval(0.95, 3, loc=2.75, scale=stats.sem([3, 3, 3, 2]))
    assert high > 3
    assert (ranks.loc["omp", "rank_low"], ranks.loc["omp", "rank_high"]) == pytest.approx((low, 3))


def test_where_lower_is_better_the_ranks_turn(table):
    turned = ranking(table(TOY, metric="nll", higher_is_better=False))
    assert turned.ranks["mean_rank"].tolist() == [2.75, 2.0, 1.25]
    pair = turned.rank_pairs.iloc[0]
    # nll margin: 2 % of dense. imp - dense: -.1, -.1, +.1, -.5, the lower the better.
    assert (pair["method_a"], pair["method_b"], pair["diff_mean"]) == ("dense", "imp", pytest.approx(-0.15))
    assert (pair["wins"], pair["ties"], pair["losses"]) == (3, 0, 1)


def test_ties_share_their_mean_rank_in_spite_of_rounding(table):
    # 0.1 + 0.2 is not 0.3 in floats.
    found = ranking(table({"a": (0.3, 0.1 + 0.2, 0.5), "b": (0.3, 0.4, 0.5), "c": (0.3, 0.4, 0.5)}))
    np.testing.assert_allclose(found.ranks["mean_rank"], [8.5 / 3, 6.5 / 3, 1])


def test_pairs_are_wilcoxon_and_holm_over_data_sets(table):
    scores = normal_scores(9, 4)
    found = ranking(table(scores, ("dense", "imp", "omp", "random"))).rank_pairs
    values = np.array(list(scores.values()))
    expected = [stats.wilcoxon(values[:, j] - values[:, i]).pvalue for i, j in itertools.combinations(range(4), 2)]
    np.testing.assert_allclose(found["p"], expected, rtol=1e-10)
    np.testing.assert_allclose(found["p_holm"], multipletests(expected, method="holm")[1], rtol=1e-10)
    assert (found["n"] == 9).all()
    assert (found["wins"] + found["ties"] + found["losses"] == 9).all()


def test_groups_join_what_the_pairs_do_not_tell_apart(table):
    found = ranking(table(normal_scores(12, 5, shift=0.8), ("dense", "imp", "omp", "random", "snip")))
    letters = found.ranks.set_index("method")["group"]
    for pair in found.rank_pairs.itertuples():
        shared = bool(set(letters[pair.method_a]) & set(letters[pair.method_b]))
        assert shared == (pair.p_holm >= 0.05)
    assert letters.nunique() > 2
    # The best method has the first letter.
    assert "a" in found.ranks.sort_values("mean_rank")["group"].iloc[0]


def test_a_data_set_without_all_methods_is_dropped_from_ranks_and_named_but_serves_its_pairs(table):
    found = ranking(table(TOY, missing={("b", "omp")}))
    omnibus = found.omnibus.iloc[0]
    assert (omnibus["n_datasets"], omnibus["dropped"]) == (3, "b")
    # Without b: dense 1 2 1, imp 2 1 3, omp 3 3 2.
    assert found.ranks["mean_rank"].tolist() == pytest.approx([4 / 3, 2, 8 / 3])
    assert found.ranks["n_datasets"].tolist() == [3, 3, 3]
    assert found.rank_pairs["n"].tolist() == [4, 3, 3]
    whole = np.array([TOY[name] for name in "acd"])
    assert omnibus["chi2"] == pytest.approx(friedman(whole).chi2)


def test_a_method_that_is_complete_nowhere_is_left_out_and_named(table):
    found = ranking(table(TOY, missing={(dataset, "omp") for dataset in TOY}))
    omnibus, ranks = found.omnibus.iloc[0], found.ranks.set_index("method")
    assert (omnibus["methods"], omnibus["n_datasets"], omnibus["dropped"]) == ("dense; imp", 4, "")
    assert "complete on no data set: omp" in omnibus["note"]
    assert ranks["mean_rank"].tolist()[:2] == [1.25, 1.75]
    assert np.isnan(ranks.loc["omp", "mean_rank"])
    assert (ranks.loc["omp", "group"], ranks.loc["omp", "note"]) == ("", "complete on no data set")
    pairs = found.rank_pairs.set_index(["method_a", "method_b"])
    assert pairs.loc[("dense", "omp"), "note"] == "no data set has both"


def test_dense_networks_are_methods_at_every_sparsity(table):
    both = pd.concat([table(TOY), table({name: row[1:] for name, row in TOY.items()}, PRUNERS[1:], sparsity=0.5)])
    found = ranking(both)
    assert found.omnibus["sparsity"].tolist() == [0.5, 0.9]
    assert found.omnibus["methods"].tolist() == ["dense; imp; omp"] * 2
    # Nothing was pruned: the dense networks are what there is to rank.
    dense = pd.concat(
        [table({n: r[:1] for n, r in TOY.items()}, ("dense",), pretraining=p) for p in ("supervised", "moco")]
    )
    alone = ranking(dense).omnibus
    assert (alone["sparsity"].tolist(), alone["methods"].tolist()) == ([0.0], ["moco; supervised"])


def test_pretraining_seeds_are_averaged_and_what_varies_names_the_method(table):
    higher = {name: tuple(value + 0.02 for value in values) for name, values in TOY.items()}
    merged = ranking(pd.concat([table(TOY), table(higher, pretraining_seed=1)]))
    assert merged.rank_pairs["diff_mean"].tolist() == pytest.approx(
        ranking(table(TOY)).rank_pairs["diff_mean"].tolist()
    )
    named = ranking(pd.concat([table(TOY), table(higher, pretraining="moco")])).ranks["method"]
    assert named.tolist() == [
        "moco, dense",
        "moco, imp",
        "moco, omp",
        "supervised, dense",
        "supervised, imp",
        "supervised, omp",
    ]
    one = ranking(table({name: values[1:2] for name, values in TOY.items()}, ("imp",)))
    assert one.ranks["method"].tolist() == ["supervised, imp"]
    assert one.ranks["note"].tolist() == ["ranks need 2 methods and 2 data sets, here are 1 and 4"]


def test_one_data_set_gives_blanks_that_say_why(table):
    found = ranking(table({"a": TOY["a"]}))
    assert found.omnibus[["chi2", "p_chi2", "f", "df1", "df2", "p"]].isna().all(axis=None)
    assert found.omnibus["note"].tolist() == ["Friedman's test needs 3 methods and 2 data sets, here are 3 and 1"]
    assert found.ranks[["mean_rank", "rank_low", "rank_high"]].isna().all(axis=None)
    assert (found.ranks["group"] == "").all()
    assert found.rank_pairs[["p", "p_holm"]].isna().all(axis=None)
    assert (found.rank_pairs["note"] == "one data set: no test").all()


def test_two_methods_have_ranks_but_no_omnibus(table):
    found = ranking(table({name: values[:2] for name, values in TOY.items()}, PRUNERS[:2]))
    assert np.isnan(found.omnibus["chi2"].iloc[0])
    assert found.ranks["mean_rank"].tolist() == [1.25, 1.75]


def test_equal_and_unanimous_methods_are_explained(table):
    equal = ranking(table(dict.fromkeys("abc", (0.5, 0.5, 0.5))))
    assert "all methods are equal on every data set" in equal.omnibus["note"].iloc[0]
    assert equal.ranks["mean_rank"].tolist() == [2, 2, 2]
    assert equal.ranks["group"].tolist() == ["a", "a", "a"]
    assert equal.rank_pairs["note"].tolist() == ["no difference in any data set: no test"] * 3
    unanimous = ranking(table(dict.fromkeys("abc", (0.7, 0.6, 0.5))))
    assert "F is infinite" in unanimous.omnibus["note"].iloc[0]
    assert np.isnan(unanimous.omnibus["p"].iloc[0])
    assert unanimous.ranks["note"].tolist() == ["the same rank on every data set: no interval"] * 3


def test_data_sets_too_few_to_tell_any_pair_apart_are_announced(table):
    found = ranking(table(TOY))
    # 2^(1 - 4) = .125, times 3 pairs.
    assert found.omnibus["note"].tolist() == [
        "no pair can be told apart: with 4 data sets and 3 pairs, p after Holm is at least 0.375"
    ]
    assert (found.rank_pairs["note"] == "Wilcoxon p cannot be below 0.125 with 4 data sets").all()
    assert found.ranks["group"].tolist() == ["a", "a", "a"]


def test_an_unknown_margin_leaves_wins_blank(table):
    found = ranking(table(TOY, metric="latency")).rank_pairs
    assert found[["wins", "ties", "losses"]].isna().all(axis=None)
    assert found["note"].str.contains("no margin is known").all()


def test_the_order_of_rows_does_not_matter(table):
    built = table(normal_scores(7, 4), ("dense", "imp", "omp", "random"), missing={("d03", "imp")})
    for one, other in zip(ranking(built), ranking(built.sample(frac=1, random_state=0)), strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_columns_also_of_an_empty_frame(table):
    for found in (ranking(table(TOY)), ranking(table({}))):
        assert [list(part) for part in found] == [list(OMNIBUS_COLUMNS), list(RANKS_COLUMNS), list(RANK_PAIRS_COLUMNS)]
    assert all(part.empty for part in ranking(table({})))
