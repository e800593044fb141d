"""Kernel 5: Bradley–Terry pair loss."""

import pytest
import torch
from kernel_buffers import Guarded, close, draw, poisoned_outputs

from valuelab import kernels

NORMAL = 1.2e-38  # smaller float32 numbers have fewer bits, and a GPU may flush them to zero


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("n", [1, 37, 1024, 2500])
def test_loss_and_gradient_agree_with_float64(device, n, dtype):
    chosen, rejected = (draw(2, n, dtype=torch.float64) * 20).to(dtype).to(device)
    ours = [t.clone().requires_grad_() for t in (chosen, rejected)]
    loss = kernels.pair_loss(*ours, margin=0.5)
    weight = draw(n, seed=2, device=device)
    (loss * weight).sum().backward()
    exact = [t.double().requires_grad_() for t in (chosen, rejected)]
    x = exact[0] - exact[1] - 0.5
    want = torch.logaddexp(-x, torch.zeros_like(x))
    (want * weight).sum().backward()
    ulps = 8 + 2 * x.detach().abs()  # e^x on a GPU is 2^(x log2 e): its error grows with x
    close(loss, want.detach(), torch.float32, ulps=ulps.cpu(), slack=NORMAL)
    slack = 6e-8 if dtype == torch.float16 else NORMAL  # below that, float16 has no bits left
    for o, e in zip(ours, exact, strict=True):
        close(o.grad, e.grad, dtype, ulps=0.51 if dtype.itemsize < 4 else ulps.cpu(), slack=slack)


def test_a_certain_pair_keeps_its_small_loss(device):
    """log(1 + e) alone rounds e away below 6e-8: the gradient would vanish with the loss."""
    x = torch.tensor([8.0, 14.0, 18.0, 40.0, 80.0], device=device)
    loss = kernels.pair_loss(x, torch.zeros_like(x))
    close(loss, torch.log1p(torch.exp(-x.double())), torch.float32, ulps=8 + 2 * x.double().cpu())
    assert (loss > 0).all()
    assert kernels.pair_loss(-1e4 * x, x).isfinite().all()


def test_reads_and_writes_nothing_outside(device):
    pair = [Guarded(draw(1, 37, seed=s, device=device), shift=1) for s in (0, 1)]
    with poisoned_outputs():
        loss = kernels.pair_loss(*(p.view[0] for p in pair))
    assert loss.isfinite().all() and all(p.untouched_outside() for p in pair)
    assert kernels.pair_loss(loss[:0], loss[:0]).shape == (0,)
    with pytest.raises(ValueError, match="same model"):
        kernels.pair_loss(loss, loss[:3])
