import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from valuelab.measure import (
    circle,
    consensus,
    consistency,
    forced,
    orientation,
    portrait,
    ranking,
    stance,
    taxonomy,
)

VALUES = ("power", "security", "benevolence")
ITEMS = np.repeat(VALUES, 2)


# --- portraits


def test_centring_subtracts_the_mean_of_all_items():
    answers = np.array([[6, 6, 4, 4, 2, 2.0]])
    assert portrait.centred_scores(answers, ITEMS, VALUES)[0] == pytest.approx([2, 0, -2])
    uneven = np.array([[6, 3, 3, 3.0]])
    labels = np.array(["power", "security", "security", "security"])
    # over items the mean is 3.75, over value means it would be 4.5
    assert portrait.centred_scores(uneven, labels, VALUES[:2])[0] == pytest.approx([2.25, -0.75])


def test_the_keys_cover_each_questionnaire_without_overlap():
    for name, size, missing in (
        ("PVQ-21", 21, set()),
        ("PVQ-40", 40, set()),
        ("PVQ-RR", 57, {9, 24, 49, 7, 38, 54}),
    ):
        items = [i for v in portrait.KEYS[name].values() for i in v]
        assert len(items) == len(set(items))
        assert set(items) == set(range(1, size + 1)) - missing


def test_centring_alone_forces_negative_correlations():
    rng = np.random.default_rng(0)
    answers = 3.5 + rng.normal(0, 1, (4000, 1)) + rng.normal(0, 0.5, (4000, 20))
    labels = np.repeat([f"v{k}" for k in range(10)], 2)
    names = [f"v{k}" for k in range(10)]
    scores = portrait.centred_scores(answers, labels, names)
    r = np.corrcoef(scores, rowvar=False)[np.triu_indices(10, 1)].mean()
    assert r == pytest.approx(-1 / 9, abs=0.01)
    assert circle.circle_test(np.corrcoef(scores, rowvar=False)).p > 0.05


def test_flat_and_lonely_respondents_are_named_outcomes():
    flat = portrait.portrait_profile(np.full((5, 6), 4.0), ITEMS, VALUES)
    assert flat.outcome == "flat: every item got the answer 4, so no value stands out"
    assert "nan" not in str(flat)
    one = portrait.portrait_profile(np.array([[6, 5, 4, 4, 2, 1.0]]), ITEMS, VALUES)
    assert "one cluster" in one["power"].outcome
    nobody = portrait.portrait_profile(np.full((4, 6), np.nan), ITEMS, VALUES)
    assert "no valid answer at all" in nobody.outcome and "nan" not in str(nobody)
    assert nobody.invalid == 24


def test_replies_that_all_score_alike_carry_no_information():
    p = portrait.z_profile([-1.0] * 6, ITEMS, np.repeat([0, 1, 2], 2), VALUES)
    assert "no valid answer" in p.outcome and p.invalid == 6


# --- orientation and authors


def test_reverse_keyed_ratings_are_turned_and_missing_ones_counted():
    keyed = orientation.keyed_ratings([10, 10, None], [1, -1, 1])
    assert keyed[:2].tolist() == [10, 0] and math.isnan(keyed[2])
    p = orientation.orientation([8, 2, None, 9], [1, -1, 1, 1], ["power"] * 4)
    assert p["power"].estimate == pytest.approx((8 + 8 + 9) / 3) and p.invalid == 1
    assert any("only 3 contexts" in f for f in p.flags)
    with pytest.raises(ValueError, match="0..10"):
        orientation.keyed_ratings([11], [1])


def test_an_author_without_perceptions_has_an_outcome_and_a_neutral_shrunk_score():
    s = orientation.author_scores([0.1], [[0.9, 0.05, 0.05]], ["power"], ["t"])[0]
    assert s.raw.outcome == "no perception kept" and s.shrunk == 0.0 and s.seen == 1
    few = orientation.author_scores([0.9, 0.9], [[0.9, 0.1, 0]] * 2, ["power"] * 2, ["t", "u"])[0]
    assert few.shrunk == pytest.approx(0.8 * 2 / 7)


# --- consistency and stance


