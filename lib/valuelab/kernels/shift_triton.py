"""The fused gated minimal shift of one value. See shift.py for the mathematics."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .common_triton import INTERPRETED, narrow

WIDEST = 16384  # elements of a row that one program holds in registers; wider rows take two passes


@triton.jit
def shift_size(score, target, sign, gate, norm2):
    """Multiple of `w` that takes `score` to `target`: 0 where the gate or the wanted side is shut.

    sign > 0 wants score >= target, sign < 0 wants score <= target, sign = 0 wants equality.
    """
    gap = target - score
    wanted = ((sign > 0) & (gap > 0)) | ((sign < 0) & (gap < 0)) | (sign == 0)
    sound = (tl.abs(gap) < float("inf")) & (norm2 > 0)
    return tl.where(wanted & sound, gate * gap / tl.where(norm2 > 0, norm2, 1.0), 0.0)


@triton.jit
def steer_kernel(
    h_ptr, out_ptr, w_ptr, settings_ptr, gate_ptr, score_ptr, size_ptr,
    n_rows, width, h_stride, out_stride,
    IN_PLACE: tl.constexpr, HAS_GATE: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """A program steers ROWS rows one after another; each row is read once and written once."""
    bias, target = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    sign = tl.load(settings_ptr + 2)
    column = tl.arange(0, BLOCK)
    inside = column < width
    w = tl.load(w_ptr + column, mask=inside, other=0.0)
    norm2 = tl.sum(w * w)
    for i in range(ROWS):
        row = tl.program_id(0).to(tl.int64) * ROWS + i
        if row < n_rows:
            stored = tl.load(h_ptr + row * h_stride + column, mask=inside, other=0.0)
            h = stored.to(tl.float32)
            score = tl.sum(h * w) + bias
            gate = 1.0
            if HAS_GATE:
                gate = tl.load(gate_ptr + row).to(tl.float32)
            size = shift_size(score, target, sign, gate, norm2)
            tl.store(score_ptr + row, score)
            tl.store(size_ptr + row, size * tl.sqrt(norm2))
            out = out_ptr + row * out_stride + column
            if size != 0:
                tl.store(out, narrow(h + size * w, out_ptr.dtype.element_ty, EXACT), mask=inside)
            elif not IN_PLACE:
                tl.store(out, stored, mask=inside)


@triton.jit
def steer_wide_kernel(
    h_ptr, out_ptr, w_ptr, settings_ptr, gate_ptr, score_ptr, size_ptr,
    n_rows, width, h_stride, out_stride,
    IN_PLACE: tl.constexpr, HAS_GATE: tl.constexpr,
    BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Rows too wide for registers: one pass for the score, a second for the shift."""
    bias, target = tl.load(settings_ptr), tl.load(settings_ptr + 1)
    sign = tl.load(settings_ptr + 2)
    row = tl.program_id(0).to(tl.int64)
    dot = tl.zeros((BLOCK,), tl.float32)
    squares = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        h = tl.load(h_ptr + row * h_stride + column, mask=inside, other=0.0).to(tl.float32)
        w = tl.load(w_ptr + column, mask=inside, other=0.0)
        dot += h * w
        squares += w * w
    score = tl.sum(dot) + bias
    norm2 = tl.sum(squares)
    gate = 1.0
    if HAS_GATE:
        gate = tl.load(gate_ptr + row).to(tl.float32)
    size = shift_size(score, target, sign, gate, norm2)
    tl.store(score_ptr + row, score)
    tl.store(size_ptr + row, size * tl.sqrt(norm2))
    if size != 0 or not IN_PLACE:
        for start in range(0, width, BLOCK):
            column = start + tl.arange(0, BLOCK)
            inside = column < width
            stored = tl.load(h_ptr + row * h_stride + column, mask=inside, other=0.0)
            w = tl.load(w_ptr + column, mask=inside, other=0.0)
            moved = narrow(stored.to(tl.float32) + size * w, out_ptr.dtype.element_ty, EXACT)
            moved = tl.where(size != 0, moved, stored)  # a shut gate keeps every bit, -0.0 too
            tl.store(out_ptr + row * out_stride + column, moved, mask=inside)


def plan(n_rows: int, width: int) -> dict[str, int]:
    """Launch parameters: elements a block holds, rows a program walks, warps.

    Several rows a program amortise the load of `w`, once there are enough rows to fill the GPU
    without it. The interpreter pays by the program, so there a program walks many rows.
    """
    block = min(triton.next_power_of_2(max(width, 16)), WIDEST)
    rows = 16 if INTERPRETED else (4 if n_rows >= 16384 else 1)
    return {"ROWS": rows, "BLOCK": block, "num_warps": min(max(block // 512, 1), 16)}


def steer(h: Tensor, out: Tensor, w: Tensor, settings: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor]:
    """Launch on rows. h, out: (n, d) with unit column stride; out may be h. Returns score, size."""
    n, d = h.shape
    score = torch.empty(n, dtype=torch.float32, device=h.device)
    size = torch.empty_like(score)
    if n == 0:
        return score, size
    how = plan(n, d)
    flags = {"IN_PLACE": out is h, "HAS_GATE": gate is not None, "EXACT": INTERPRETED}
    args = (h, out, w, settings, gate if gate is not None else score, score, size)
    shape = (n, d, h.stride(0), out.stride(0))
    if d > how["BLOCK"]:
        del how["ROWS"]
        steer_wide_kernel[(n,)](*args, *shape, **flags, **how)
    else:
        steer_kernel[(triton.cdiv(n, how["ROWS"]),)](*args, *shape, **flags, **how)
    return score, size
