import math

import numpy as np
import pytest
from scipy import optimize

from valuelab.measure import proofs, utility
from valuelab.measure.utility import Edges


def edges_of(mu, n=20, seed=0, sigma2=None):
    sigma2 = np.ones_like(mu) if sigma2 is None else sigma2
    return proofs._all_pairs(mu, sigma2, n, seed)


def test_thurstone_gradient_equals_finite_differences():
    e = edges_of(np.random.default_rng(0).normal(size=6))
    x = np.random.default_rng(1).normal(0, 0.4, 12)
    error = optimize.check_grad(
        lambda t: utility._thurstone_loss(t, e, 0.1)[0],
        lambda t: utility._thurstone_loss(t, e, 0.1)[1],
        x,
    )
    assert error < 1e-6


def test_thurstone_likelihood_does_not_see_shift_and_stretch():
    e = edges_of(np.random.default_rng(0).normal(size=6))
    x = np.random.default_rng(1).normal(0, 0.4, 12)
    here = utility._thurstone_loss(x, e, 0.0)[0]
    stretched = np.concatenate([3 * x[:6] + 5, x[6:] + math.log(9)])
    # only the fixed 1e-5 on the variance breaks the stretch
    assert utility._thurstone_loss(stretched, e, 0.0)[0] == pytest.approx(here, abs=1e-5)


def test_bradley_terry_agrees_with_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    e = edges_of(np.linspace(-1, 1, 7), n=30)
    x = np.zeros((2 * len(e), 7))
    for sign, half in ((1, slice(None, len(e))), (1, slice(len(e), None))):
        x[half][np.arange(len(e)), e.first] = sign
        x[half][np.arange(len(e)), e.second] = -sign
    y = np.repeat([1, 0], len(e))
    fit = LogisticRegression(C=1e3, fit_intercept=False, tol=1e-10, max_iter=5000).fit(
        x, y, sample_weight=np.concatenate([e.wins, e.n - e.wins])
    )
    ours = utility.fit_bradley_terry(e, ridge=1e-3)
    assert ours.mu == pytest.approx(fit.coef_[0] - fit.coef_[0].mean(), abs=1e-4)


@pytest.mark.parametrize("strategy", ["active", "random"])
def test_two_hundred_options_are_recovered_within_the_published_budget(strategy):
    mu, sigma2 = proofs._options(200)
    answer = proofs.planted_answers(mu, sigma2, 20, seed=5)
    u, train, test = utility.learn_utilities(answer, 200, strategy=strategy)
    r = float(np.corrcoef(u.mu, mu)[0, 1])
    held = utility.utility_accuracy(u, test)
    print(f"{strategy}: r = {r:.4f} with {len(train)} of {200 * 199 // 2} pairs, held-out {held}")
    assert len(train) <= utility.edge_budget(200) == round(2 * 200 * math.log2(200))
    assert r >= 0.95
    assert held.estimate > 0.85


def test_active_edges_make_train_accuracy_look_worse_than_it_is():
    mu, sigma2 = proofs._options(120)
    gaps = {}
    for strategy in ("active", "random"):
        answer = proofs.planted_answers(mu, sigma2, 20, seed=6)
        u, train, test = utility.learn_utilities(answer, 120, strategy=strategy, held_out=0.2)
        gaps[strategy] = (
            utility.utility_accuracy(u, train).estimate - utility.utility_accuracy(u, test).estimate
        )
    print("train - held-out accuracy", gaps)
    assert gaps["active"] < gaps["random"] - 0.03


def test_held_out_pairs_are_never_asked_again():
    seen = []

    def answer(first, second):
        seen.extend(zip(first.tolist(), second.tolist(), strict=True))
        return np.ones(len(first)), np.full(len(first), 2.0)

    utility.learn_utilities(answer, 15, fit=utility.fit_bradley_terry)
    pairs = [tuple(sorted(p)) for p in seen]
    assert len(pairs) == len(set(pairs))


def test_twenty_options_hold_out_first_because_the_budget_is_nearly_all_pairs():
    assert utility.edge_budget(20) == 173 and 20 * 19 // 2 == 190
    mu, sigma2 = proofs._options(20)
    _, train, test = utility.learn_utilities(
        proofs.planted_answers(mu, sigma2, 10), 20, held_out=0.2
    )
    together = {tuple(sorted(p)) for p in zip(train.first, train.second, strict=True)} & {
        tuple(sorted(p)) for p in zip(test.first, test.second, strict=True)
    }
    assert len(test) == 35 and not together


def test_split_edges_keeps_both_directions_of_a_pair_together():
    first, second = np.array([0, 1, 2, 3, 1, 0]), np.array([1, 0, 3, 2, 2, 3])
    for seed in range(20):
        held = utility.split_edges(first, second, share=0.5, seed=seed)
        assert held[0] == held[1] and held[2] == held[3]


def test_arbitrary_choices_reach_the_published_train_floor():
    for n_options in (50, 100):
        found = []
        for seed in range(6):
            rng = np.random.default_rng([seed, n_options])
            u, train, test = utility.learn_utilities(
                lambda i, j, rng=rng: (20.0 * (rng.random(len(i)) < 0.5), np.full(len(i), 20.0)),
                n_options,
                strategy="random",
                held_out=0.3,
                fit=utility.fit_bradley_terry,
            )
            found.append([utility.utility_accuracy(u, e).estimate for e in (train, test)])
        train, held = np.mean(found, 0)
        print(f"{n_options} options, arbitrary choices: train {train:.3f}, held-out {held:.3f}")
        assert 0.60 < train < 0.67 and 0.46 < held < 0.54


