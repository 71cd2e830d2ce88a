import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from analysis.compare import COMPARED, COMPARISONS_COLUMNS, comparisons
from analysis.frame import frame
from analysis.statistics.bayes import bayesian_signed_rank

SETTING, DATASET, ALL = "setting", "data set", "all data sets"


@pytest.fixture
def table(row):
    def build(*cells, **common):
        """A frame of (options, values of seeds 0, 1, ...); None is a planned cell that failed."""
        rows = []
        for options, values in cells:
            for seed, value in enumerate(values):
                status = "done" if value is not None else "failed"
                rows.append(row(seed=seed, value=value, status=status, **(common | options)))
        return frame(rows, grid="toy")

    return build


@pytest.fixture
def random_table(table):
    """Three pruners and two pre-trainings at two sparsities on seven data sets, two metrics, three seeds."""
    generator = np.random.default_rng(0)
    cells = []
    for metric, higher in (("accuracy", True), ("nll", False)):
        for dataset in ("a", "b", "c", "d", "e", "f", "g"):
            for pretraining in ("pgd_adversarial", "supervised"):
                common = {"metric": metric, "higher_is_better": higher, "dataset": dataset, "pretraining": pretraining}
                cells.append((common | {"pruner": "dense", "sparsity": 0.0}, generator.normal(0.8, 0.05, 3)))
                for pruner in ("imp", "omp", "random"):
                    for sparsity in (0.5, 0.9):
                        options = common | {"pruner": pruner, "sparsity": sparsity}
                        cells.append((options, generator.normal(0.7 - 0.1 * (pruner == "random"), 0.05, 3)))
    return table(*cells)


def of_kind(found, kind, **keys):
    """Rows of one kind of family, with these values."""
    chosen = found["family"].str.endswith(f", {kind}")
    for name, value in keys.items():
        chosen &= found[name] == value
    return found[chosen]


def only(found, kind, **keys):
    chosen = of_kind(found, kind, **keys)
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_a_setting_is_compared_over_its_seeds_by_hand(table):
    found = only(
        comparisons(
            table(
                ({"pretraining": "supervised"}, [0.80, 0.81, 0.82]),
                ({"pretraining": "pgd_adversarial"}, [0.81, 0.83, 0.85]),
            )
        ),
        SETTING,
    )
    assert (found["axis"], found["level_a"], found["level_b"]) == ("pretraining", "supervised", "pgd_adversarial")
    assert (found["unit"], found["pruner"], found["sparsity"], found["pretraining"]) == ("seed", "omp", "0.9", "")
    assert (found["mean_a"], found["mean_b"]) == pytest.approx((0.81, 0.83))
    # Differences .01, .02, .03: sd .01; t(.975, 2) = 4.30265, over sqrt(3): half-width .0248414.
    assert found["n"] == 3
    assert (found["diff_mean"], found["diff_low"], found["diff_high"]) == pytest.approx(
        (0.02, -0.004841, 0.044841), abs=1e-6
    )
    assert (found["sd_diff"], found["effect_size"], found["hodges_lehmann"]) == pytest.approx((0.01, 2, 0.02))
    assert found["p_t"] == pytest.approx(stats.ttest_1samp([1, 2, 3], 0).pvalue)
    assert (found["p_holm"], found["family_size"], found["favours"]) == (found["p_t"], 1, "")
    # 500 test images: the margin of accuracy is .01, and a difference of .01 is a tie.
    assert (found["margin"], found["wins"], found["ties"], found["losses"]) == (0.01, 2, 1, 0)
    assert (found["rank_biserial"], found["prob_improvement"]) == (1, 1)
    # 3.26 deviations at n = 3, level .05 and 80 % power.
    assert found["mde"] == pytest.approx(0.0326, abs=5e-5)
    assert np.isnan([found["p_wilcoxon"], found["bayes_a"], found["bayes_equal"], found["bayes_b"]]).all()


