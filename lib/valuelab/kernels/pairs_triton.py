"""Bradley–Terry pair loss: the first kernel of the lesson, forward and backward."""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def pair_loss_kernel(chosen_ptr, rejected_ptr, loss_ptr, n, margin, BLOCK: tl.constexpr):
    """loss = log(1 + e^-x) with x = chosen - rejected - margin, safe for any x."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    chosen = tl.load(chosen_ptr + i, mask=inside, other=0.0).to(tl.float32)
    rejected = tl.load(rejected_ptr + i, mask=inside, other=0.0).to(tl.float32)
    x = chosen - rejected - margin
    e = tl.exp(-tl.abs(x))
    u = 1.0 + e  # log1p by hand: log(u) corrected for what u lost of e
    log1p = tl.where(u == 1.0, e, tl.log(u) * e / tl.where(u == 1.0, 1.0, u - 1.0))
    tl.store(loss_ptr + i, tl.maximum(-x, 0.0) + log1p, mask=inside)


@triton.jit
def pair_loss_backward_kernel(g_ptr, chosen_ptr, rejected_ptr, out_ptr, n, margin, BLOCK: tl.constexpr):
    """d loss / d chosen = -sigmoid(-x); the rejected score gets the opposite."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    chosen = tl.load(chosen_ptr + i, mask=inside, other=0.0).to(tl.float32)
    rejected = tl.load(rejected_ptr + i, mask=inside, other=0.0).to(tl.float32)
    g = tl.load(g_ptr + i, mask=inside, other=0.0)
    x = chosen - rejected - margin
    e = tl.exp(-tl.abs(x))
    wrong = tl.where(x >= 0, e, 1.0) / (1.0 + e)  # sigmoid(-x) without overflow
    tl.store(out_ptr + i, -g * wrong, mask=inside)


def pair_loss(chosen: Tensor, rejected: Tensor, margin: float) -> Tensor:
    """Launch. chosen, rejected: (n,) contiguous -> loss (n,) float32."""
    loss = torch.empty(chosen.shape, dtype=torch.float32, device=chosen.device)
    n = chosen.numel()
    if n:
        grid = (triton.cdiv(n, BLOCK),)
        pair_loss_kernel[grid](chosen, rejected, loss, n, margin, BLOCK=BLOCK, num_warps=4)
    return loss


def pair_loss_backward(g: Tensor, chosen: Tensor, rejected: Tensor, margin: float) -> Tensor:
    """Launch. Returns the gradient for the chosen scores, (n,) float32."""
    out = torch.empty(chosen.shape, dtype=torch.float32, device=chosen.device)
    n = chosen.numel()
    if n:
        grid = (triton.cdiv(n, BLOCK),)
        pair_loss_backward_kernel[grid](g, chosen, rejected, out, n, margin, BLOCK=BLOCK, num_warps=4)
    return out
