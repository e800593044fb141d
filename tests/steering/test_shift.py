"""Claims about the mathematics of steering."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from valuelab.steering import (
    ablate,
    additive_shift,
    gauss_seidel_sweep,
    joint_shift,
    logit,
    minimal_shift,
    project,
    sequential_shift,
    solve_lcp,
)


def states(n=64, d=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=draw).double(), torch.randn(d, generator=draw).double()


def correlated(k, d, rho, seed=0):
    """k weights whose cosines are near rho, of different lengths."""
    draw = torch.Generator().manual_seed(seed)
    shared = torch.randn(d, generator=draw).double()
    own = torch.randn(k, d, generator=draw).double()
    W = math.sqrt(rho) * shared + math.sqrt(1 - rho) * own
    return W / W.norm(dim=1, keepdim=True) * torch.linspace(1, 3, k)[:, None]


def worst_miss(h, d, W, b, target, side):
    score = (h + d) @ W.T + b
    sign = torch.tensor([{"at least": 1.0, "at most": -1.0}[s] for s in side])
    return (sign * (torch.tensor([logit(p) for p in target]) - score)).clamp(min=0).max().item()


def test_minimal_shift_lands_on_target_and_spares_states_already_there():
    h, w = states()
    before = torch.sigmoid(h @ w - 0.3)
    after = torch.sigmoid((h + minimal_shift(h, w, -0.3, 0.9)) @ w - 0.3)
    assert (before > 0.9).any() and (before < 0.9).any()  # both branches run
    torch.testing.assert_close(after, before.clamp(min=0.9))


def test_a_ceiling_lowers_and_exactly_does_both():
    h, w = states()
    before = torch.sigmoid(h @ w + 0.2)
    under = torch.sigmoid((h + minimal_shift(h, w, 0.2, 0.4, "at most")) @ w + 0.2)
    torch.testing.assert_close(under, before.clamp(max=0.4))
    on = torch.sigmoid((h + minimal_shift(h, w, 0.2, 0.4, "exactly")) @ w + 0.2)
    torch.testing.assert_close(on, torch.full_like(on, 0.4))


def test_no_shorter_shift_reaches_the_target():
    h, w = states(1)
    d = minimal_shift(h, w, 0.0, 0.99)
    draw = torch.Generator().manual_seed(1)
    other = torch.randn(1000, 8, generator=draw).double()
    other = other / other.norm(dim=1, keepdim=True) * d.norm()
    assert ((h + other) @ w).max() < ((h + d) @ w).item()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtype_is_kept_and_the_target_met_to_its_precision(dtype):
    h, w = states(200, 64)
    w = w / w.norm()
    h = h.to(dtype)
    d = minimal_shift(h, w.float(), 0.0, 0.9)
    assert d.dtype == dtype and d.shape == h.shape
    reached = (h + d).double() @ w
    slack = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 0.1}[dtype]
    assert reached.min() > logit(0.9) - slack


@pytest.mark.parametrize("target", [0.0, 1.0, -1, float("nan")])
def test_impossible_targets_are_explained(target):
    h, w = states()
    with pytest.raises(ValueError, match="no finite logit.*e.g. 0.9"):
        minimal_shift(h, w, 0.0, target)


def test_wrong_widths_zero_weights_and_unknown_sides_are_explained():
    h, w = states()
    for call in (minimal_shift,):
        with pytest.raises(ValueError, match=r"w has shape \(7,\) but h ends in 8"):
            call(h, w[:7], 0.0, 0.9)
        with pytest.raises(ValueError, match="all zeros.*Retrain"):
            call(h, 0 * w, 0.0, 0.9)
        with pytest.raises(ValueError, match="at least, at most, exactly"):
            call(h, w, 0.0, 0.9, "up")
    with pytest.raises(ValueError, match="additive_shift: w has shape"):
        additive_shift(h, w[:7])
    with pytest.raises(ValueError, match="all zeros"):
        ablate(h, 0 * w)


def test_additive_shift_is_the_same_for_every_state():
    h, v = states()
    d = additive_shift(h.float(), v, -2.0)
    torch.testing.assert_close(d, (-2 * v).float().expand(64, 8))


def test_ablation_removes_the_component_and_nothing_else():
    h, v = states()
    rest = ablate(h, v)
    torch.testing.assert_close(rest @ v, torch.zeros(64).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(ablate(rest, v), rest)
    across = torch.linalg.qr(torch.stack([v, *torch.eye(8).double()[:7]]).T).Q[:, 1:]
    torch.testing.assert_close(rest @ across, h @ across)
    torch.testing.assert_close(project(h, v, 2.0) @ v / v.norm(), torch.full((64,), 2.0).double())


# ------------------------------------------------------------------- several values

SIDES = ["at least", "at least", "at most"] * 3
TARGETS = [0.9, 0.8, 0.2] * 3


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_joint_shift_meets_every_target_where_one_after_the_other_misses(k, rho):
    h, _ = states(128, 48)
    W, b = correlated(k, 48, rho), torch.linspace(-1, 1, k)
    want = (W, b, TARGETS[:k], SIDES[:k])
    assert worst_miss(h, joint_shift(h, *want), *want) < 1e-3
    if k > 2 and rho > 0:  # two that push the same way help each other
        assert worst_miss(h, sequential_shift(h, *want), *want) > 0.5


def test_float32_states_stay_within_a_thousandth_of_the_float64_optimum():
    h, _ = states(128, 256)
    W, b = correlated(8, 256, 0.9), torch.zeros(8)
    want = (b, TARGETS[:8], SIDES[:8])
    exact = joint_shift(h, W, *want, ridge=0.0)
    ours = joint_shift(h.float(), W.float(), *want).double()
    assert ((ours - exact) @ W.T).abs().max() < 1e-3
    assert worst_miss(h, ours, W, *want) < 1e-3


def test_the_joint_shift_is_the_shortest_one_by_an_independent_solver():
    h, _ = states(12, 6)
    W, b = correlated(3, 6, 0.5), torch.tensor([0.1, -0.2, 0.3])
    ours = joint_shift(h, W, b, TARGETS[:3], SIDES[:3], ridge=0.0)
    sign = np.array([1, 1, -1])
    goal = np.array([logit(p) for p in TARGETS[:3]])
    for x, d in zip(h.numpy(), ours.numpy(), strict=True):
        found = minimize(
            lambda z: z @ z, np.zeros(6), jac=lambda z: 2 * z, method="SLSQP",
            constraints={"type": "ineq", "jac": lambda z: sign[:, None] * W.numpy(),
                         "fun": lambda z, x=x: sign * (W.numpy() @ (x + z) + b.numpy() - goal)},
            options={"ftol": 1e-14, "maxiter": 500},
        )  # fmt: skip
        np.testing.assert_allclose(d, found.x, atol=1e-6)


def test_one_value_jointly_is_the_closed_form():
    h, w = states()
    for side in ("at least", "at most", "exactly"):
        d = joint_shift(
            h, w[None], torch.tensor([0.3]), [0.7], [side], ridge=0.0 if side != "exactly" else 1e-6
        )
        torch.testing.assert_close(d, minimal_shift(h, w, 0.3, 0.7, side), atol=1e-5, rtol=1e-5)


def test_sequential_is_one_sweep_of_gauss_seidel():
    h, _ = states(32, 16)
    W, b = correlated(4, 16, 0.6), torch.zeros(4).double()
    need = torch.tensor([logit(0.9)] * 4).double() - h @ W.T
    gram, lam = W @ W.T, torch.zeros(32, 4).double()
    for k in range(4):  # one sweep: each coordinate in turn, the others as they are now
        lam[:, k] = ((need[:, k] - lam @ gram[k]) / gram[k, k]).clamp(min=0)
    ours = sequential_shift(h, W, b, [0.9] * 4)
    torch.testing.assert_close(ours, lam @ W)


def test_lcp_solutions_are_complementary():
    draw = torch.Generator().manual_seed(3)
    A = torch.randn(10, 14, generator=draw).double()
    gram, need = A @ A.T, torch.randn(500, 10, generator=draw).double()
    lam = solve_lcp(gram, need)
    y = lam @ gram - need
    assert lam.min() >= 0 and y.min() > -1e-8 and (lam * y).abs().max() < 1e-7
    assert 0 < (lam > 0).float().mean() < 1


def fathi(m):
    """Symmetric, positive definite, and the worst there is for least-index pivoting: 2^m − 1 turns (Fathi 1979)."""
    L = torch.eye(m).double() + 2 * torch.ones(m, m).double().triu(1)
    return L @ L.T, torch.ones(1, m).double()


def test_a_problem_that_takes_too_many_pivots_is_said_to_be_unsolved():
    gram, need = fathi(6)
    y = solve_lcp(gram, need) @ gram - need
    assert y.min() > -1e-8  # 63 pivots are few enough
    with pytest.raises(ValueError, match="not solved after 640 pivots.*raise ridge"):
        solve_lcp(*fathi(10))


def test_contradictory_demands_stay_finite_and_short():
    h, w = states(64, 32)
    draw = torch.Generator().manual_seed(4)
    near = w + 1e-3 * torch.randn(32, generator=draw).double()
    for other in (w, near):
        W = torch.stack([w, other])
        for dtype in (torch.float32, torch.float64):
            d = joint_shift(
                h.to(dtype), W.to(dtype), torch.zeros(2), [0.9, 0.1], ["at least", "at most"]
            )
            assert d.isfinite().all() and (d.norm(dim=1) / h.norm(dim=1)).max() < 1
    ways = ["at least", "at most"]
    with pytest.raises(ValueError, match="singular.*ridge > 0"):
        joint_shift(h, torch.stack([w, w]), torch.zeros(2), [0.9, 0.1], ways, ridge=0.0)


def test_the_cap_shortens_long_steps_and_no_other():
    h, _ = states(64, 16)
    W, b = correlated(2, 16, 0.5), torch.zeros(2)
    free = joint_shift(h, W, b, [0.9, 0.9])
    capped = joint_shift(h, W, b, [0.9, 0.9], cap=1.0)
    length = free.norm(dim=1)
    assert (length > 1).any() and (length < 1).any()
    torch.testing.assert_close(capped.norm(dim=1), length.clamp(max=1.0))
    torch.testing.assert_close(capped[length < 1], free[length < 1])


def test_numbers_that_do_not_match_are_explained():
    h, w = states()
    with pytest.raises(ValueError, match="2 weights, 1 biases, 2 targets, 2 sides"):
        joint_shift(h, torch.stack([w, w]), torch.zeros(1), [0.9, 0.9])
    with pytest.raises(ValueError, match="all zeros"):
        joint_shift(h, torch.stack([w, 0 * w]), torch.zeros(2), [0.9, 0.9])


def test_states_of_any_shape_and_gradients_pass():
    h = torch.randn(2, 3, 8, requires_grad=True)
    W = torch.randn(2, 8)
    for d in (
        minimal_shift(h, W[0], 0.0, 0.9),
        joint_shift(h, W, torch.zeros(2), [0.9, 0.2], ["at least", "at most"]),
        sequential_shift(h, W, torch.zeros(2), [0.9, 0.2]),
    ):
        assert d.shape == h.shape
        (g,) = torch.autograd.grad(d.square().sum(), h)
        assert g.isfinite().all() and g.any()


# ---------------------------------------------------------------- one value after the other


def problem(seed=0, k=4, rho=0.7):
    """States, signed weights, biases, targets and sides, with the joint problem's matrix."""
    h, _ = states(50, 12, seed)
    W, b = correlated(k, 12, rho, seed), torch.linspace(-1, 1, k).double()
    target, side = [0.9, 0.2, 0.8, 0.6][:k], ["at least", "at most", "at least", "at least"][:k]
    sign = torch.tensor([{"at least": 1.0, "at most": -1.0}[s] for s in side]).double()
    signed = sign[:, None] * W
    need = sign * (torch.tensor([logit(p) for p in target]).double() - (h @ W.T + b))
    return h, W, b, target, side, signed, need