def test_a_data_set_averages_its_matched_cells_seed_by_seed(table):
    found = comparisons(
        table(
            ({"pruner": "omp", "sparsity": 0.5}, [0.80, 0.90]),
            ({"pruner": "imp", "sparsity": 0.5}, [0.90, 0.90]),
            ({"pruner": "omp", "sparsity": 0.9}, [0.60, 0.70]),
            ({"pruner": "imp", "sparsity": 0.9}, [0.70, 0.80]),
            # No partner: matched with nothing.
            ({"pruner": "imp", "sparsity": 0.95}, [0.10, 0.10]),
        )
    )
    both = only(found, DATASET)
    assert (both["level_a"], both["level_b"], both["sparsity"], both["dataset"]) == ("omp", "imp", "", "digits")
    # omp: .70 and .80 by seed, imp: .80 and .85; differences .10 and .05.
    assert (both["mean_a"], both["mean_b"], both["diff_mean"]) == pytest.approx((0.75, 0.825, 0.075))
    assert both["sd_diff"] == pytest.approx(np.std([0.10, 0.05], ddof=1))
    by_sparsity = of_kind(found, "data set by sparsity")
    assert by_sparsity["sparsity"].tolist() == ["0.5", "0.9"]
    assert by_sparsity["diff_mean"].tolist() == pytest.approx([0.05, 0.10])
    assert of_kind(found, "data set by pruner").empty


def test_over_data_sets_the_unit_is_the_data_set(random_table):
    found = only(comparisons(random_table), ALL, axis="pretraining", metric="accuracy")
    tickets = random_table[(random_table["metric"] == "accuracy") & random_table["pruner"].isin(["imp", "omp"])]
    means = tickets.groupby(["dataset", "pretraining"])["value"].mean().unstack()
    diff = (means["pgd_adversarial"] - means["supervised"]).to_numpy()
    assert (found["unit"], found["n"], found["dataset"]) == ("dataset", 7, "")
    assert found["diff_mean"] == pytest.approx(diff.mean())
    assert found["p_wilcoxon"] == pytest.approx(stats.wilcoxon(diff).pvalue, abs=1e-12)
    assert found["p_t"] == pytest.approx(stats.ttest_1samp(diff, 0).pvalue, abs=1e-10)
    walsh = np.sort(np.add.outer(diff, diff)[np.triu_indices(7)] / 2)
    # P(rank sum of 7 <= 2) = 3 / 128 = .023 < .025 < 5 / 128: the limits are the third Walsh averages from either end.
    assert (found["hodges_lehmann"], found["hl_low"], found["hl_high"]) == pytest.approx(
        (np.median(walsh), walsh[2], walsh[-3])
    )
    posterior = bayesian_signed_rank(diff[None], np.array([0.01]))
    assert (found["bayes_a"], found["bayes_equal"], found["bayes_b"]) == pytest.approx(
        [float(part[0]) for part in posterior], abs=1e-4
    )


def test_averages_over_pruners_leave_random_masks_out_and_rows_of_one_pruner_keep_them(random_table):
    found = comparisons(random_table, axes=["pretraining"])
    per_pruner = of_kind(found, "data set by pruner", dataset="a", metric="accuracy").set_index("pruner")
    assert set(per_pruner.index) == {"imp", "omp", "random"}
    pooled = only(found, "data set", dataset="a", metric="accuracy")
    assert pooled["mean_b"] == pytest.approx(per_pruner.loc[["imp", "omp"], "mean_b"].mean(), abs=1e-12)


def test_probability_of_improvement_over_data_sets_is_the_mean_over_all_pairs_of_seeds(random_table):
    found = only(comparisons(random_table), ALL, axis="pretraining", metric="nll")
    tickets = random_table[(random_table["metric"] == "nll") & random_table["pruner"].isin(["imp", "omp"])]
    shares = []
    for _, of_dataset in tickets.groupby("dataset"):
        seeds = of_dataset.groupby(["pretraining", "seed"])["value"].mean()
        pairs = [(a, b) for a in seeds["supervised"] for b in seeds["pgd_adversarial"]]
        shares.append(np.mean([b < a for a, b in pairs]))
    assert found["prob_improvement"] == pytest.approx(np.mean(shares), abs=1e-12)


