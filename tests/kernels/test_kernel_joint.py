"""Kernel 2: several values at once by exact principal pivoting."""

import itertools

import pytest
import torch
from kernel_buffers import Guarded, close, draw, poisoned_outputs

from valuelab import kernels
from valuelab.kernels.joint import choose_path

PATHS = ["fused", "library"]
SIDES = ["at least", "at least", "at most"]  # every third value is pushed down


def probes(k, d, correlation, device, seed=1):
    """Unit directions whose cosines are all `correlation`."""
    own = torch.linalg.qr(draw(d, k + 1, seed=seed, dtype=torch.float64))[0].T
    mixed = correlation**0.5 * own[:1] + (1 - correlation) ** 0.5 * own[1:]
    return mixed.float().to(device)


def task(n, k, d, correlation, device, dtype=torch.float32):
    h = draw(n, d, dtype=dtype, device=device)
    w = probes(k, d, correlation, device)
    sides = list(itertools.islice(itertools.cycle(SIDES), k))
    bias, target = draw(k, seed=3) / 3, draw(k, seed=4)
    return h, w, kernels.settings(bias, target, sides, device)


def kkt(h, w, packed, coef, ridge):
    """Natural residual of the optimality conditions, max |min(push, slack)|, in float64.

    Zero if and only if no constraint is violated, none pulls, and none pushes beyond its target.
    For an equality it is the miss itself.
    """
    h, w, c = h.double().cpu(), w.double().cpu(), coef.double().cpu()
    bias, target, sign = packed.double().cpu()
    way = torch.where(sign < 0, -1.0, 1.0).double()
    gram = w @ w.T
    slack = way * (h @ w.T + bias - target + c @ gram + ridge * c * gram.diagonal())
    return torch.where(sign == 0, slack, torch.minimum(way * c, slack)).abs().max().item()


def by_enumeration(need, gram):
    """The programme solved by trying every active set: slow, and nothing to do with pivoting."""
    k = len(need)
    best = None
    for size in range(k + 1):
        for active in itertools.combinations(range(k), size):
            x = torch.zeros(k, dtype=torch.float64)
            if active:
                index = torch.tensor(active)
                x[index] = torch.linalg.solve(gram[index][:, index], need[index])
            y = gram @ x - need
            if (x >= -1e-12).all() and (y >= -1e-9).all():
                length = x @ gram @ x
                if best is None or length < best[0]:
                    best = (length, x)
    return best[1]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("k", [1, 2, 5, 8, 13, 16])
@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.9])
def test_the_step_is_optimal_at_any_correlation(device, k, correlation, path):
    h, w, packed = task(64, k, 200, correlation, device)
    ready = kernels.prepare(w, h.dtype)
    for ridge in (0.0, 1e-3):
        out, score, coef, size = kernels.steer_joint(h, ready, packed, ridge=ridge, report=True, path=path)
        assert (coef != 0).any()
        assert kkt(h, w, packed, coef, ridge) <= 1e-4
        step = coef.double() @ w.double()
        close(out, h.double() + step, torch.float32, slack=1e-5)
        close(size, step.norm(dim=1), torch.float32, slack=1e-4)
        close(score, h.double() @ w.double().T + packed[0].double(), torch.float32, slack=1e-5)


