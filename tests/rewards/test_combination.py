"""Palettes: constraints met or proved impossible, scipy as judge, sequential = joint."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from scipy.special import logsumexp

from valuelab.rewards.combination import (
    WARM_START,
    map_dual,
    pareto_front,
    reachable_region,
    relax_palette,
    sequential_palette,
    solve_palette,
)
from valuelab.rewards.exact import at_kl, expected, kl_from_base


def replies(n=400, k=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    mixing = torch.eye(k) + 0.4 * torch.randn(k, k, generator=g)
    return (torch.randn(n, k, generator=g) @ mixing).double()


def scipy_weights(r, c):
    def dual(w):
        z = r @ w
        norm = logsumexp(z)
        return norm - np.log(len(r)) - w @ c, np.exp(z - norm) @ r - c

    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 2000}
    start, bounds = np.zeros(len(c)), [(0, None)] * len(c)
    return minimize(dual, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x


def reachable(r, c):
    """Whether any mixture of the replies meets the targets: a linear programme, as judge."""
    n = len(r)
    found = linprog(np.zeros(n), A_ub=-r.T, b_ub=-c, A_eq=np.ones((1, n)), b_eq=[1])
    return found.status == 0


@given(st.integers(0, 40), st.integers(1, 5), st.floats(-0.5, 0.6))
def test_weights_agree_with_scipy_and_targets_are_met(seed, k, wish):
    r = replies(300, k, seed)
    c = r.mean(0) + wish * r.std(0)
    palette = solve_palette(r, c)
    if palette.feasible:
        assert palette.shortfall <= 1e-6
        log_p = palette.log_policy(r)
        assert palette.kl == pytest.approx(float(kl_from_base(log_p)), abs=1e-7)
        judged = scipy_weights(r.numpy(), c.numpy())
        np.testing.assert_allclose(palette.weights.numpy(), judged, atol=1e-4)
        active = palette.weights > 1e-6
        torch.testing.assert_close(palette.achieved[active], c[active], atol=1e-6, rtol=0)
        assert palette.dual == pytest.approx(palette.kl, abs=1e-5)
        assert palette.dual <= palette.max_dual + 1e-9


@given(st.integers(0, 40), st.integers(1, 4), st.floats(0.2, 3.0))
def test_the_verdict_is_that_of_a_linear_programme(seed, k, wish):
    r = replies(60, k, seed)
    c = r.mean(0) + wish * r.std(0)
    palette = solve_palette(r, c)
    assert palette.feasible == reachable(r.numpy(), c.numpy())
    if not palette.feasible:
        assert palette.status == "infeasible"
        assert palette.dual > palette.max_dual == pytest.approx(math.log(60))
        # the certificate can be checked by hand: no reply reaches what the weights demand
        assert palette.weights.min() >= 0
        assert float((r @ palette.weights).max()) < float(palette.weights @ c)


def test_dual_and_gradient_of_the_lesson_agree_with_autograd_and_never_overflow():
    r = replies()
    w = torch.tensor([0.5, 0.0, 1.5], dtype=torch.float64, requires_grad=True)
    value, gradient = map_dual(w, r, r.mean(0) + 0.2)
    torch.testing.assert_close(torch.autograd.grad(value, w)[0], gradient)
    value, gradient = map_dual(1e5 * w.detach(), r, r.mean(0) + 0.2)
    assert math.isfinite(value) and torch.isfinite(gradient).all()


def test_targets_below_the_base_cost_nothing_and_free_values_stay_free():
    r = replies()
    assert solve_palette(r, r.mean(0) - 1).kl == pytest.approx(0, abs=1e-12)
    free = solve_palette(r, [-math.inf, float(r[:, 1].mean()) + 0.5, -math.inf])
    assert free.feasible and free.weights[0] == 0 == free.weights[2] and free.weights[1] > 0


def test_prompts_keep_their_own_replies_and_share_the_weights():
    r = replies(800).view(8, 100, 3)
    c = r.mean((0, 1)) + 0.4
    palette = solve_palette(r, c)
    log_p = palette.log_policy(r)
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(8).double())
    achieved = torch.stack([expected(log_p, r[..., i]).mean() for i in range(3)])
    torch.testing.assert_close(achieved, palette.achieved, atol=1e-9, rtol=0)
    assert palette.shortfall <= 1e-6
    assert palette.kl == pytest.approx(float(kl_from_base(log_p).mean()), abs=1e-9)


def test_a_base_policy_counts_and_replies_it_cannot_say_stay_unsaid():
    r = torch.tensor([[0.0], [1.0], [5.0]])
    log_base = torch.tensor([0.5, 0.5, 0.0]).log()
    possible = solve_palette(r, [0.8], log_base)
    assert possible.feasible
    assert float(possible.achieved) == pytest.approx(0.8)
    assert solve_palette(r, [1.2], log_base).status == "infeasible"
    assert solve_palette(r, [1.2]).status == "feasible"


def test_the_full_set_agrees_with_the_warm_start_from_a_few():
    r = replies(5 * WARM_START, 4)
    c = r.mean(0) + 0.3 * r.std(0)
    palette = solve_palette(r, c)
    assert palette.shortfall <= 1e-6
    np.testing.assert_allclose(
        palette.weights.numpy(), scipy_weights(r.numpy(), c.numpy()), atol=1e-4
    )


def test_constant_and_repeated_rewards_do_not_stop_the_solver():
    r = replies(200, 2)
    doubled = torch.cat([r, r[:, :1], torch.ones(200, 1).double()], 1)
    palette = solve_palette(doubled, torch.cat([r.mean(0) + 0.3, r.mean(0)[:1] + 0.3,
                                                torch.tensor([1.0]).double()]))
    assert palette.feasible and palette.shortfall <= 1e-6
    impossible = solve_palette(doubled, [-9.0, -9.0, -9.0, 1.5])
    assert impossible.status == "infeasible"


def test_relaxation_grants_the_largest_feasible_share():
    r = replies(300)
    c = r.mean(0) + 4 * r.std(0)
    share, palette = relax_palette(r, c, resolution=1e-4)
    assert 0 < share < 1 and palette.feasible
    beyond = palette.base + (share + 2e-4) * (c - palette.base)
    assert not solve_palette(r, beyond).feasible
    assert relax_palette(r, r.mean(0) + 0.1)[0] == 1.0


def test_sequential_alignment_reaches_the_joint_solution_but_not_in_one_round():
    r = replies(500)
    c = r.mean(0) + 0.4 * r.std(0)
    joint = solve_palette(r, c).weights
    rounds = sequential_palette(r, c, rounds=40)
    distance = [float((w - joint).abs().max()) for w in rounds]
    assert distance[0] > 1e-2
    assert distance[-1] < 1e-5
    duals = [float(map_dual(w, r, c)[0]) for w in rounds]
    assert all(b >= a - 1e-10 for a, b in zip(duals, duals[1:], strict=False))


def test_nothing_on_the_front_is_beaten_by_any_policy_of_the_same_kl():
    r = replies(200, 2)
    front = pareto_front(r, kl=0.5)
    assert len(front) == 21
    torch.manual_seed(0)
    for _ in range(200):
        u = (r @ torch.randn(2, dtype=torch.float64) + 0.5 * torch.randn(200))[None]
        rival = expected(at_kl(u, 0.5)[0], r.T)
        for point in front:
            assert float(point.mix @ rival) <= float(point.mix @ point.achieved) + 1e-6
    first = [float(p.achieved[0]) for p in front]
    second = [float(p.achieved[1]) for p in front]
    assert first == sorted(first) and second == sorted(second, reverse=True)


def test_bad_input_is_refused_with_the_place():
    r = replies(20)
    bad = r.clone()
    bad[4, 2] = math.nan
    with pytest.raises(ValueError, match=r"\(0, 4, 2\)"):
        solve_palette(bad, r.mean(0))
    with pytest.raises(ValueError, match="one target per value"):
        solve_palette(r, [0.0, 1.0])
    with pytest.raises(ValueError, match="no policy"):
        solve_palette(r, [0.0, 1.0, math.inf])
    with pytest.raises(ValueError, match="expected"):
        solve_palette(r[:, 0], [0.0])
    with pytest.raises(ValueError, match="explicit mixes"):
        pareto_front(r, 0.5)


def test_the_reachable_region_is_what_the_solver_finds_feasible():
    r = replies(60)
    floor = float(r[:, 2].mean() + r[:, 2].std())
    corners = reachable_region(r, floor)
    centre = corners.mean(0)
    for corner in corners:
        for share, wanted in ((0.98, True), (1.02, False)):
            x, y = centre + share * (corner - centre)
            # pin both coordinates from above and below by adding the negated rewards as values
            pinned = torch.cat([r, -r[:, :2]], dim=1)
            slack = 1e-6
            target = [float(x) - slack, float(y) - slack, floor, -float(x) - slack,
                      -float(y) - slack]
            assert solve_palette(pinned, target, max_steps=300).feasible == wanted
    assert len(reachable_region(r, float(r[:, 2].max()) + 1)) == 0
