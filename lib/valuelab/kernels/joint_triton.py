"""Several values at once: exact principal pivoting in registers. See joint.py for the problem."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .common_triton import INTERPRETED, narrow

PIVOTS = tl.constexpr(64)  # a safety bound: 28 was the most seen for 16 values


@triton.jit
def pivot(table, q, here):
    """One principal pivot of y = table·x + q, a row of the block each: y_p and x_p change places.

    table: [rows, k, k]; q: [rows, k]; here: [rows, k], true at p (all false leaves a row alone).
    """
    one = here.to(tl.float32)
    column = tl.sum(table * one[:, None, :], axis=2)
    line = tl.sum(table * one[:, :, None], axis=1)
    p = tl.sum(column * one, axis=1)
    p = tl.where(p == 0, 1.0, p)[:, None]
    step = tl.sum(q * one, axis=1)[:, None] / p
    moved = table - column[:, :, None] * (line / p)[:, None, :]
    moved = tl.where(here[:, None, :], (column / p)[:, :, None], moved)
    moved = tl.where(here[:, :, None], (-line / p)[:, None, :], moved)
    moved = tl.where(here[:, :, None] & here[:, None, :], (1.0 / p)[:, :, None], moved)
    return moved, tl.where(here, -step, q - column * step)


@triton.jit
def solve(score, target, sign, gram, norm, ridge, KP: tl.constexpr):
    """Coefficients c of the shortest step W^T c that meets every target. [rows, KP] -> [rows, KP].

    Works in units where each direction has length one and points the wanted way, so that the
    ridge and the tolerance mean the same for every probe. norm: [1, KP], 0 marks padding.
    """
    k = tl.arange(0, KP)
    real = norm > 0
    way = tl.where(sign < 0, -1.0, 1.0)
    scale = tl.where(real, way / tl.where(real, norm, 1.0), 0.0)
    eye = k[:, None] == k[None, :]
    unit = gram * tl.trans(scale) * scale
    unit = tl.where(eye, 1.0 + ridge, unit)
    need = scale * (target - score)
    sound = (tl.abs(need) < float("inf")) & real
    need = tl.where(sound, need, -1.0)
    free = (sign == 0) & sound

    table = tl.zeros_like(need)[:, :, None] + unit[None, :, :]
    q = -need
    basic = need != need
    tolerance = 1e-6 * tl.max(tl.abs(need), axis=1)[:, None]
    turn = 0
    open_rows = 1
    while (turn < PIVOTS) & (open_rows > 0):
        diagonal = tl.sum(tl.where(eye[None, :, :], table, 0.0), axis=2)
        wrong = ((q < -tolerance) & (free == 0)) | (free & (basic == 0))
        wrong = wrong & (tl.abs(diagonal) > 1e-6)
        key = tl.where(wrong, k[None, :] + tl.where(free, 0, KP), 2 * KP)
        first = tl.min(key, axis=1)[:, None]
        here = (key == first) & wrong
        table, q = pivot(table, q, here)
        basic = basic ^ here
        open_rows = tl.sum(tl.max(wrong.to(tl.int32), axis=1), axis=0)
        turn += 1

    x = tl.where(basic & (free | (q > 0)), q, 0.0)
    left = tl.where(basic, need - tl.sum(unit[None, :, :] * x[:, None, :], axis=2), 0.0)
    better = x + tl.where(basic, tl.sum(table * left[:, None, :], axis=2), 0.0)
    x = tl.where(basic & (free | (better > 0)), better, 0.0)
    return tl.where(tl.abs(x) < float("inf"), x, 0.0) * scale


@triton.jit
def limit(c, gram, gate, cap):
    """Cap the step's length, then gate it. Returns the coefficients and the final length."""
    length2 = tl.sum(tl.sum(gram[None, :, :] * c[:, None, :], axis=2) * c, axis=1)
    length = tl.sqrt(tl.maximum(length2, 0.0))
    factor = gate * tl.where(length > cap, cap / tl.where(length > cap, length, 1.0), 1.0)
    return c * factor[:, None], length * factor


