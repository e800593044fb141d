"""Exact policies on finite reply sets, against simulation, optimisation and known formulas."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from valuelab.rewards.exact import (
    at_kl,
    best_of_n,
    best_of_n_kl,
    best_of_n_win_rate,
    expected,
    kl_from_base,
    kl_optimal,
    strength_at_kl,
    win_rate,
)
from valuelab.rewards.transforms import log_sigmoid_centered


@pytest.fixture
def scores():
    torch.manual_seed(0)
    return torch.randn(6, 50, dtype=torch.float64)


def test_no_policy_has_a_higher_penalised_reward_than_the_closed_form(scores):
    log_base = torch.log_softmax(torch.randn(6, 50, dtype=torch.float64), -1)
    best = kl_optimal(scores, 2.0, log_base)

    def objective(log_p):
        return expected(log_p, scores) - kl_from_base(log_p, log_base) / 2.0

    # and its value is log E_base[exp(strength u)] / strength
    torch.testing.assert_close(
        objective(best), torch.logsumexp(log_base + 2 * scores, -1) / 2.0
    )
    for seed in range(20):
        torch.manual_seed(seed)
        other = torch.log_softmax(best + 0.3 * torch.randn_like(best), -1)
        assert (objective(other) < objective(best)).all()


@given(st.floats(0.01, 2.5), st.integers(0, 20), st.floats(0.01, 100))
def test_strength_is_found_for_any_kl_and_any_scale_of_the_utility(kl, seed, scale):
    torch.manual_seed(seed)
    u = scale * torch.randn(4, 64, dtype=torch.float64)
    log_p = kl_optimal(u, strength_at_kl(u, kl))
    assert float(kl_from_base(log_p).mean()) == pytest.approx(kl, abs=1e-7)


def test_matched_kl_makes_the_scale_of_a_raw_reward_irrelevant(scores):
    torch.testing.assert_close(at_kl(scores, 1.0), at_kl(7 * scores, 1.0), atol=1e-6, rtol=0)


def test_kl_out_of_reach_is_refused(scores):
    with pytest.raises(ValueError, match="outside"):
        strength_at_kl(scores, math.log(50) + 0.1)
    with pytest.raises(ValueError, match="outside"):
        strength_at_kl(torch.zeros(2, 5), 0.5)  # constant rewards lead nowhere


@given(st.integers(1, 12), st.integers(0, 10))
def test_best_of_n_is_the_frequency_of_simulated_draws_with_ties(n, seed):
    g = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (6,), generator=g).double()  # many ties
    log_base = torch.log_softmax(torch.randn(6, generator=g, dtype=torch.float64), -1)
    draws = torch.multinomial(log_base.exp(), 20_000 * n, replacement=True, generator=g)
    draws = draws.view(20_000, n)
    picked = draws.gather(1, scores[draws].argmax(1, keepdim=True))[:, 0]
    # argmax takes the first of tied draws, which is exchangeable, hence random among ties
    frequency = torch.bincount(picked, minlength=6) / 20_000
    torch.testing.assert_close(
        best_of_n(scores, n, log_base).exp(), frequency.double(), atol=0.02, rtol=0
    )


def test_best_of_one_is_the_base_and_many_replies_reach_the_formulas():
    scores = torch.arange(20_000, dtype=torch.float64)
    torch.testing.assert_close(kl_from_base(best_of_n(scores, 1)), torch.zeros(()).double())
    few = torch.arange(3000, dtype=torch.float64)
    for n in (2, 8):
        log_p = best_of_n(scores, n)
        assert float(kl_from_base(log_p)) == pytest.approx(best_of_n_kl(n), abs=1e-3)
        assert float(win_rate(best_of_n(few, n), few)) == pytest.approx(
            best_of_n_win_rate(n), abs=1e-3
        )
    with pytest.raises(ValueError, match="at least 1"):
        best_of_n(scores, 0)


@given(st.integers(2, 30), st.integers(2, 40))
def test_the_kl_formula_is_an_upper_bound_on_few_replies(n, replies):
    exact = float(kl_from_base(best_of_n(torch.arange(replies).double(), n)))
    assert exact <= best_of_n_kl(n) + 1e-9


def test_best_of_n_never_draws_what_the_base_cannot_say():
    log_base = torch.tensor([0.5, 0.5, 0.0]).log()
    p = best_of_n(torch.tensor([1.0, 2.0, 3.0]), 4, log_base).exp()
    assert p[2] == 0 and float(p.sum()) == pytest.approx(1)


@given(st.integers(0, 30), st.integers(1, 16))
def test_best_of_n_on_one_reward_is_the_same_raw_and_transformed(seed, n):
    torch.manual_seed(seed)
    r = torch.randn(3, 20, dtype=torch.float64)
    u = log_sigmoid_centered(r, r.quantile(0.85, dim=1, keepdim=True))
    torch.testing.assert_close(best_of_n(r, n), best_of_n(u, n))


def test_at_equal_kl_the_optimal_policy_is_at_least_as_good_as_best_of_n(scores):
    policy = best_of_n(scores, 8)
    kl = float(kl_from_base(policy).mean())
    better = at_kl(scores, kl)
    assert expected(better, scores).mean() >= expected(policy, scores).mean()