def test_js_distance_agrees_with_scipy_in_base_two():
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(4), (2, 50))
    expected = [jensenshannon(a, b, base=2) for a, b in zip(p, q, strict=True)]
    assert consistency.js_distance(p, q) == pytest.approx(expected)
    assert (
        consistency.js_distance([1, 0], [0, 1]) == 1
        and consistency.js_distance([1, 0], [1, 0]) == 0
    )


def test_consistency_without_two_answered_wordings_is_an_outcome():
    c = consistency.consistency(np.array([[[3, 1], [0, 0]]]))
    assert "no topic has two answered wordings" in c.outcome and "nan" not in str(c)
    one = consistency.consistency(np.array([[[3, 1], [2, 2]], [[0, 0], [5, 1]]]))
    assert (one.topics_used, one.topics_dropped) == (1, 1)


def test_alternating_slot_bias_looks_like_inconsistency_until_orders_are_balanced():
    from valuelab.measure.proofs import _wordings

    rng = np.random.default_rng(2)
    by_wording, _ = _wordings(rng, 0.0, 300, 4, 20, slot=1.0)
    found = consistency.consistency(by_wording)
    assert found.excess.low > 0.1
    balanced = by_wording[:, [0, 2]] + by_wording[:, [1, 3]]  # each wording in both orders
    assert consistency.consistency(balanced).excess.estimate < 0.02


def test_answers_outside_the_options_are_counted_as_invalid():
    counts, invalid = consistency.count_answers(
        ["A", "B", "??", "A"], [0, 0, 0, 1], [0, 1, 1, 0], ["A", "B"]
    )
    assert counts[0, 1].tolist() == [0, 1] and invalid[0, 1] == 1 and counts.sum() == 3


def test_a_model_that_never_answers_has_no_stance_and_open_bounds():
    rows = stance.stance_table(
        ["refusal"] * 4 + ["support"] * 4, ["free"] * 4 + ["must"] * 4, [0, 1, 2, 3] * 2
    )
    assert rows[0].stance is None and rows[0].bounds == (-1.0, 1.0)
    assert "no valid answer" in str(rows[0]) and "nan" not in str(rows[0])
    assert rows[1].shift.estimate == 1.0
    assert stance.flip_rate(["refusal"], ["support"], [0]) is None
    with pytest.raises(ValueError, match="unknown outcomes"):
        stance.stance_table(["yes"], ["free"], [0])


def test_a_coin_flips_half_of_the_time():
    rng = np.random.default_rng(3)
    a, b = rng.choice(["support", "oppose"], (2, 4000))
    assert stance.flip_rate(a, b, np.arange(4000)).estimate == pytest.approx(0.5, abs=0.03)


# --- forced choice


def test_pooling_hides_slot_bias_and_the_log_odds_do_not():
    from scipy.special import expit

    content, slot = 1.2, 3.0
    p = forced.pool_orders(expit(content + slot), expit(content - slot))
    assert p.debiased == pytest.approx(expit(content)) and p.slot_bias == pytest.approx(slot)
    assert p.pooled < 0.6 and p.consistency < 0.2


def test_slot_bias_lowers_confidence_and_order_consistency_as_simulated_in_the_spec():
    from scipy.special import expit

    rng = np.random.default_rng(4)
    content = rng.normal(0, 4, 20000)
    shown = {}
    for slot in (0.0, 4.0, 12.0):
        p = forced.pool_orders(expit(content + slot), expit(content - slot))
        shown[slot] = (
            round(np.maximum(p.pooled, 1 - p.pooled).mean(), 2),
            round(p.consistency.mean(), 2),
        )
    print("slot bias: (pooled confidence, order consistency)", shown)
    assert shown[0][0] > shown[4][0] > shown[12][0]
    assert shown[0][1] > shown[4][1] > shown[12][1]


@pytest.mark.parametrize(
    ("mass", "why"),
    [
        (np.zeros((3, 2, 2)), "no valid answer"),
        (np.full((3, 2, 2), 0.5), "ties everywhere"),
        (np.tile([[[1.0, 0.0], [0.0, 1.0]]], (3, 1, 1)), "always the same slot"),
        (np.full((3, 2, 2), 1e-4) * [[[2, 1], [1, 2]]], "hardly any valid"),
        (np.zeros((0, 2, 2)), "no items"),
    ],
)
def test_degenerate_forced_choices_are_clear_outcomes(mass, why):
    s = forced.summarise_orders(mass)
    assert why in s.outcome and "nan" not in str(s)