@pytest.mark.parametrize("kind", [SETTING, DATASET, f"{DATASET} by pruner", f"{ALL} by sparsity"])
def test_holm_corrects_within_axis_metric_and_kind(random_table, kind):
    found = of_kind(comparisons(random_table), kind)
    assert set(found["axis"]) <= {"pretraining", "pruner"}
    for (axis, metric), family in found.groupby(["axis", "metric"]):
        assert family["family"].nunique() == 1, (axis, metric)
        tested = "p_wilcoxon" if kind.startswith(ALL) else "p_t"
        np.testing.assert_allclose(family["p_holm"], multipletests(family[tested], method="holm")[1], rtol=1e-12)
        assert (family["family_size"] == len(family)).all()


def test_the_better_level_is_favoured_where_lower_is_better(table):
    # a to h: b has a lower nll on all of eight data sets, p = 2 / 2^8.
    cells = []
    for i, dataset in enumerate("abcdefgh"):
        cells.append(({"pruner": "omp", "dataset": dataset}, [0.50, 0.52]))
        cells.append(({"pruner": "imp", "dataset": dataset}, [0.40 - 0.01 * i, 0.42 - 0.01 * i]))
    found = comparisons(table(*cells, metric="nll", higher_is_better=False), margins={"nll": 0.05})
    over = only(found, ALL)
    assert (over["p_holm"], over["favours"], over["wins"], over["losses"]) == (2 / 256, "imp", 8, 0)
    assert over["diff_mean"] < 0 < over["bayes_b"]
    assert (over["prob_improvement"], over["rank_biserial"]) == (1, -1)
    # The other way round, by seeds: equal shifts but for .001.
    other = table(
        ({"pruner": "omp"}, [0.400, 0.401, 0.402]),
        ({"pruner": "imp"}, [0.500, 0.502, 0.501]),
        metric="nll",
        higher_is_better=False,
    )
    assert only(comparisons(other), SETTING)["favours"] == "omp"


def test_dense_networks_are_compared_by_setting_only(table):
    levels = ("supervised", "pgd_adversarial")
    found = comparisons(
        table(*(({"pretraining": level, "pruner": "dense", "sparsity": 0.0}, [0.9, 0.8]) for level in levels))
    )
    assert found["family"].tolist() == ["toy, pretraining, accuracy, last, setting"]
    assert found["pruner"].tolist() == ["dense"]


@pytest.mark.parametrize(
    ("axis", "levels"),
    [
        ("pretraining", ["supervised", "torchvision", "moco", "pgd_adversarial"]),
        ("pruner", ["random", "omp(scope=layer)", "grasp", "imp"]),
        ("granularity", ["unstructured", "channel"]),
        ("objective", ["standard", "adversarial"]),
        ("fraction", [1.0, 0.5, 0.1]),
        ("transfer", ["finetune", "linear"]),
    ],
)
def test_the_reference_level_comes_first(table, axis, levels):
    found = of_kind(comparisons(table(*(({axis: level}, [0.5, 0.6]) for level in reversed(levels)))), SETTING)
    named = [f"{level:g}" if isinstance(level, float) else level for level in levels]
    order = {name: i for i, name in enumerate(named)}
    assert len(found) == len(levels) * (len(levels) - 1) / 2
    assert all(order[a] < order[b] for a, b in zip(found["level_a"], found["level_b"], strict=True))


