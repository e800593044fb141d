"""Token log-probability and entropy straight from logits. See logprob.py."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .common_triton import INTERPRETED, narrow


@triton.jit
def log_prob_kernel(
    logits_ptr, target_ptr, log_prob_ptr, entropy_ptr, lse_ptr,
    width, stride, inverse_temperature,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """One row a program, one pass: running maximum m, sum s of e^(x-m), and t of e^(x-m) (x-m)."""
    row = tl.program_id(0).to(tl.int64)
    start_of_row = logits_ptr + row * stride
    m = -1e30
    s = tl.zeros((BLOCK,), tl.float32)
    t = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(start_of_row + column, mask=column < width, other=float("-inf"))
        x = x.to(tl.float32) * inverse_temperature
        higher = tl.maximum(m, tl.max(x, axis=0))
        shrink = tl.exp(m - higher)
        t = shrink * (t + (m - higher) * s)
        s = shrink * s
        e = tl.exp(x - higher)
        s += e
        t += e * tl.where(e > 0, x - higher, 0.0)
        m = higher
    total = tl.sum(s, axis=0)
    log_total = tl.log(total)
    target = tl.load(target_ptr + row)
    known = (target >= 0) & (target < width)
    x = tl.load(start_of_row + target, mask=known, other=0.0).to(tl.float32) * inverse_temperature
    nothing = tl.where(target < 0, 0.0, float("nan"))
    log_prob = tl.where(known, x - m - log_total, nothing)
    entropy = tl.where(known, log_total - tl.sum(t, axis=0) / total, nothing)
    tl.store(log_prob_ptr + row, log_prob)
    tl.store(entropy_ptr + row, entropy)
    tl.store(lse_ptr + row, m + log_total)


@triton.jit
def log_prob_backward_kernel(
    g_log_prob_ptr, g_entropy_ptr, logits_ptr, target_ptr, entropy_ptr, lse_ptr, out_ptr,
    width, stride, out_stride, inverse_temperature,
    BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """d log p_y / dx = [j = y] - p_j;  d entropy / dx = -p_j (log p_j + entropy). out may be logits."""
    row = tl.program_id(0).to(tl.int64)
    target = tl.load(target_ptr + row)
    known = target >= 0
    g_log_prob = tl.where(known, tl.load(g_log_prob_ptr + row), 0.0)
    g_entropy = tl.where(known, tl.load(g_entropy_ptr + row), 0.0)
    entropy, lse = tl.load(entropy_ptr + row), tl.load(lse_ptr + row)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        x = tl.load(logits_ptr + row * stride + column, mask=inside, other=float("-inf"))
        log_p = x.to(tl.float32) * inverse_temperature - lse
        p = tl.exp(log_p)
        surprise = p * tl.where(p > 0, log_p + entropy, 0.0)
        hit = tl.where(column == target, 1.0, 0.0)
        g = tl.where(known, g_log_prob * (hit - p) - g_entropy * surprise, 0.0)
        g = narrow(g * inverse_temperature, out_ptr.dtype.element_ty, EXACT)
        tl.store(out_ptr + row * out_stride + column, g, mask=inside)


def plan(width: int) -> dict[str, int]:
    """Launch parameters: 8 warps walk a row in blocks of up to 8192 (interpreted: 32768)."""
    block = min(triton.next_power_of_2(max(width, 16)), 32768 if INTERPRETED else 8192)
    return {"BLOCK": block, "num_warps": min(max(block // 512, 1), 8)}


def log_prob(logits: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Launch on rows (n, v). Returns log-probability, entropy and log-sum-exp, (n,) float32."""
    n, v = logits.shape
    out = torch.empty(n, dtype=torch.float32, device=logits.device)
    entropy, lse = torch.empty_like(out), torch.empty_like(out)
    if n:
        log_prob_kernel[(n,)](logits, targets, out, entropy, lse, v, logits.stride(0), 1.0 / temperature, **plan(v))
    return out, entropy, lse


def log_prob_backward(
    g_log_prob: Tensor, g_entropy: Tensor, logits: Tensor, targets: Tensor,
    entropy: Tensor, lse: Tensor, temperature: float, out: Tensor,
) -> None:  # fmt: skip
    """Write the gradient for the logits into `out`, which may be the logits themselves."""
    n, v = logits.shape
    if n:
        log_prob_backward_kernel[(n,)](
            g_log_prob, g_entropy, logits, targets, entropy, lse, out,
            v, logits.stride(0), out.stride(0), 1.0 / temperature,
            EXACT=INTERPRETED, **plan(v),
        )  # fmt: skip
