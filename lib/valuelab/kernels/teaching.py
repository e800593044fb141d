"""The kernels of lesson 05, from adding two vectors to the fused steering step.

Each adds one idea. They are written for reading; what the library runs is in the `*_triton`
modules and differs by options, not by ideas. `tl` and `triton` come from `lab`, so that these run
in Triton, in its interpreter, and without it.
"""

from .lab import tl, triton


@triton.jit
def add_kernel(x_ptr, y_ptr, out_ptr, n, BLOCK: tl.constexpr):
    """out[i] = x[i] + y[i] for i < n. One program adds one block of BLOCK elements.

    The grid is (ceil(n / BLOCK),). Nothing at or beyond n may be read or written.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    x = tl.load(x_ptr + i, mask=inside)
    y = tl.load(y_ptr + i, mask=inside)
    tl.store(out_ptr + i, x + y, mask=inside)


@triton.jit
def row_sum_kernel(x_ptr, out_ptr, width, stride, BLOCK: tl.constexpr):
    """out[row] = sum of row `row` of x, (rows, width). One program a row; BLOCK >= width.

    Row r starts at element r * stride, and stride may be larger than width.
    """
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    x = tl.load(x_ptr + row * stride + column, mask=column < width, other=0.0)
    tl.store(out_ptr + row, tl.sum(x, axis=0))


@triton.jit
def row_dot_kernel(h_ptr, w_ptr, out_ptr, width, stride, BLOCK: tl.constexpr):
    """out[row] = h[row] · w in float32, for h of any dtype and any width.

    One program a row. It walks the row in blocks of BLOCK, and adds up in float32 what it loads.
    """
    row = tl.program_id(0)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < width
        h = tl.load(h_ptr + row * stride + column, mask=inside, other=0.0).to(tl.float32)
        w = tl.load(w_ptr + column, mask=inside, other=0.0)
        total += h * w
    tl.store(out_ptr + row, tl.sum(total, axis=0))


@triton.jit
def step_size(score, target, gate, norm2):
    """Multiple of w that lifts `score` to `target`, times the gate; 0 where nothing is to be done.

    gate * max(0, target - score) / norm2, and 0 where norm2 (that is |w|²) is 0.
    """
    gap = tl.maximum(target - score, 0.0)
    return tl.where(norm2 > 0, gate * gap / tl.where(norm2 > 0, norm2, 1.0), 0.0)


@triton.jit
def steer_kernel(h_ptr, w_ptr, gate_ptr, bias, target, width, stride, BLOCK: tl.constexpr):
    """h[row] += step_size(h[row] · w + bias, ...) * w, in place. One program a row; BLOCK >= width.

    Each row is read once and written at most once: a row with step 0 is not written at all.
    Arithmetic in float32, whatever h is stored in.
    """
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < width
    at = h_ptr + row * stride + column
    h = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    w = tl.load(w_ptr + column, mask=inside, other=0.0)
    gate = tl.load(gate_ptr + row).to(tl.float32)
    score = tl.sum(h * w, axis=0) + bias
    step = step_size(score, target, gate, tl.sum(w * w, axis=0))
    if step != 0:
        tl.store(at, (h + step * w).to(h_ptr.dtype.element_ty), mask=inside)


@triton.jit
def pivot_kernel(table_ptr, q_ptr, here_ptr, K: tl.constexpr):
    """One principal pivot of y = M x + q in place: y_p and x_p change places. One program a row.

    M is (K, K), q is (K,), one of each for every row; here[row] is p. With m = M[p, p]:

        M[p, p] = 1 / m             M[p, j] = -M[p, j] / m          q[p] = -q[p] / m
        M[i, p] = M[i, p] / m       M[i, j] -= M[i, p] M[p, j] / m      q[i] -= M[i, p] q[p] / m
    """
    row = tl.program_id(0)
    k = tl.arange(0, K)
    at = table_ptr + row * K * K + k[:, None] * K + k[None, :]
    table = tl.load(at)
    q = tl.load(q_ptr + row * K + k)
    here = k == tl.load(here_ptr + row)
    column = tl.sum(tl.where(here[None, :], table, 0.0), axis=1)
    line = tl.sum(tl.where(here[:, None], table, 0.0), axis=0)
    m = tl.sum(tl.where(here, column, 0.0), axis=0)
    q_p = tl.sum(tl.where(here, q, 0.0), axis=0)
    moved = table - column[:, None] * line[None, :] / m
    moved = tl.where(here[None, :], column[:, None] / m, moved)
    moved = tl.where(here[:, None], -line[None, :] / m, moved)
    moved = tl.where(here[:, None] & here[None, :], 1.0 / m, moved)
    tl.store(at, moved)
    tl.store(q_ptr + row * K + k, tl.where(here, -q_p / m, q - column * q_p / m))


@triton.jit
def log_prob_kernel(logits_ptr, target_ptr, out_ptr, width, stride, BLOCK: tl.constexpr):
    """out[row] = log softmax(logits[row])[target[row]], reading each logit once.

    Walks the row in blocks and keeps two numbers: the largest logit so far, m, and the sum of
    e^(x - m). When m grows, the sum so far shrinks by e^(old m - new m).
    """
    row = tl.program_id(0)
    m = -1e30
    total = 0.0
    for start in range(0, width, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(logits_ptr + row * stride + column, mask=column < width, other=float("-inf")).to(tl.float32)
        higher = tl.maximum(m, tl.max(x, axis=0))
        total = total * tl.exp(m - higher) + tl.sum(tl.exp(x - higher), axis=0)
        m = higher
    target = tl.load(target_ptr + row)
    chosen = tl.load(logits_ptr + row * stride + target).to(tl.float32)
    tl.store(out_ptr + row, chosen - m - tl.log(total))


@triton.jit
def steer_rows_kernel(h_ptr, w_ptr, gate_ptr, bias, target, n, width, stride, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """The same step on a block of ROWS rows at once: right, and slower. The lesson shows why."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    alive = row < n
    inside = alive[:, None] & (column < width)[None, :]
    at = h_ptr + row[:, None] * stride + column[None, :]
    h = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    w = tl.load(w_ptr + column, mask=column < width, other=0.0)
    gate = tl.load(gate_ptr + row, mask=alive, other=0.0).to(tl.float32)
    score = tl.sum(h * w[None, :], axis=1) + bias
    step = step_size(score, target, gate, tl.sum(w * w, axis=0))
    moved = h + step[:, None] * w[None, :]
    tl.store(at, moved.to(h_ptr.dtype.element_ty), mask=inside & (step != 0)[:, None])