def test_a_cell_that_is_not_done_at_every_seed_is_left_out_of_means_and_named(table):
    found = comparisons(
        table(
            ({"pruner": "omp", "sparsity": 0.5}, [0.80, 0.80, None]),
            ({"pruner": "imp", "sparsity": 0.5}, [0.90, 0.95, None]),
            ({"pruner": "omp", "sparsity": 0.9}, [0.10, 0.10, None]),
            ({"pruner": "imp", "sparsity": 0.9}, [0.20, None, None]),
        )
    )
    both = only(found, DATASET)
    assert (both["n"], both["mean_a"], both["mean_b"]) == (2, 0.80, pytest.approx(0.925))
    assert "2 of 3 planned seeds" in both["note"]
    assert "1 of 2 matched cells left out" in both["note"]
    single = only(found, SETTING, sparsity="0.9")
    assert (single["n"], single["diff_mean"]) == (1, pytest.approx(0.1))
    assert np.isnan(
        single[["diff_low", "p_t", "p_holm", "mde", "prob_improvement", "rank_biserial"]].astype(float)
    ).all()
    assert "one seed: nothing can be inferred" in single["note"]
    # Not a member of the family: one test remains of the two settings.
    assert single["family_size"] == 1


def test_nothing_done_is_a_row_of_blanks_that_says_so(table):
    found = comparisons(table(({"pruner": "omp"}, [0.5, 0.6]), ({"pruner": "imp"}, [None, None])))
    assert found["unit"].value_counts().to_dict() == {"seed": 3, "dataset": 2}
    assert (found["n"] == 0).all()
    numbers = found.select_dtypes("number").drop(columns=["n", "family_size"])
    assert numbers.drop(columns="margin").isna().all(axis=None)
    assert (found["favours"] == "").all()
    assert found["note"].str.contains("no matched cell is done on both sides").all()


def test_a_missing_data_set_is_counted(table):
    cells = [
        ({"pruner": p, "dataset": d}, [0.5, 0.6] if (p, d) != ("imp", "b") else [None] * 2)
        for p in ("omp", "imp")
        for d in "abc"
    ]
    over = only(comparisons(table(*cells)), ALL)
    assert over["n"] == 2
    assert "2 of 3 planned data sets" in over["note"]


def test_few_data_sets_say_what_they_cannot_show(table):
    cells = [
        ({"pruner": p, "dataset": d}, [0.5 + 0.1 * i + 0.01 * j])
        for j, p in enumerate(("omp", "imp"))
        for i, d in enumerate("abc")
    ]
    over = only(comparisons(table(*cells)), ALL)
    # The same difference on three data sets: 2 / 2^3, the smallest p there is.
    assert (over["n"], over["p_wilcoxon"], over["favours"]) == (3, 0.25, "")
    for sentence in (
        "Wilcoxon p cannot be below 0.25 with 3 data sets, and the first of 1 tests needs 0.05: no mde",
        "unstable below 8 data sets",
        "the same difference in every data set: no t test",
        "no Hodges-Lehmann interval below 6 pairs",
    ):
        assert sentence in over["note"]
    assert np.isnan([over["p_t"], over["diff_low"], over["mde"], over["hl_low"]]).all()
    assert over["bayes_a"] + over["bayes_equal"] + over["bayes_b"] == pytest.approx(1)


def test_no_effect_is_called_detectable_that_the_corrected_test_cannot_detect(random_table):
    # Seven data sets: p >= 1 / 64 = .0156. Three pairs of pruners need .05 / 3 = .0167, six by sparsity .0083.
    found = comparisons(random_table)
    chosen = found[(found["unit"] == "dataset") & (found["axis"] == "pruner")]
    assert chosen["mde"].notna().tolist() == (chosen["family_size"] == 3).tolist()
    assert set(chosen["family_size"]) == {3, 6}
    blank = chosen[chosen["family_size"] == 6]
    text = "Wilcoxon p cannot be below 0.0156 with 7 data sets, and the first of 6 tests needs 0.0083: no mde"
    assert blank["note"].str.contains(text, regex=False).all()
    assert of_kind(found, f"{DATASET} by sparsity")["mde"].notna().all()


