import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuelab import world as W
from valuelab.evaluate import judges, metrics
from valuelab.measure.intervals import paired_difference
from valuelab.measure.judges import OracleJudge
from valuelab.values import ANGLES, VALUES


def scores(n=120, lift=0.3, seed=0):
    """Binary scores of n items in contexts of 3, with a direction that lifts and a random one."""
    rng = np.random.default_rng(seed)
    contexts = np.repeat(np.arange(n // 3), 3)
    ease = rng.random(n // 3)[contexts]
    draw = rng.random(n)
    return (draw < 0.7 * ease), (draw < 0.7 * ease + lift), (draw < 0.7 * ease + 0.02), contexts


def test_control_success_recovers_a_planted_advantage_over_the_random_direction():
    found = metrics.control_success(*scores(3000))
    assert found.advantage.covers(0.28) and found.gain.covers(0.30)
    assert found.random_gain.covers(0.02)


def test_a_random_push_that_works_as_well_leaves_no_advantage():
    before, after, _, contexts = scores(600)
    found = metrics.control_success(before, after, after, contexts)
    assert found.gain.low > 0.2 and found.advantage.estimate == 0


def test_advantage_interval_covers_the_truth_about_as_often_as_it_says():
    hits = [metrics.control_success(*scores(150, seed=s)).advantage.covers(0.28) for s in range(400)]
    assert 0.92 <= np.mean(hits) <= 0.98


def test_items_of_one_context_are_not_counted_as_independent_evidence():
    rng = np.random.default_rng(1)
    per_context = rng.integers(0, 2, 20)
    steered, contexts = np.repeat(per_context, 50), np.repeat(np.arange(20), 50)
    zero = np.zeros(1000)
    wide = metrics.control_success(zero, steered, zero, contexts).gain
    narrow = paired_difference(steered, zero)
    assert wide.se > 5 * narrow.se


def test_unequal_lists_are_refused_with_both_lengths():
    with pytest.raises(ValueError, match="3 scores against 2"):
        metrics.control_success(np.zeros(2), np.zeros(3), np.zeros(3), np.arange(3))


def test_adverse_share_counts_falling_items_only():
    assert metrics.adverse_share([0, 1, 1, 0], [1, 0, 1, 0]).estimate == 0.25


def test_distinct_n_and_repetition_by_hand():
    assert metrics.distinct_n(["a b a b"], 2) == pytest.approx(2 / 3)
    assert metrics.repetition("a b a b", 2) == pytest.approx(1 / 3)
    assert metrics.distinct_n(["a b", "a b"], 2) == 0.5
    assert metrics.repetition("a b c d") == 0 and metrics.repetition("a a a a a") > 0.7
    assert metrics.distinct_n([], 2) == metrics.distinct_n(["one"], 2) == 0
    with pytest.raises(ValueError, match="n=0"):
        metrics.distinct_n(["a"], 0)


@given(st.lists(st.text(alphabet="ab .", max_size=12), max_size=6), st.integers(1, 3))
def test_diversity_measures_stay_in_their_range_for_any_text(texts, n):
    assert 0 <= metrics.distinct_n(texts, n) <= 1
    assert metrics.ngram_entropy(texts, n) >= 0
    assert all(0 <= metrics.repetition(t, n) < 1 for t in texts)


def test_entropy_of_two_equal_bigrams_is_one_bit():
    assert metrics.ngram_entropy(["a b", "c d"]) == pytest.approx(1)
    assert metrics.ngram_entropy(["a b", "a b"]) == 0


def test_perplexity_of_a_uniform_model_is_its_vocabulary():
    tokens = np.array([3, 7])
    assert metrics.perplexity(-tokens * np.log(50), tokens) == pytest.approx(50)
    with pytest.raises(ValueError, match="0 tokens"):
        metrics.perplexity([0.0], [0])


def test_empty_share_counts_replies_without_a_word():
    assert metrics.empty_share(["", "  \n", "x", "y"]) == 0.5 and metrics.empty_share([]) == 0


def test_retention_is_shown_only_where_the_interval_excludes_the_margin():
    right = np.ones(400)
    few_lost = right.copy()
    few_lost[:4] = 0
    many_lost = right.copy()
    many_lost[:40] = 0
    assert metrics.retention(right, few_lost).kept
    assert not metrics.retention(right, many_lost).kept
    few_items = metrics.retention([1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 0, 1])
    assert few_items.change.estimate == 0 and not few_items.kept  # too few items to tell
    with pytest.raises(ValueError, match="margin"):
        metrics.retention(right, right, margin=0)


def test_leakage_names_the_value_that_moved_and_no_other():
    rng = np.random.default_rng(0)
    before = rng.normal(size=(300, 10))
    after = before + rng.normal(scale=0.3, size=(300, 10))
    after[:, 3] += 0.4
    rows, p = metrics.leakage(before, after, np.repeat(np.arange(100), 3))
    assert rows[3].covers(0.4) and [i for i in range(10) if p[i] < 0.05] == [3]
    with pytest.raises(ValueError, match="items, values"):
        metrics.leakage(before[:, 0], after[:, 0], np.arange(300))


def test_leakage_raises_a_false_alarm_in_at_most_one_run_in_twenty():
    alarms = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        _, p = metrics.leakage(rng.normal(size=(60, 9)), rng.normal(size=(60, 9)), np.arange(60))
        alarms += (p < 0.05).any()
    assert alarms <= 18  # 10 expected, 18 is the 99.5th percentile


def test_off_target_ratio_by_hand():
    assert metrics.off_target_ratio(np.array([[1.0, 0.5], [0.0, 1.0]])) == 0.25
    assert metrics.off_target_ratio(np.array([[0.2, -0.4, 0.0]]), [0]) == pytest.approx(1.0)
    assert metrics.off_target_ratio(np.array([[0.0, 1.0]]), [0]) == np.inf


def test_circle_fit_finds_a_planted_circle_and_nothing_in_shuffled_effects():
    here = VALUES.index("tradition")
    planted = 0.2 * np.cos(ANGLES - ANGLES[here])
    found = metrics.circle_fit(planted, "tradition")
    assert found.slope == pytest.approx(0.2) and found.correlation == pytest.approx(1)
    assert found.p < 0.01
    rng = np.random.default_rng(0)
    p = [metrics.circle_fit(rng.normal(size=10), "power", draws=200).p for _ in range(300)]
    assert np.mean(np.array(p) < 0.05) < 0.09
    assert metrics.circle_fit(np.zeros(10), "power").p == 1


def test_harmonic_summary_is_zero_when_one_part_fails():
    assert metrics.harmonic_summary([1, 1, 0]) == 0
    assert metrics.harmonic_summary([0.5, 1.0]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="from 0 to 1"):
        metrics.harmonic_summary([2.0])


# ----------------------------------------------------------------------------------- judges


def test_judge_rates_by_hand_and_unreadable_verdicts_are_wrong():
    found = judges.judge_rates(np.array([1, 1, 0, np.nan, 0, 1]), np.array([1, 1, 1, 1, 0, 0]))
    assert (found.sensitivity, found.specificity) == (0.5, 0.5) and found.informedness == 0
    unreadable = judges.judge_rates(np.array([1, np.nan]), np.array([1, 0]))
    assert unreadable.specificity == 0


def test_judge_rates_need_both_kinds_of_replies():
    with pytest.raises(ValueError, match="other kind"):
        judges.judge_rates(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match="3 verdicts for 2"):
        judges.judge_rates(np.ones(3), np.ones(2))


def test_corrected_share_recovers_the_truth_behind_a_judge_of_80_and_70_percent():
    rng = np.random.default_rng(0)
    truth = rng.random(200_000) < 0.35
    said = np.where(truth, rng.random(truth.size) < 0.8, rng.random(truth.size) < 0.3)
    assert judges.corrected_share(said.mean(), 0.8, 0.7) == pytest.approx(0.35, abs=0.01)
    assert judges.corrected_share(0.1, 0.8, 0.7) == 0.0
    with pytest.raises(ValueError, match="say nothing"):
        judges.corrected_share(0.5, 0.5, 0.5)


def test_a_judge_of_length_moves_with_padding_and_a_judge_of_content_does_not():
    replies = ["I would rest.", "I would work all day and all night."]
    def content(rs):
        return np.array([float("rest" in r) for r in rs])
    assert judges.padding_effect(judges.length_judge(6), replies, "That is all I say.") == 0.5
    assert judges.padding_effect(content, replies, "That is all I say.") == 0


def test_an_audit_passes_a_judge_of_content_and_finds_the_one_of_length_and_the_one_of_position():
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.4
    replies = [("Rest matters. " if t else "Work matters. ") + "I say so. " * rng.integers(0, 4) for t in truth]

    def content(rs):
        return np.array([float("Rest" in r) for r in rs])

    good = judges.audit(content, replies, truth, padding="It is late today.", swapped=content)
    assert good.sound and good.kappa == 1 and good.swap == 1 and good.unreadable == 0
    length = judges.audit(judges.length_judge(6), replies, truth, padding="It is late today, and I am fine.")
    assert not length.sound and abs(length.kappa) < 0.2
    fickle = judges.audit(content, replies, truth, padding="It is late.", swapped=lambda rs: 1 - content(rs))
    assert not fickle.sound and fickle.swap == 0


def test_cohens_kappa_by_hand_and_always_no_gets_none():
    truth = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], bool)
    found = judges.audit(lambda rs: np.zeros(len(rs)), ["x"] * 10, truth, padding="y")
    assert found.agreement == 0.8 and found.kappa == pytest.approx(0) and not found.sound


def test_the_oracle_reads_through_the_same_door_and_empty_replies_are_unreadable():
    asked = W.situations("held_out", 2, 0)
    judge = judges.verdicts(OracleJudge(asked))
    said = judge([f"I would {asked[0].first.base}.", f"I would {asked[1].second.base}."])
    assert said.tolist() == [1, 0]
    assert np.isnan(judge(["", "banana"])).all()
