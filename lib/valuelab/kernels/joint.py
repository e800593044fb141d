"""Several values at once: the shortest step that meets every target.

    minimise |d|²   subject to   s_k (w_k·(h + d) + b_k - t_k) >= 0     for k = 1..K

with s_k = +1 ("at least"), -1 ("at most"), or equality ("exactly"). The answer is d = W^T c with
c_k = s_k λ_k, where λ >= 0 solves a linear complementarity problem in the signed Gram matrix
G_kl = s_k s_l w_k·w_l:

    y = G λ - s (t - score),    λ >= 0,  y >= 0,  λ·y = 0.

Principal pivoting with the least-index rule (Murty 1974) solves it exactly in a few pivots. One
Gauss-Seidel sweep would be the same as applying the values one after another, which undershoots
when probes are correlated. The ridge, relative to each |w_k|², keeps contradictory demands finite.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from . import backend
from .rows import as_rows, check_gate, check_probe, differentiable, viewable, wide

MOST_VALUES = 16


class JointProbes(NamedTuple):
    """K probes prepared for `steer_joint`: made once, when the hook is built."""

    weight: Tensor  # (k, d) float32
    gram: Tensor  # (k, k) float32
    up: Tensor  # (parts * k, d) in the states' dtype; the parts sum to weight / scale
    down: Tensor  # (parts * k, d) in the states' dtype, for the coefficients' pieces
    scale: Tensor  # (k,) float32, powers of two


def prepare(weight: Tensor, dtype: torch.dtype = torch.float32) -> JointProbes:
    """Gram matrix, and the weights as a sum of matrices of the states' own dtype.

    A bfloat16 GEMM against one rounded W would cost the scores their accuracy. Three parts side by
    side keep all 24 bits, and still read the states only once.

    Args:
        weight: (k, d), 1 <= k <= 16.
        dtype: of the states that will be steered.

    Raises:
        ValueError: more than 16 values, or not a matrix.
    """
    if weight.dim() != 2 or not 1 <= weight.shape[0] <= MOST_VALUES:
        raise ValueError(
            f"prepare: weight has shape {tuple(weight.shape)}, wanted (k, d) with k from 1 to "
            f"{MOST_VALUES}. Steer the values that matter most, or in two groups."
        )
    w = weight.to(torch.promote_types(dtype, torch.float32)).contiguous()
    gram = (w.double() @ w.double().T).to(w.dtype)
    scale = torch.ones(w.shape[0], dtype=w.dtype, device=w.device)
    if w.dtype == dtype:
        return JointProbes(w, gram, w, w, scale)
    if dtype == torch.float16:  # lift the small weights out of float16's subnormals
        peak = w.abs().amax(1).clamp(min=1e-30)
        scale = torch.exp2(torch.ceil(torch.log2(peak)) - 10)
    up = _parts(w / scale[:, None], dtype)
    first, second, _ = _parts(w, dtype)
    return JointProbes(w, gram, torch.cat(up), torch.cat([first, second, first]), scale)


def _parts(w: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Three matrices of `dtype` whose sum is w: each holds what the ones before it left."""
    found = []
    for _ in range(3):
        found.append(w.to(dtype))
        w = w - found[-1].to(w.dtype)
    return found


def active_set(need: Tensor, gram: Tensor, free: Tensor, *, most: int = 64) -> Tensor:
    """Which constraints push, by principal pivoting. need: (n, k), gram: (k, k) unit diagonal + ridge.

    `free` (k,) marks equalities, which always push. Returns (n, k) bool. A row that needs more than `most` pivots
    ends unfinished, as in the kernel: nearly singular matrices may take 2^k.
    """
    n, k = need.shape
    table, q = gram.expand(n, k, k).clone(), -need
    basic = torch.zeros_like(need, dtype=torch.bool)
    tolerance = 1e-6 * need.abs().amax(1, keepdim=True)
    order = torch.arange(k, device=need.device) + torch.where(free, 0, k)
    for _ in range(most):
        wrong = torch.where(free, ~basic, q < -tolerance)
        wrong = wrong & (table.diagonal(dim1=1, dim2=2).abs() > 1e-6)
        if not wrong.any():
            break
        key = torch.where(wrong, order, 2 * k)
        here = wrong & (key == key.amin(1, keepdim=True))
        table, q = pivot_reference(table, q, here)
        basic = basic ^ here
    return basic