@triton.jit
def load_problem(settings_ptr, gram_ptr, k, K: tl.constexpr):
    """bias, target, sign, norm as [1, KP] and the Gram matrix as [KP, KP]; padding is zero."""
    real = (k < K)[None, :]
    bias = tl.load(settings_ptr + k[None, :], mask=real, other=0.0)
    target = tl.load(settings_ptr + K + k[None, :], mask=real, other=0.0)
    sign = tl.load(settings_ptr + 2 * K + k[None, :], mask=real, other=1.0)
    square = (k < K)[:, None] & real
    gram = tl.load(gram_ptr + k[:, None] * K + k[None, :], mask=square, other=0.0)
    norm2 = tl.load(gram_ptr + k[None, :] * (K + 1), mask=real, other=0.0)
    return bias, target, sign, tl.sqrt(norm2), gram


@triton.jit
def steer_joint_kernel(
    h_ptr, out_ptr, w_ptr, gram_ptr, settings_ptr, gate_ptr, score_ptr, coef_ptr, size_ptr,
    n_rows, width, h_stride, out_stride, ridge, cap,
    IN_PLACE: tl.constexpr, HAS_GATE: tl.constexpr, K: tl.constexpr, KP: tl.constexpr,
    ROWS: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Scores, programme and shift in one launch: reads h twice (the second time from L2)."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    alive = row < n_rows
    k = tl.arange(0, KP)
    bias, target, sign, norm, gram = load_problem(settings_ptr, gram_ptr, k, K)
    score = tl.zeros((ROWS, KP), tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        at = row[:, None] * h_stride + column[None, :]
        h = tl.load(h_ptr + at, mask=alive[:, None] & inside[None, :], other=0.0).to(tl.float32)
        at_w = k.to(tl.int64)[:, None] * width + column[None, :]
        w = tl.load(w_ptr + at_w, mask=(k < K)[:, None] & inside[None, :], other=0.0)
        score += tl.sum(h[:, None, :] * w[None, :, :], axis=2)
    score += bias
    gate = tl.full((ROWS,), 1.0, tl.float32)
    if HAS_GATE:
        gate = tl.load(gate_ptr + row, mask=alive, other=0.0).to(tl.float32)
    c = solve(score, target, sign, gram, norm, ridge, KP)
    c, size = limit(c, gram, gate, cap)
    small = row[:, None] * K + k[None, :]
    kept = alive[:, None] & (k < K)[None, :]
    tl.store(score_ptr + small, score, mask=kept)
    tl.store(coef_ptr + small, c, mask=kept)
    tl.store(size_ptr + row, size, mask=alive)
    moving = tl.max((c != 0).to(tl.int32), axis=1) > 0
    written = alive & moving if IN_PLACE else alive
    if tl.sum(written.to(tl.int32), axis=0) > 0:
        for start in range(0, width, BLOCK):
            column = start + tl.arange(0, BLOCK)
            inside = column < width
            both = written[:, None] & inside[None, :]
            at = row[:, None] * h_stride + column[None, :]
            stored = tl.load(h_ptr + at, mask=both, other=0.0)
            at_w = k.to(tl.int64)[:, None] * width + column[None, :]
            w = tl.load(w_ptr + at_w, mask=(k < K)[:, None] & inside[None, :], other=0.0)
            step = tl.sum(c[:, :, None] * w[None, :, :], axis=1)
            moved = narrow(stored.to(tl.float32) + step, out_ptr.dtype.element_ty, EXACT)
            moved = tl.where(moving[:, None], moved, stored)
            at_out = row[:, None] * out_stride + column[None, :]
            tl.store(out_ptr + at_out, moved, mask=both)


@triton.jit
def programme_kernel(
    parts_ptr, scale_ptr, gram_ptr, settings_ptr, gate_ptr,
    score_ptr, coef_ptr, size_ptr, pieces_ptr,
    n_rows, ridge, cap,
    HAS_GATE: tl.constexpr, PARTS: tl.constexpr, K: tl.constexpr, KP: tl.constexpr,
    ROWS: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """The programme alone, on scores [n, PARTS, K] that a library GEMM made.

    The probe's weights are a sum of PARTS matrices in the states' dtype, so the scores arrive in
    parts. The coefficients leave in pieces [n, PARTS, K] for the GEMM that adds the step:
    high, high and rest against weights high, rest and high.
    """
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    alive = row < n_rows
    k = tl.arange(0, KP)
    kept = alive[:, None] & (k < K)[None, :]
    bias, target, sign, norm, gram = load_problem(settings_ptr, gram_ptr, k, K)
    score = tl.zeros((ROWS, KP), tl.float32)
    for part in tl.static_range(PARTS):
        at = row[:, None] * (PARTS * K) + part * K + k[None, :]
        score += tl.load(parts_ptr + at, mask=kept, other=0.0)
    score = score * tl.load(scale_ptr + k[None, :], mask=(k < K)[None, :], other=1.0) + bias
    gate = tl.full((ROWS,), 1.0, tl.float32)
    if HAS_GATE:
        gate = tl.load(gate_ptr + row, mask=alive, other=0.0).to(tl.float32)
    c = solve(score, target, sign, gram, norm, ridge, KP)
    c, size = limit(c, gram, gate, cap)
    small = row[:, None] * K + k[None, :]
    tl.store(score_ptr + small, score, mask=kept)
    tl.store(coef_ptr + small, c, mask=kept)
    tl.store(size_ptr + row, size, mask=alive)
    high = narrow(c, pieces_ptr.dtype.element_ty, EXACT)
    rest = narrow(c - high.to(tl.float32), pieces_ptr.dtype.element_ty, EXACT)
    for part in tl.static_range(PARTS):
        at = row[:, None] * (PARTS * K) + part * K + k[None, :]
        tl.store(pieces_ptr + at, rest if part == 2 else high, mask=kept)


def sizes(k: int) -> tuple[int, int]:
    """Padded number of values and rows a block: the tableau [rows, k, k] must fit in registers."""
    padded = max(triton.next_power_of_2(k), 2)
    return padded, (64 if INTERPRETED else {2: 32, 4: 32, 8: 16, 16: 8}[padded])


def steer_joint(
    h: Tensor, out: Tensor, w: Tensor, gram: Tensor, settings: Tensor, gate: Tensor | None,
    ridge: float, cap: float,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The fused kernel on rows (n, d). Returns score (n, k), coefficients (n, k), size (n,)."""
    (n, d), k = h.shape, w.shape[0]
    score, coef, size = _results(n, k, h)
    if n == 0:
        return score, coef, size
    padded, rows = sizes(k)[0], 64 if INTERPRETED else 4
    block = min(triton.next_power_of_2(max(d, 16)), 1024 if INTERPRETED else 256)
    steer_joint_kernel[(triton.cdiv(n, rows),)](
        h, out, w, gram, settings, gate if gate is not None else score, score, coef, size,
        n, d, h.stride(0), out.stride(0), ridge, cap,
        IN_PLACE=out is h, HAS_GATE=gate is not None, K=k, KP=padded, ROWS=rows, BLOCK=block,
        EXACT=INTERPRETED, num_warps=4,
    )  # fmt: skip
    return score, coef, size


def programme(
    parts: Tensor, scale: Tensor, gram: Tensor, settings: Tensor, gate: Tensor | None,
    ridge: float, cap: float, dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The programme on scores (n, parts, k). Returns score, coefficients, size and pieces."""
    n, count, k = parts.shape
    score, coef, size = _results(n, k, parts)
    pieces = torch.empty(n, count * k, dtype=dtype, device=parts.device)
    if n == 0:
        return score, coef, size, pieces
    padded, rows = sizes(k)
    programme_kernel[(triton.cdiv(n, rows),)](
        parts, scale, gram, settings, gate if gate is not None else score,
        score, coef, size, pieces, n, ridge, cap,
        HAS_GATE=gate is not None, PARTS=count, K=k, KP=padded, ROWS=rows, EXACT=INTERPRETED,
        num_warps=4,
    )  # fmt: skip
    return score, coef, size, pieces


def _results(n: int, k: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    score = torch.empty(n, k, dtype=torch.float32, device=like.device)
    return score, torch.empty_like(score), torch.empty(n, dtype=torch.float32, device=like.device)