# --------------------------------------------------------------- four faults, one in each


@triton.jit
def suspect_a(h_ptr, w_ptr, out_ptr, n, width, stride, BLOCK: tl.constexpr):
    """out[row] = h[row] · w, by a colleague in a hurry."""
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    h = tl.load(h_ptr + row * stride + column, mask=column < width, other=0.0)
    w = tl.load(w_ptr + column, mask=column < width, other=0.0).to(h_ptr.dtype.element_ty)
    tl.store(out_ptr + row, tl.sum(h * w, axis=0))


@triton.jit
def suspect_b(h_ptr, w_ptr, out_ptr, n, width, stride, BLOCK: tl.constexpr):
    """out[row] = h[row] · w, by a colleague in a hurry."""
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    h = tl.load(h_ptr + row * stride + column, mask=row * stride + column < n * stride, other=0.0)
    w = tl.load(w_ptr + column, mask=column < width, other=0.0)
    tl.store(out_ptr + row, tl.sum(h.to(tl.float32) * w, axis=0))


@triton.jit
def suspect_c(h_ptr, w_ptr, out_ptr, n, width, stride, BLOCK: tl.constexpr):
    """out[row] = h[row] · w, by a colleague in a hurry. Two programs share a row."""
    row = tl.program_id(0)
    half = tl.program_id(1)
    column = half * BLOCK + tl.arange(0, BLOCK)
    h = tl.load(h_ptr + row * stride + column, mask=column < width, other=0.0).to(tl.float32)
    w = tl.load(w_ptr + column, mask=column < width, other=0.0)
    tl.store(out_ptr + row, tl.load(out_ptr + row) + tl.sum(h * w, axis=0))


@triton.jit
def suspect_d(h_ptr, w_ptr, out_ptr, n, width, stride, BLOCK: tl.constexpr):
    """out[row] = h[row] · w, by a colleague in a hurry. Four rows a program."""
    column = tl.arange(0, BLOCK)
    w = tl.load(w_ptr + column, mask=column < width, other=0.0)
    for i in range(4):
        row = tl.program_id(0) * 4 + i
        h = tl.load(h_ptr + row * stride + column, mask=column < width, other=0.0).to(tl.float32)
        tl.store(out_ptr + row, tl.sum(h * w, axis=0))


@triton.jit
def innocent(h_ptr, w_ptr, out_ptr, n, width, stride, BLOCK: tl.constexpr):
    """out[row] = h[row] · w, by a colleague who took her time."""
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    h = tl.load(h_ptr + row * stride + column, mask=column < width, other=0.0).to(tl.float32)
    w = tl.load(w_ptr + column, mask=column < width, other=0.0)
    tl.store(out_ptr + row, tl.sum(h * w, axis=0))


SUSPECTS = {
    "A": (suspect_a, lambda n: (n,)),
    "B": (suspect_b, lambda n: (n,)),
    "C": (suspect_c, lambda n: (n, 2)),
    "D": (suspect_d, lambda n: (-(-n // 4),)),
    "E": (innocent, lambda n: (n,)),
}