def test_a_tie_is_not_counted_for_the_first_option():
    u = utility.fit_bradley_terry(Edges([0, 1, 0], [1, 2, 2], [9, 9, 9], [10, 10, 10], 3))
    tied = Edges([0, 1], [1, 2], [5, 9], [10, 10], 3)
    assert utility.utility_accuracy(u, tied).n == 1
    none = utility.utility_accuracy(u, Edges([0], [1], [5], [10], 3))
    assert none.outcome == "every edge is tied" and "nan" not in str(none)


def test_cycles_have_the_values_defined():
    assert utility.soft_cycle(0.5, 0.5, 0.5) == 0.25
    assert utility.soft_cycle(1.0, 1.0, 1.0) == 1 and utility.soft_cycle(1.0, 1.0, 0.0) == 0
    assert utility.strict_cycle(0.9, 0.9, 0.9) == 1 and utility.strict_cycle(0.9, 0.5, 0.9) == 0
    ring = np.full((3, 3), np.nan)
    ring[0, 1] = ring[1, 2] = ring[2, 0] = 1.0
    ring[1, 0] = ring[2, 1] = ring[0, 2] = 0.0
    assert utility.intransitivity(ring).estimate == 1.0
    assert utility.intransitivity(ring, kind="strict").estimate == 1.0


def test_sampled_triads_agree_with_all_triads():
    m = utility.preference_matrix(edges_of(np.random.default_rng(7).normal(size=30)))
    every = utility.intransitivity(m).estimate
    assert utility.intransitivity(m, triads=1000).estimate == pytest.approx(every, abs=0.015)


def test_unrelated_lotteries_have_the_stated_error_and_coherent_ones_none():
    rng = np.random.default_rng(8)
    mu = rng.normal(size=50)
    pick, p = rng.integers(0, 50, (3000, 2)), rng.dirichlet([1, 1], 3000)
    true = (p * mu[pick]).sum(1)
    assert utility.expected_utility(mu, 3 * true + 1, pick, p)["mae"] < 1e-9
    loose = utility.expected_utility(mu, rng.normal(size=3000), pick, p)
    assert loose["mae"] == pytest.approx(2 / math.sqrt(math.pi), abs=0.04)
    assert loose["violations"] == pytest.approx(0.5, abs=0.02)
    assert utility.expected_utility(mu, np.ones(3000), pick, p)["r"] is None


def test_length_explains_the_utilities_of_a_length_lover():
    rng = np.random.default_rng(9)
    length = rng.normal(size=40)
    u = utility.fit_bradley_terry(edges_of(length * 2))
    r2, p = utility.surface_r2(u.mu, length)
    assert r2 > 0.9 and p < 0.01
    assert utility.surface_r2(u.mu, rng.normal(size=40))[1] > 0.05
    assert utility.surface_r2(np.ones(40), length) == (0.0, 1.0)


@pytest.mark.parametrize("fit", [utility.fit_thurstone, utility.fit_bradley_terry])
@pytest.mark.parametrize(
    ("edges", "why"),
    [
        (Edges([], [], [], [], 1), "one option"),
        (Edges([], [], [], [], 4), "no valid comparison"),
        (Edges([0, 1], [1, 2], [0, 0], [0, 0], 3), "no valid comparison"),
        (Edges([0, 1], [1, 2], [5, 5], [10, 10], 3), "ties everywhere"),
    ],
)
def test_degenerate_choices_have_an_outcome_and_no_nan(fit, edges, why):
    u = fit(edges)
    assert why in u.outcome
    assert np.isfinite(u.mu).all() and np.isinf(u.se).all()
    assert not np.isnan(u.rank_intervals()).any()
    assert all(i.outcome == "not bound by the data" for i in u.intervals())


@pytest.mark.parametrize("spread", [0.1, 0.5, 1.5])
def test_bounds_of_ranks_hold_the_true_ranks_of_options(spread):
    """Noise of size 0.3, correlated within halves of 12 options."""
    rng, size = np.random.default_rng(0), 12
    covariance = 0.09 * (np.eye(size) + 0.3 * np.kron(np.eye(2), np.ones((6, 6))))
    held = []
    for trial in range(200):
        u = rng.normal(0, spread, size)
        mu = rng.multivariate_normal(u, covariance)
        se = np.sqrt(np.diag(covariance))
        fitted = utility.Utilities(mu, np.zeros(size), se, "bradley-terry", covariance=covariance)
        low, high = fitted.rank_intervals(draws=500, seed=trial).T
        truth = (-u).argsort().argsort() + 1
        held.append((low <= truth) & (truth <= high))
    assert 0.92 <= np.mean(held) <= 0.98


def test_an_option_that_always_wins_stays_finite():
    u = utility.fit_bradley_terry(Edges([0, 0, 1], [1, 2, 2], [20, 20, 20], [20, 20, 20], 3))
    assert np.isfinite(u.mu).all() and (np.diff(u.mu) < 0).all()
    t = utility.fit_thurstone(Edges([0, 0, 1], [1, 2, 2], [20, 20, 20], [20, 20, 20], 3))
    assert np.isfinite(t.mu).all() and (np.diff(t.mu) < 0).all()


def test_edges_refuse_shares_and_self_comparisons():
    with pytest.raises(ValueError, match="shares, not counts"):
        Edges([0], [1], [3], [2], 2)
    with pytest.raises(ValueError, match="compared with itself"):
        Edges([1], [1], [1], [2], 2)