def test_one_data_set_allows_no_inference_over_data_sets(table):
    over = only(comparisons(table(({"pruner": "omp"}, [0.5, 0.6]), ({"pruner": "imp"}, [0.7, 0.9]))), ALL)
    assert over["n"] == 1
    assert np.isnan(
        over[["p_wilcoxon", "p_t", "p_holm", "bayes_b", "prob_improvement", "rank_biserial", "hodges_lehmann"]].astype(
            float
        )
    ).all()
    assert over["note"] == "one data set: nothing can be inferred; Bayesian test needs 3 data sets"


def test_identical_levels_have_no_test(table):
    cells = [({"pruner": p, "dataset": d}, [0.5, 0.6, 0.7]) for p in ("omp", "imp") for d in "abcd"]
    over = only(comparisons(table(*cells)), ALL)
    assert np.isnan([over["p_wilcoxon"], over["p_t"], over["rank_biserial"]]).all()
    assert (over["ties"], over["prob_improvement"], over["bayes_equal"]) == (4, (0.5 * 3 + 3) / 9, 1)
    assert "no difference in any data set" in over["note"]


def test_an_unknown_margin_leaves_wins_and_posterior_blank(table):
    cells = [({"pruner": p, "dataset": d}, [0.5 + 0.1 * j, 0.6]) for j, p in enumerate(("omp", "imp")) for d in "abcd"]
    built = table(*cells, metric="latency")
    over = only(comparisons(built), ALL)
    assert over[["margin", "wins", "ties", "losses", "bayes_a", "bayes_equal", "bayes_b"]].isna().all()
    assert "no margin is known for this metric" in over["note"]
    assert only(comparisons(built, margins={"latency": 0.01}), ALL)["wins"] == 4


def test_the_order_of_rows_does_not_matter(random_table):
    shuffled = random_table.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(comparisons(random_table), comparisons(shuffled))


def test_columns_and_unique_sorted_keys(random_table):
    found = comparisons(random_table)
    assert list(found) == list(COMPARISONS_COLUMNS)
    keys = list(COMPARISONS_COLUMNS)[:18]
    assert not found.duplicated(keys).any()
    pd.testing.assert_frame_equal(found[keys], found[keys].sort_values(keys, ignore_index=True))


def test_an_empty_frame_and_one_without_pairs_give_an_empty_table(table):
    assert list(comparisons(table())) == list(COMPARISONS_COLUMNS)
    assert comparisons(table()).empty
    alone = table(({"pruner": "dense", "sparsity": 0.0}, [0.9]), ({"pruner": "imp"}, [0.8]))
    assert comparisons(alone).empty


def test_axes_select_and_unknown_ones_are_named(random_table):
    assert set(comparisons(random_table, axes=["pruner"])["axis"]) == {"pruner"}
    with pytest.raises(ValueError, match=rf"seed cannot be compared \(known: {COMPARED[0]}"):
        comparisons(random_table, axes=["seed"])


def test_two_results_of_one_cell_are_refused(random_table):
    with pytest.raises(ValueError, match="two results of one cell"):
        comparisons(pd.concat([random_table, random_table.iloc[:1]]))


def test_false_claims_within_a_family_stay_below_five_percent(table):
    # Three equal pruners on eight data sets, 400 times (as 400 metrics, each a family). Holm's first step needs
    # p < .05 / 3, so p <= 4 / 256 by Wilcoxon: at most 3 * 4 / 256 = .047 of the families claim anything, 18.75 with
    # standard deviation 4.2; 3.5 of them are allowed above. Dependent pairs make it fewer, but not none.
    values = np.random.default_rng(5).normal(size=(400, 8, 3))
    cells = [
        ({"metric": f"m{i}", "dataset": dataset, "pruner": pruner}, [values[i, j, k]])
        for i in range(400)
        for j, dataset in enumerate("abcdefgh")
        for k, pruner in enumerate(("imp", "omp", "random"))
    ]
    found = of_kind(comparisons(table(*cells)), ALL)
    assert (found["family_size"] == 3).all()
    claims = found.loc[found["favours"] != "", "metric"].nunique()
    assert 4 <= claims <= 33