def test_pivoting_finds_what_trying_every_active_set_finds(device):
    h, w, packed = task(20, 5, 64, 0.7, device)
    coef = kernels.steer_joint(h, kernels.prepare(w), packed, ridge=0.0, report=True)[2]
    way = torch.where(packed[2] < 0, -1.0, 1.0).double().cpu()
    gram = (w.double() @ w.double().T).cpu() * way[:, None] * way
    score = (h.double() @ w.double().T).cpu() + packed[0].double().cpu()
    for row in range(20):
        want = by_enumeration(way * (packed[1].double().cpu() - score[row]), gram)
        close(coef[row], want * way, torch.float32, slack=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_one_value_jointly_is_the_single_shift(device, path):
    h, w, packed = task(30, 1, 120, 0.0, device)
    joint = kernels.steer_joint(h, kernels.prepare(w), packed, ridge=0.0, path=path)
    close(joint, kernels.steer(h, w[0], packed[:, 0].contiguous()), torch.float32, slack=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_an_equality_is_met_exactly_beside_inequalities(device, path):
    h, w, _ = task(40, 4, 100, 0.5, device)
    sides = ["at least", "exactly", "at most", "exactly"]
    packed = kernels.settings(0.0, [0.5, 0.1, -0.2, -0.3], sides, device)
    ready = kernels.prepare(w)
    out, _, coef, _ = kernels.steer_joint(h, ready, packed, ridge=0.0, report=True, path=path)
    after = out.double() @ w.double().T
    assert (after[:, 1] - 0.1).abs().max() < 1e-5 and (after[:, 3] + 0.3).abs().max() < 1e-5
    assert after[:, 0].min() > 0.5 - 1e-5 and after[:, 2].max() < -0.2 + 1e-5
    assert kkt(h, w, packed, coef, 0.0) <= 1e-4


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("ridge", [1e-3, 0.0])
def test_contradictory_duplicate_and_zero_directions_stay_finite(device, path, ridge):
    h = draw(48, 90, device=device)
    one, other = probes(2, 90, 0.2, device)
    near = one + 1e-3 * other
    for rows, sides in (
        ([one, one, other], ["at least", "at most", "at least"]),
        ([one, one, one], ["at least"] * 3),
        ([one, near, other], ["at least", "at most", "at least"]),
        ([one, torch.zeros_like(one), other], ["at least"] * 3),
    ):
        w = torch.stack(rows)
        packed = kernels.settings(0.0, [2.0, -2.0, 1.0], sides, device)
        ready = kernels.prepare(w)
        out, _, coef, size = kernels.steer_joint(h, ready, packed, ridge=ridge, report=True, path=path)
        assert out.isfinite().all() and coef.isfinite().all() and size.isfinite().all()
        if ridge:
            assert (size < 2 * h.norm(dim=1)).all()


@pytest.mark.parametrize("path", PATHS)
def test_the_cap_shortens_a_step_without_turning_it(device, path):
    h, w, packed = task(40, 6, 100, 0.6, device)
    ready = kernels.prepare(w)
    _, _, coef, size = kernels.steer_joint(h, ready, packed, report=True, path=path)
    _, _, less, short = kernels.steer_joint(h, ready, packed, cap=0.7, report=True, path=path)
    assert (size > 0.7).any() and (size < 0.7).any()
    close(short, size.clamp(max=0.7), torch.float32, slack=1e-6)
    ratio = (short / size.clamp(min=1e-9))[:, None]
    close(less, coef * ratio, torch.float32, slack=1e-5)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_reads_and_writes_nothing_outside_its_rows(device, dtype, path):
    data, w, packed = task(19, 3, 75, 0.4, device, dtype)
    h = Guarded(data, gap=5, shift=1)
    gate = (draw(19, seed=2) > 0).to(device)
    ready = kernels.prepare(w, dtype)
    with poisoned_outputs():
        out, score, coef, _ = kernels.steer_joint(h.view, ready, packed, gate=gate, report=True, path=path)
        again = kernels.steer_joint(h.view, ready, packed, gate=gate, inplace=True, path=path)
    assert h.untouched_outside() and again.data_ptr() == h.view.data_ptr()
    assert torch.equal(out, again) and torch.equal(out[~gate], data[~gate])
    exact_score = data.double() @ w.double().T + packed[0].double()
    scale = (data.double().abs() @ w.double().abs().T).cpu() + 1
    assert ((score.double() - exact_score).abs().cpu() <= 1e-6 * scale).all()
    close(out, data.double() + coef.double() @ w.double(), dtype, slack=2e-4 * (dtype.itemsize < 4) + 1e-6)


def test_results_repeat_bit_for_bit_and_empty_input_is_fine(device):
    h, w, packed = task(21, 8, 64, 0.5, device)
    ready = kernels.prepare(w)
    for path in PATHS:
        first = kernels.steer_joint(h, ready, packed, path=path, report=True)
        again = kernels.steer_joint(h, ready, packed, path=path, report=True)
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        empty = kernels.steer_joint(h[:0], ready, packed, path=path, report=True)
        assert [tuple(t.shape) for t in empty] == [(0, 64), (0, 8), (0, 8), (0,)]


@pytest.mark.parametrize("cap", [float("inf"), 0.8])
def test_the_gradient_is_the_one_that_float64_autograd_finds(device, cap):
    h, w, packed = task(16, 4, 60, 0.5, device)
    gate = torch.linspace(0, 1, 16, device=device)
    weight = draw(16, 60, seed=9, device=device)
    ours = h.clone().requires_grad_()
    out, score, coef, size = kernels.steer_joint(ours, kernels.prepare(w), packed, gate=gate, cap=cap, report=True)
    ((out * weight).sum() + score.square().sum() + coef.sum() + 3 * size.sum()).backward()
    exact = h.double().requires_grad_()
    w = w.double()
    out, score, coef, size = kernels.steer_joint_reference(exact, w, w @ w.T, packed.double(), gate.double(), 1e-3, cap)
    ((out * weight.double()).sum() + score.square().sum() + coef.sum() + 3 * size.sum()).backward()
    assert cap == float("inf") or ((size.detach() / gate.clamp(min=1e-9)) > 0.79).any()
    close(ours.grad, exact.grad, torch.float32, slack=2e-4)


def test_the_rule_takes_one_launch_for_few_rows_and_the_library_for_many():
    assert choose_path(16, 8) == "fused" and choose_path(1, 8) == "fused"
    assert choose_path(65536, 8) == "library" and choose_path(16, 16) == "library"


def test_bad_input_says_what_and_how_to_mend_it(device):
    h, w, packed = task(4, 3, 20, 0.1, device)
    with pytest.raises(ValueError, match="k from 1 to 16"):
        kernels.prepare(torch.zeros(17, 20))
    with pytest.raises(ValueError, match=r"prepare\(weight, h.dtype\)"):
        kernels.steer_joint(h.bfloat16(), kernels.prepare(w), packed)
    with pytest.raises(ValueError, match="0 or more"):
        kernels.steer_joint(h, kernels.prepare(w), packed, ridge=-1.0)
