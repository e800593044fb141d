import math

import numpy as np
import pytest
from scipy import stats

from valuelab.measure import floors
from valuelab.measure.intervals import (
    bootstrap_weights,
    cluster_bootstrap,
    clustered_se,
    holm,
    interval_of_draws,
    mean_interval,
    paired_difference,
    pairs_needed,
    wilson,
)


def test_one_answer_per_cluster_gives_the_textbook_standard_error():
    s = np.random.default_rng(0).normal(size=30)
    assert clustered_se(s, np.arange(30)) == pytest.approx(s.std(ddof=1) / math.sqrt(30))


def test_copying_every_answer_does_not_shrink_the_clustered_error():
    rng = np.random.default_rng(1)
    s = rng.normal(size=25)
    once = clustered_se(s, np.arange(25))
    copied = clustered_se(np.repeat(s, 8), np.repeat(np.arange(25), 8))
    assert copied == pytest.approx(once)
    assert clustered_se(np.repeat(s, 8), np.arange(200)) < 0.4 * once  # the mistake it prevents


def test_cluster_bootstrap_agrees_with_the_clustered_formula():
    rng = np.random.default_rng(2)
    c = np.repeat(np.arange(80), rng.integers(1, 6, 80))
    s = rng.normal(size=80)[c] + 0.3 * rng.normal(size=len(c))
    draws = cluster_bootstrap(lambda w: (w @ s) / w.sum(), c, draws=3000)
    assert draws.std() == pytest.approx(clustered_se(s, c), rel=0.06)
    low, high = interval_of_draws(draws)
    assert low < s.mean() < high


def test_bootstrap_weights_keep_clusters_whole():
    c = np.array([0, 0, 1, 2, 2, 2])
    w = bootstrap_weights(c, draws=50)
    assert (w[:, 0] == w[:, 1]).all() and (w[:, 3] == w[:, 5]).all()
    assert (w[:, [0, 2, 3]].sum(1) == 3).all()


def test_one_cluster_is_an_outcome_and_not_a_number():
    i = mean_interval([1.0, 2.0, 3.0], ["a"] * 3)
    assert i.outcome == "no interval: one cluster" and math.isinf(i.high)
    assert "nan" not in str(i) and i.as_dict()["high"] is None
    with pytest.raises(ValueError, match="at least two contexts"):
        clustered_se([1.0, 2.0], [0, 0])


def test_invalid_scores_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match="drop them here and report their share"):
        mean_interval([1.0, math.nan])
    with pytest.raises(ValueError, match="no scores"):
        mean_interval([])


def test_constant_scores_without_bounds_have_no_width_and_the_p_of_flipped_signs():
    i = mean_interval(np.full(6, 2.0))
    flips = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).mean(0)
    assert (i.low, i.high) == (2.0, 2.0)
    assert i.p == pytest.approx(np.mean(np.abs(flips) >= 1 - 1e-12))
    assert paired_difference([3.0, 4.0], [3.0, 4.0]).p == 1.0


def test_answers_that_are_all_alike_leave_room_for_those_not_seen():
    i = mean_interval(np.ones(20), null=0.5)
    z = stats.t.ppf(0.975, 19)
    assert (i.estimate, i.high) == (1.0, 1.0) and i.low == pytest.approx(1 / (1 + z * z / 20))
    none = mean_interval(np.zeros(20))
    assert none.low == 0 and none.high == pytest.approx(1 - i.low)
    same = paired_difference(np.ones(20), np.ones(20))
    assert (same.low, same.high) == pytest.approx((-none.high, none.high)) and same.p == 1
    copies = mean_interval(np.ones(200), np.arange(200) % 20)
    assert copies.low == pytest.approx(i.low)  # ten answers to one question are not ten questions


def test_a_share_of_independent_answers_has_the_interval_of_wilson():
    s = np.repeat([1.0, 0.0], [2998, 7002])  # so many that t is z
    mine, known = mean_interval(s), wilson(2998, 10000)
    assert (mine.low, mine.high) == pytest.approx((known.low, known.high), abs=2e-5)
    order = np.random.default_rng(0).permutation(30).repeat(4)
    copied = mean_interval(np.repeat(s[np.linspace(0, 9999, 30).astype(int)], 4), order.argsort().argsort() // 4)
    once = mean_interval(s[np.linspace(0, 9999, 30).astype(int)])
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), rel=0.02)  # n counts the clusters


