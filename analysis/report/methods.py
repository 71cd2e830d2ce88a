"""How the numbers of the report were made, in short paragraphs."""

from __future__ import annotations

from analysis.statistics.intervals import CONFIDENCE

_LEVEL = f"{CONFIDENCE * 100:g} %"
NOTES: tuple[tuple[str, str], ...] = (
    (
        "Unit of replication",
        "Within a data set it is the seed, across data sets it is the data set. Results of several cells and seeds are "
        "never pooled as if they were independent. Seeds vary the transfer; how much another pre-trained network would "
        "differ is known only where the grid has several pre-training seeds.",
    ),
    (
        "Intervals",
        f"Intervals of means and differences are {_LEVEL} Student t intervals over seeds; differences are paired by "
        "seed. They assume roughly normal seed-to-seed variation. With three seeds they are wide, and rightly so: "
        "bootstrap intervals of so few seeds are too short.",
    ),
    (
        "Matching",
        "A ticket matches the dense network if its loss is smaller than a margin that is stated per metric before the "
        f"runs: the one-sided {_LEVEL} limit of the paired difference has to exclude a loss of the margin. Superior: "
        "the two-sided interval of the improvement lies above zero. Inferior: the loss exceeds the margin with the "
        "same confidence. Everything else is inconclusive, which is not evidence of equality.",
    ),
    (
        "How sparse",
        "The bound on the maximum matching sparsity tests from dense to sparse and stops at the first level that is "
        "not shown to match, so that no correction is needed; the deviation over seeds is pooled over the levels. The "
        "estimate is where a monotone fit of the differences crosses the margin, on the logarithm of the weights "
        "remaining; its interval is a delete-one-seed jackknife. A bound at the sparsest level tested is a limit of "
        "the grid. By mean and within one standard deviation are rules of earlier papers, without an error rate.",
    ),
    (
        "Winning, double-win and universal",
        "Winning: a matching ticket rewound to the pre-trained weights. Double-win: matching in standard and in robust "
        "accuracy, under standard and under adversarial transfer. Universal: matching on every task of the set. Where "
        "several tests have to hold at once, p is the largest of theirs, which needs no correction.",
    ),
    (
        "Comparisons",
        "Levels of an axis are compared on cells that agree in everything else. Over seeds p is of the paired t test, "
        "over data sets of the Wilcoxon signed-rank test; Holm's correction holds within an axis, metric and kind of "
        "comparison. Three seeds cannot reach p = 0.05 in any rank test, and five data sets cannot in the signed-rank "
        "test. The least detectable difference is the one that a test of this size finds with 80 % probability.",
    ),
    (
        "Rankings",
        "The omnibus test is Friedman's in the form of Iman and Davenport, with the data set as block and its methods "
        "complete. Groups join methods that pairwise Wilcoxon tests with Holm's correction do not separate; sharing a "
        "letter is no evidence of equality.",
    ),
    (
        "Missing results",
        "Only finished evaluations have a value. An entry with fewer seeds than planned is shown, has no rank and is "
        "not tested as if it were complete. What failed or has not run is listed with its reason.",
    ),
)
