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


def test_constant_scores_have_a_certain_mean():
    i = mean_interval([2.0, 2.0, 2.0])
    assert (i.low, i.high, i.p) == (2.0, 2.0, 0.0)
    assert mean_interval([0.0, 0.0]).p == 1.0


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