def pivot_reference(table: Tensor, q: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
    """One principal pivot of y = table·x + q in every row: y_p and x_p change places.

    table: (n, k, k); q: (n, k); here: (n, k) bool, true at p (all false leaves a row alone).
    """
    one = here.to(table.dtype)
    column = (table * one[:, None, :]).sum(2)
    line = (table * one[:, :, None]).sum(1)
    p = (column * one).sum(1)
    p = torch.where(p == 0, 1.0, p)[:, None]
    step = (q * one).sum(1)[:, None] / p
    moved = table - column[:, :, None] * (line / p)[:, None, :]
    moved = torch.where(here[:, None, :], (column / p)[:, :, None], moved)
    moved = torch.where(here[:, :, None], (-line / p)[:, None, :], moved)
    moved = torch.where(here[:, :, None] & here[:, None, :], (1 / p)[:, :, None], moved)
    return moved, torch.where(here, -step, q - column * step)


def coefficients(score: Tensor, gram: Tensor, settings: Tensor, ridge: float, cap: float) -> tuple[Tensor, Tensor]:
    """Coefficients c (n, k) of the step W^T c, and its length (n,). Differentiable in `score`.

    The active set is found by pivoting; on it, c solves a linear system.
    """
    _, target, sign = settings.to(score.dtype).unbind()
    norm = gram.diagonal().sqrt()
    way = torch.where(sign < 0, -1.0, 1.0)
    scale = torch.where(norm > 0, way / torch.where(norm > 0, norm, 1.0), 0.0)
    unit = gram * scale[:, None] * scale
    eye = torch.eye(len(norm), dtype=unit.dtype, device=unit.device)
    unit = torch.where(eye > 0, 1 + ridge, unit)
    need = scale * (target - score)
    sound = need.isfinite() & (norm > 0)
    need = torch.where(sound, need, -1.0)
    with torch.no_grad():
        active = active_set(need, unit, (sign == 0) & (norm > 0)) & sound
    within = active[:, :, None] & active[:, None, :]
    system = torch.where(within, unit, eye)
    x = torch.linalg.solve_ex(system, torch.where(active, need, 0.0))[0]
    x = torch.where(((sign == 0) | (x > 0)) & x.isfinite(), x, 0.0)
    c = x * scale
    length = ((c @ gram) * c).sum(1).clamp(min=0)
    length = torch.where(length > 0, length, 1.0).sqrt() * (length > 0)
    over = length > cap
    factor = torch.where(over, cap / torch.where(over, length, 1.0), 1.0)
    return c * factor[:, None], length * factor


def steer_joint_reference(
    h: Tensor,
    weight: Tensor,
    gram: Tensor,
    settings: Tensor,
    gate: Tensor | None = None,
    ridge: float = 1e-3,
    cap: float = float("inf"),
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Plain torch. h: (n, d) -> steered (n, d), score (n, k), coefficients (n, k), size (n,)."""
    x, w = wide(h, h), wide(weight, h)
    score = x @ w.T + wide(settings, h)[0]
    c, size = coefficients(score, wide(gram, h), settings, ridge, cap)
    if gate is not None:
        c, size = c * gate.to(c.dtype)[:, None], size * gate.to(c.dtype)
    moving = (c != 0).any(1, keepdim=True)
    return torch.where(moving, (x + c @ w).to(h.dtype), h), score, c, size


def choose_path(n: int, k: int) -> str:
    """ "fused" (one launch, h read twice) or "library" (GEMM, programme, addmm: h read twice, too).

    Few rows are bound by launches, so one is better than three. With many rows the fused kernel
    re-reads W from L2 for every four rows, and beyond eight values its tableau spills.
    Counted, not yet measured: benchmarks/results says which is which.
    """
    return "fused" if k <= 8 and n * k <= 8192 else "library"


def steer_joint(
    h: Tensor,
    probes: JointProbes,
    settings: Tensor,
    *,
    gate: Tensor | None = None,
    ridge: float = 1e-3,
    cap: float = float("inf"),
    inplace: bool = False,
    report: bool = False,
    path: str | None = None,
):
    """Move every state by the shortest step that brings all K scores to their targets at once.

    Args:
        h: hidden states, (..., d).
        probes: from `prepare(weight, h.dtype)`.
        settings: (3, k) from `settings(biases, targets, sides)`.
        gate: (...), multiplies a row's step; 0 leaves the row as it is.
        ridge: added to the Gram matrix's diagonal, relative to it. 0 meets the targets exactly and
            may take huge steps for near-contradictory demands.
        cap: longest step allowed, a length in the units of h (not a share of |h|).
        inplace: write into `h`.
        report: return (states, score (..., k), coefficients (..., k), size (...)).
        path: "fused" or "library"; by default `choose_path` decides.

    Raises:
        ValueError: shapes or dtypes do not fit; negative ridge or cap; in place under autograd.
    """
    check_probe("steer_joint", h, probes.weight, settings)
    if not (ridge >= 0 and cap >= 0):
        raise ValueError(f"steer_joint: ridge={ridge}, cap={cap}. Both must be 0 or more.")
    if probes.up.dtype != h.dtype:
        raise ValueError(
            f"steer_joint: probes were prepared for {probes.up.dtype}, h is {h.dtype}. Call prepare(weight, h.dtype)."
        )
    rows = h.shape[:-1]
    gate = check_gate("steer_joint", gate, rows)
    if inplace and torch.is_grad_enabled() and h.requires_grad:
        raise ValueError(
            "steer_joint: inplace=True would overwrite states that autograd still needs. "
            "Use inplace=False while training, or torch.no_grad() while generating."
        )
    flat, plain = as_rows(h), backend.plain(h)
    route = path or choose_path(flat.shape[0], probes.weight.shape[0])
    args = (flat, *probes, settings, gate, ridge, cap, route)
    if inplace and not plain:
        score, c, size = steer_joint_op_(*args)
        out = h if viewable(h) else h.copy_(flat.view(h.shape))
    elif plain or differentiable(probes.weight, settings, gate):
        w, gram = probes.weight, probes.gram
        if w.requires_grad:
            gram = w @ w.T
        out, score, c, size = steer_joint_reference(flat, w, gram, settings, gate, ridge, cap)
        out = h.copy_(out.view(h.shape)) if inplace else out
    else:
        out, score, c, size = steer_joint_op(*args)
    out = out.view(h.shape)
    if not report:
        return out
    k = score.shape[1]
    return out, score.view(*rows, k), c.view(*rows, k), size.view(rows)


def _scores_in_parts(h: Tensor, up: Tensor) -> Tensor:
    """h @ up^T in float32. On the GPU a mixed-precision GEMM; the CPU has none."""
    if h.dtype == torch.float32:
        return h @ up.T
    if h.is_cuda:
        return torch.mm(h, up.T, out_dtype=torch.float32)
    return h.float() @ up.float().T


def _triton(h, out, weight, gram, up, down, scale, settings, gate, ridge, cap, path):
    """Run on the GPU or in the interpreter. `out` is h itself for in place."""
    from . import joint_triton

    if path == "fused":
        return joint_triton.steer_joint(h, out, weight, gram, settings, gate, ridge, cap)
    k = weight.shape[0]
    parts = _scores_in_parts(h, up).view(h.shape[0], up.shape[0] // k, k)
    *found, pieces = joint_triton.programme(parts, scale, gram, settings, gate, ridge, cap, h.dtype)
    torch.addmm(h, pieces, down, out=out)
    return tuple(found)


@torch.library.custom_op("valuelab::steer_joint", mutates_args=())
def steer_joint_op(
    h: Tensor,
    weight: Tensor,
    gram: Tensor,
    up: Tensor,
    down: Tensor,
    scale: Tensor,
    settings: Tensor,
    gate: Tensor | None,
    ridge: float,
    cap: float,
    path: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Out of place, on rows (n, d). Returns steered, score, coefficients, size."""
    if backend.choose(h) == "torch":
        return steer_joint_reference(h, weight, gram, settings, gate, ridge, cap)
    out = torch.empty(h.shape, dtype=h.dtype, device=h.device)
    found = _triton(h, out, weight, gram, up, down, scale, settings, gate, ridge, cap, path)
    return (out, *found)


@torch.library.custom_op("valuelab::steer_joint_", mutates_args=("h",))
def steer_joint_op_(
    h: Tensor,
    weight: Tensor,
    gram: Tensor,
    up: Tensor,
    down: Tensor,
    scale: Tensor,
    settings: Tensor,
    gate: Tensor | None,
    ridge: float,
    cap: float,
    path: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """In place, on rows (n, d). Returns score, coefficients, size."""
    if backend.choose(h) == "torch":
        out, *found = steer_joint_reference(h, weight, gram, settings, gate, ridge, cap)
        h.copy_(out)
        return tuple(found)
    return _triton(h, h, weight, gram, up, down, scale, settings, gate, ridge, cap, path)


@steer_joint_op.register_fake
def _(h, weight, gram, up, down, scale, settings, gate, ridge, cap, path):
    return h.new_empty(h.shape), *_fake_report(h, weight)


@steer_joint_op_.register_fake
def _(h, weight, gram, up, down, scale, settings, gate, ridge, cap, path):
    return _fake_report(h, weight)


def _fake_report(h, weight):
    score = weight.new_empty(h.shape[0], weight.shape[0])
    return score, torch.empty_like(score), weight.new_empty(h.shape[0])


def _save(ctx, inputs, output):
    _, weight, gram, _, _, _, settings, gate, ctx.ridge, ctx.cap, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(weight, gram, settings, gate, *output[1:])


def _backward(ctx, g, g_score, g_coef, g_size):
    weight, gram, settings, gate, score, coef, size = ctx.saved_tensors
    pull = torch.zeros_like(score) if g_coef is None else g_coef
    if g is not None:
        pull = pull + wide(g, g) @ weight.T
    if g_size is not None:
        length = torch.where(size == 0, 1.0, size)
        pull = pull + (g_size / length)[:, None] * (coef @ gram)
    if gate is not None:
        pull = pull * gate.to(pull.dtype)[:, None]
    g_z = pull_back(pull, score, coef != 0, gram, settings, ctx.ridge, ctx.cap)
    if g_score is not None:
        g_z = g_z + g_score
    extra = g_z @ weight
    grad = extra if g is None else (g + extra).to(g.dtype)
    return (grad, *[None] * 10)


def pull_back(pull, score, active, gram, settings, ridge: float, cap: float) -> Tensor:
    """Gradient for the scores, (n, k), from the gradient `pull` for the coefficients.

    On the active set c = (G + ridge)^-1 (t - score); the signs cancel. A capped step only turns.
    """
    target = settings[1].to(score.dtype)
    within = active[:, :, None] & active[:, None, :]
    ridged = gram + ridge * torch.diag(gram.diagonal())
    system = torch.where(within, ridged, torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
    c = torch.linalg.solve_ex(system, torch.where(active, target - score, 0.0))[0]
    along = c @ gram
    length2 = (along * c).sum(1, keepdim=True).clamp(min=1e-30)
    over = length2.sqrt() > cap
    turned = pull - (pull * c).sum(1, keepdim=True) / length2 * along
    pull = torch.where(over, cap / length2.sqrt() * turned, pull)
    return -torch.linalg.solve_ex(system, torch.where(active, pull, 0.0))[0] * active


steer_joint_op.register_autograd(_backward, setup_context=_save)