@pytest.mark.parametrize("null", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("right, n", [(0, 5), (1, 20), (9, 20), (20, 20), (40, 41)])
def test_p_of_a_share_and_its_interval_say_the_same(right, n, null):
    i = mean_interval(np.arange(n) < right, null=null)
    assert i.low <= i.estimate <= i.high
    assert i.covers(null) == (i.p >= 0.05)


@pytest.mark.parametrize("up, down, most", [
    (0.25, 0.05, 0.98), (0.3, 0.2, 0.98), (0.5, 0.5, 0.98),
    (0.02, 0.02, 1.0), (0.0, 0.03, 1.0),  # two or three changes in all: a bound between whole numbers is not exact
])  # fmt: skip
def test_paired_shares_cover_their_difference_where_changes_are_many_or_few(up, down, most):
    rng, hits = np.random.default_rng(6), []
    for _ in range(600):
        u = rng.random(120)
        rises, falls = u < up, (u >= up) & (u < up + down)
        found = paired_difference(np.where(falls, 0, 1), np.where(rises, 0, 1))
        hits.append(found.covers(up - down))
    assert 0.92 <= np.mean(hits) <= most


@pytest.mark.parametrize("share, size", [(0.1, 3), (0.2, 5), (0.4, 3)])
def test_clustered_shares_are_covered(share, size):
    held, _ = clustered_coverage(share, size)
    assert 0.92 <= held <= 0.98


@pytest.mark.parametrize("share, size", [(0.03, 3), (0.05, 5)])
def test_clustered_shares_so_rare_that_most_questions_show_none_are_covered_far_better_than_by_t(share, size):
    """Two to five of the 40 questions show one, too few to learn how they cluster: 91 and 98 of 100."""
    held, by_t = clustered_coverage(share, size)
    assert held >= 0.9 and by_t <= held - 0.05


def clustered_coverage(share, size):
    """Answers to one of 40 questions agree with correlation .5: share of intervals that hold the truth, and of t's."""
    rng, hits, by_t = np.random.default_rng(7), [], []
    for _ in range(600):
        q = rng.beta(share, 1 - share, 40)
        s = (rng.random((40, size)) < q[:, None]).ravel()
        i = mean_interval(s, np.repeat(np.arange(40), size))
        hits.append(i.covers(share))
        by_t.append(abs(i.estimate - share) <= stats.t.ppf(0.975, 39) * i.se)
    return np.mean(hits), np.mean(by_t)


def test_bounds_of_paired_shares_stay_between_minus_one_and_one():
    for a, b in ((np.ones(6), np.zeros(6)), (np.zeros(3), np.ones(3)), ([1, 0, 1], [0, 1, 0])):
        i = paired_difference(a, b)
        assert -1 <= i.low <= i.estimate <= i.high <= 1 and 0 <= i.p <= 1


def test_holm_is_monotone_and_keeps_the_familywise_rate():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    rng = np.random.default_rng(3)
    p = rng.random((4000, 10))
    alarms = np.mean([holm(row).min() < 0.05 for row in p])
    assert 0.04 < alarms < 0.06
    with pytest.raises(ValueError, match="must lie in"):
        holm([1.2])


def test_wilson_has_width_at_the_ends_and_covers():
    assert wilson(0, 10).high == pytest.approx(0.2775, abs=1e-3)
    assert wilson(10, 10).high == 1.0 and wilson(0, 0).outcome == "no answers"
    n, p = 30, 0.1
    covered = sum(stats.binom.pmf(k, n, p) for k in range(n + 1) if wilson(k, n).covers(p))
    assert 0.92 < covered < 0.98


def test_pairing_shortens_the_interval_by_the_known_factor():
    rng = np.random.default_rng(4)
    hard = rng.normal(size=4000)
    a, b = hard + rng.normal(size=4000), hard + rng.normal(size=4000)
    paired = paired_difference(a, b).se
    apart = math.hypot(mean_interval(a).se, mean_interval(b).se)
    assert paired / apart == pytest.approx(math.sqrt(1 - 0.5), rel=0.05)


def test_pairs_needed_matches_the_published_example():
    assert pairs_needed(0.05, math.sqrt(2 * 0.25)) == pytest.approx(1568, abs=4)
    assert pairs_needed(0.05, math.sqrt(0.25)) == pytest.approx(784, abs=2)


def test_null_floors_match_the_published_ones():
    shown = {n: round(floors.confidence_floor(n), 3) for n in (4, 10, 20, 100)}
    print("confidence floor", shown)
    assert shown == {4: 0.688, 10: 0.623, 20: 0.588, 100: 0.540}
    js = {n: round(floors.js_floor(n), 3) for n in (10, 20, 100)}
    print("JS distance floor", js)
    assert js == pytest.approx({10: 0.157, 20: 0.106, 100: 0.048}, abs=0.004)
    assert floors.cycle_floor(20, kind="strict") == pytest.approx(0.14, abs=0.005)
    assert floors.cycle_floor() == floors.cycle_floor(None, kind="strict") == 0.25
    slopes = [round(floors.negative_slope_floor(s), 2) for s in (0.0, 0.2, 0.5)]
    assert slopes == [0.5, 0.3, 0.09]
    assert floors.order_consistency_floor(0.5) == 0.5 and floors.order_consistency_floor(1.0) == 0