# --- rankings and consensus


def test_every_chosen_value_beats_every_neglected_one():
    w, lo, d = ranking.battles([[1, 1, 0]], [[0, 1, 1]])
    assert sorted(zip(w.tolist(), lo.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 2)]
    assert set(d.tolist()) == {0}


def test_batched_strengths_equal_bradley_terry():
    from valuelab.measure.utility import Edges, fit_bradley_terry

    rng = np.random.default_rng(5)
    wins = rng.integers(1, 30, (3, 5, 5))
    i, j = np.triu_indices(5, 1)
    for table, theta in zip(wins, ranking.strengths(wins), strict=True):
        u = fit_bradley_terry(Edges(i, j, table[i, j], table[i, j] + table[j, i], 5))
        assert theta == pytest.approx(u.mu, abs=1e-6)


def test_elo_depends_on_the_order_of_the_same_games():
    rng = np.random.default_rng(6)
    a, b = rng.integers(0, 4, (2, 400))
    a, b = a[a != b], b[a != b]
    assert np.abs(ranking.elo_ratings(a, b, 4) - ranking.elo_ratings(a[::-1], b[::-1], 4)).max() > 1
    assert np.ptp(ranking.strengths(np.zeros((3, 3)))) == 0


def test_more_dilemmas_do_not_shrink_the_shuffled_elo_bootstrap():
    from valuelab.measure import proofs

    sd = {}
    for dilemmas in (100, 1000):
        chosen, neglected, d, *_ = proofs._dilemmas(
            np.random.default_rng(7), 1.5 * proofs.PLANTED, dilemmas
        )
        w, lo, _ = ranking.battles(chosen, neglected)
        shuffled = ranking.shuffled_elo_sd(w, lo, 10, draws=40).mean()
        honest = ranking.rank_values(chosen, neglected, d, draws=150).se.mean()
        sd[dilemmas] = (round(shuffled, 1), round(honest * ranking.ELO_PER_LOGIT, 1))
    print("dilemmas: (shuffled Elo SD, cluster-bootstrap SD) in Elo points", sd)
    assert sd[1000][1] < 0.5 * sd[100][1]  # evidence shrinks honest error
    assert sd[1000][0] > sd[100][0]  # but not the noise of the order


def test_rankings_without_answers_or_battles_say_so():
    none = ranking.rank_values(np.ones((4, 2)), np.ones((4, 2)), answered=np.zeros(4, bool))
    assert "no battle" in str(none) and none.dropped == 4
    one = ranking.rank_values([[1, 0]], [[0, 1]])
    assert "one dilemma" in one.outcome
    slot = ranking.choice_regression([[1, 0], [0, 1]], [[0, 1], [1, 0]], [1, 1], [0, 1])
    assert "always the same slot" in slot.outcome and np.isfinite(slot.coefficient).all()


def test_kemeny_equals_brute_force():
    from itertools import permutations

    rng = np.random.default_rng(8)
    r = rng.random((7, 5)).argsort(1).argsort(1) + 1

    def cost(order):
        return sum(consensus.kendall_distance(order, x) for x in r)

    best = min(cost(np.array(p)) for p in permutations(range(1, 6)))
    assert cost(consensus.kemeny_order(r)) == pytest.approx(best)


def test_breakdown_is_half_for_agreement_and_lower_for_a_close_call():
    same = np.tile(np.arange(1, 7), (20, 1))
    for method in ("borda", "median", "kemeny"):
        assert consensus.breakdown_point(same, method=method) == pytest.approx(0.5, abs=0.06)
    rng = np.random.default_rng(9)
    loose = rng.random((20, 6)).argsort(1).argsort(1) + 1.0
    assert consensus.breakdown_point(loose) < 0.3


def test_one_ranking_and_all_ties_are_outcomes():
    assert "one ranking" in consensus.consensus([[1, 2, 3]]).outcome
    assert "ties everywhere" in consensus.consensus(np.ones((3, 4))).outcome
    assert "one source" in consensus.consensus([[1, 2], [2, 1]], clusters=["m", "m"]).outcome


