"""Kernel 3: residual add + steering + RMSNorm."""

import pytest
import torch
from kernel_buffers import Guarded, close, draw, poisoned_outputs

from valuelab import kernels

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def task(n, d, dtype, device):
    x, residual = draw(n, d, dtype=dtype, device=device), draw(n, d, seed=1, dtype=dtype, device=device)
    gain = (1 + draw(d, seed=2) / 5).to(dtype).to(device)
    w = draw(d, seed=3, device=device) / d**0.5
    return x, residual, gain, w, kernels.settings(0.2, 0.9, device=device)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize("shape", [(1, 1), (5, 123), (37, 256), (18, 1000)], ids=str)
def test_agrees_with_float64_at_each_rounding(device, shape, dtype):
    x, residual, gain, w, packed = task(*shape, dtype, device)
    normed, total, score, size = kernels.add_steer_norm(x, residual, gain, w, packed, eps=1e-5, report=True)
    summed = (x + residual).double()  # the sum is stored in the states' dtype, fused or not
    want, z, length = kernels.steer_reference(summed, w.double(), packed.double())
    close(score, z, torch.float32, slack=1e-6 * ((summed * w).abs().sum(1).cpu() + 1))
    close(size, length, torch.float32, slack=1e-5)
    close(total, want, dtype, slack=2e-6)
    stored = total.double()
    rms = (stored.square().mean(1, keepdim=True) + 1e-5).sqrt()
    close(normed, gain.double() * stored / rms, dtype, ulps=2.01 if dtype == torch.float32 else 1.01, slack=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
def test_reads_and_writes_nothing_outside_its_rows(device, dtype):
    x, residual, gain, w, packed = task(21, 75, dtype, device)
    x, residual = Guarded(x, gap=5, shift=1), Guarded(residual, gap=9)
    gain, w = Guarded(gain[None]), Guarded(w[None], shift=1)
    gate = (draw(21, seed=2) > 0).to(device)
    with poisoned_outputs():
        normed, total = kernels.add_steer_norm(x.view, residual.view, gain.view[0], w.view[0], packed, gate=gate)
    assert all(g.untouched_outside() for g in (x, residual, gain, w))
    assert normed.isfinite().all() and total.isfinite().all()
    assert torch.equal(total[~gate], (x.view + residual.view)[~gate])


def test_results_repeat_bit_for_bit_and_empty_input_is_fine(device):
    args = task(21, 75, torch.bfloat16, device)
    first, again = kernels.add_steer_norm(*args), kernels.add_steer_norm(*args)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    normed, total = kernels.add_steer_norm(args[0][:0], args[1][:0], *args[2:])
    assert normed.shape == total.shape == (0, 75)


def test_gradients_are_those_that_float64_autograd_finds(device):
    x, residual, gain, w, packed = task(12, 64, torch.float32, device)
    gate = (draw(12, seed=8) > -1).to(device)
    weights = draw(3, 12, 64, seed=9, device=device)

    def loss(found, weights):
        return (found[0] * weights[0]).sum() + (found[1] * weights[1]).sum() + found[2].sum() + found[3].sum()

    ours = [t.clone().requires_grad_() for t in (x, residual, gain)]
    loss(kernels.add_steer_norm(*ours, w, packed, gate=gate, report=True), weights).backward()
    exact = [t.double().requires_grad_() for t in (x, residual, gain)]
    loss(
        kernels.add_steer_norm_reference(*exact, w.double(), packed.double(), gate.double()),
        weights.double(),
    ).backward()
    for a, b in zip(ours, exact, strict=True):
        close(a.grad, b.grad, torch.float32, slack=1e-5)


def test_rows_wider_than_the_registers_run_on_the_reference(device):
    args = task(2, 16384 + 8, torch.float32, device)
    with kernels.using("torch"):
        want = kernels.add_steer_norm(*args)
    for a, b in zip(kernels.add_steer_norm(*args), want, strict=True):
        close(a, b, torch.float32, slack=1e-6)