def test_the_first_sweep_from_nothing_is_one_value_after_the_other():
    h, W, b, target, side, signed, need = problem()
    lam = gauss_seidel_sweep(signed @ signed.T, need, torch.zeros_like(need))
    torch.testing.assert_close(lam @ signed, sequential_shift(h, W, b, target, side))


def test_sweeps_end_at_the_joint_solution_and_the_first_does_not():
    h, W, b, target, side, signed, need = problem()
    gram, lam = signed @ signed.T, torch.zeros_like(need)
    best = joint_shift(h, W, b, target, side, ridge=0.0)
    far = []
    for _ in range(400):
        lam = gauss_seidel_sweep(gram, need, lam)
        far.append(float((lam @ signed - best).norm(dim=-1).max()))
    assert far[0] > 0.1 and far[-1] < 1e-6
    torch.testing.assert_close(lam, solve_lcp(gram, need), atol=1e-6, rtol=0)


def test_sweeping_lets_a_multiplier_shrink_and_leaves_its_start_alone():
    *_, signed, need = problem(1)
    first = gauss_seidel_sweep(signed @ signed.T, need, torch.zeros_like(need))
    kept = first.clone()
    second = gauss_seidel_sweep(signed @ signed.T, need, first)
    assert torch.equal(first, kept)
    assert (second < first - 1e-9).any() and (second >= 0).all()