def test_copies_of_a_ranking_are_one_voice_in_every_field():
    a = np.arange(1, 7)
    r, source = [a] * 9 + [7 - a] * 2, ["one"] * 9 + ["two", "three"]
    copied = consensus.consensus(r, clusters=source, draws=50, permutations=50)
    assert copied.rank.tolist() == (7 - a).tolist()
    once = dict(zip(source, r, strict=True))  # sources are numbered by name
    single = consensus.consensus([once[s] for s in sorted(once)], draws=50, permutations=50)
    for field in ("rank", "low", "high", "mean_rank", "agreement", "p_agreement", "breakdown"):
        assert np.array_equal(getattr(copied, field), getattr(single, field)), field


def test_random_rankings_agree_by_one_over_their_number():
    rng = np.random.default_rng(11)
    for count in (2, 5):
        w = [consensus.consensus(rng.random((count, 10)).argsort(1), draws=2, permutations=2).agreement
             for _ in range(150)]
        assert np.mean(w) == pytest.approx(1 / count, abs=3 * np.std(w) / np.sqrt(len(w)))


# --- circle


def test_ten_values_make_800_predictions_and_a_perfect_circle_keeps_them_all():
    angle = 2 * np.pi * np.arange(10) / 10
    t = circle.circle_test(np.cos(angle[:, None] - angle[None]), permutations=999)
    assert (t.index, t.predictions) == (1.0, 800) and t.p == pytest.approx(0.001)


def test_the_circle_test_has_its_size_and_finds_a_circle_with_thirty_respondents():
    from valuelab.measure.proofs import ring_scores

    rng = np.random.default_rng(10)
    p = {
        size: [
            circle.circle_test(
                circle.profile_correlations(ring_scores(rng, 30, size)), permutations=300
            ).p
            for _ in range(200)
        ]
        for size in (0.0, 1.0)
    }
    false, power = (float(np.mean(np.array(p[s]) < 0.05)) for s in (0.0, 1.0))
    print(f"circle test, 30 respondents: size {false:.3f}, power {power:.3f}")
    assert false <= 0.07 + 3 * math.sqrt(0.05 * 0.95 / 200) and power > 0.95


def test_the_map_of_a_circle_is_a_circle():
    angle = 2 * np.pi * np.arange(10) / 10
    points, stress = circle.ordinal_map(
        0.8 * np.cos(angle[:, None] - angle[None]) + 0.2 * np.eye(10)
    )
    radius = np.linalg.norm(points, axis=1)
    assert stress < 0.02 and radius.std() / radius.mean() < 0.05
    found = np.unwrap(np.arctan2(points[:, 1], points[:, 0]))
    assert (np.diff(found) > 0).all() and abs(found[0]) < 0.1


def test_one_model_is_one_row_and_has_no_circle():
    with pytest.raises(ValueError, match="at least three respondents"):
        circle.profile_correlations(np.ones((1, 10)))
    with pytest.raises(ValueError, match="zero variance"):
        circle.profile_correlations(np.ones((9, 10)))
    assert "cannot be tested" in circle.circle_test(np.ones((10, 10))).outcome


# --- taxonomy


def test_adjusted_residuals_equal_statsmodels_arithmetic_on_a_two_by_two_table():
    z = taxonomy.adjusted_residuals([[30, 10], [20, 40]])
    # for a 2 x 2 table every residual is the root of Pearson's chi-square
    from scipy.stats import chi2_contingency

    chi2 = chi2_contingency([[30, 10], [20, 40]], correction=False)[0]
    assert np.abs(z) == pytest.approx(np.full((2, 2), math.sqrt(chi2)))
    assert taxonomy.adjusted_residuals([[3, 0], [2, 0]])[0, 1] == 0


def test_naming_a_value_often_counts_once_and_unparsed_replies_are_apart():
    said = np.array([[3, 0], [1, -1], [np.nan, np.nan]])
    p = taxonomy.expressed_profile(said, ("power", "security"))
    assert p["power"].estimate == 1.0 and p["security"].estimate == 0.5 and p.invalid == 1
    net = taxonomy.expressed_profile(said, ("power", "security"), signed=True)
    assert net["security"].estimate == -0.5
    assert "nothing to compare" in taxonomy.value_by_context(said, ["a"] * 3, ("p", "s")).outcome
