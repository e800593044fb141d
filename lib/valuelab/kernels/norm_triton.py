"""Residual add, steering and RMSNorm in one pass. See norm.py."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .common_triton import INTERPRETED, narrow
from .shift_triton import WIDEST, plan, shift_size


@triton.jit
def add_steer_norm_kernel(
    x_ptr, residual_ptr, gain_ptr, w_ptr, settings_ptr, gate_ptr,
    normed_ptr, sum_ptr, score_ptr, size_ptr,
    n_rows, width, x_stride, residual_stride, eps,
    HAS_GATE: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Reads x and the residual once, writes the steered sum and its norm once: four passes.

    Every value that the separate steps would have stored is rounded as they would have rounded it,
    so fused and unfused agree.
    """
    bias, target = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    sign = tl.load(settings_ptr + 2)
    column = tl.arange(0, BLOCK)
    inside = column < width
    dtype = sum_ptr.dtype.element_ty
    w = tl.load(w_ptr + column, mask=inside, other=0.0)
    gain = tl.load(gain_ptr + column, mask=inside, other=0.0).to(tl.float32)
    norm2 = tl.sum(w * w)
    for i in range(ROWS):
        row = tl.program_id(0).to(tl.int64) * ROWS + i
        if row < n_rows:
            x = tl.load(x_ptr + row * x_stride + column, mask=inside, other=0.0).to(tl.float32)
            at = residual_ptr + row * residual_stride + column
            total = x + tl.load(at, mask=inside, other=0.0).to(tl.float32)
            h = narrow(total, dtype, EXACT).to(tl.float32)
            score = tl.sum(h * w) + bias
            gate = 1.0
            if HAS_GATE:
                gate = tl.load(gate_ptr + row).to(tl.float32)
            size = shift_size(score, target, sign, gate, norm2)
            tl.store(score_ptr + row, score)
            tl.store(size_ptr + row, size * tl.sqrt(norm2))
            steered = narrow(h + size * w, dtype, EXACT)
            tl.store(sum_ptr + row * width + column, steered, mask=inside)
            h = steered.to(tl.float32)
            scale = 1.0 / tl.sqrt(tl.sum(h * h) / width + eps)
            unit = narrow(h * scale, dtype, EXACT).to(tl.float32)
            normed = narrow(gain * unit, dtype, EXACT)
            tl.store(normed_ptr + row * width + column, normed, mask=inside)


def add_steer_norm(
    x: Tensor, residual: Tensor, gain: Tensor, w: Tensor, settings: Tensor,
    gate: Tensor | None, eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Launch on rows (n, d), d <= WIDEST. Returns normed, steered residual, score, size."""
    n, d = x.shape
    normed = torch.empty(n, d, dtype=x.dtype, device=x.device)
    total = torch.empty_like(normed)
    score = torch.empty(n, dtype=torch.float32, device=x.device)
    size = torch.empty_like(score)
    if n:
        how = plan(n, d)
        add_steer_norm_kernel[(triton.cdiv(n, how["ROWS"]),)](
            x, residual, gain, w, settings, gate if gate is not None else score,
            normed, total, score, size, n, d, x.stride(0), residual.stride(0), eps,
            HAS_GATE=gate is not None, EXACT=INTERPRETED, **how,
        )  # fmt: skip
    return normed, total, score, size


def fits(width: int) -> bool:
    """Whether a row fits one program's registers."""
    return width <= WIDEST
