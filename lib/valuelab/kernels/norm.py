"""Residual add, steering and RMSNorm as one operator: what a decoder block does between two parts.

    r = residual + x;    r' = steer(r);    y = gain * r' / sqrt(mean(r'²) + eps)

Separately that is some sixteen kernels and 26 passes over the states; fused, two reads and two
writes. Every intermediate that the separate steps would store is rounded to the states' dtype, so
that the result is the one an unfused Llama gives (which casts before it multiplies by the gain).
"""

import torch
from torch import Tensor

from . import backend
from .rows import as_rows, check_gate, check_probe, differentiable, wide
from .shift import steer_reference


def rms_norm_reference(h: Tensor, gain: Tensor, eps: float) -> Tensor:
    """RMSNorm as Llama has it. h: (n, d), gain: (d,) -> (n, d)."""
    x = wide(h, h)
    unit = (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)).to(h.dtype)
    return (gain.to(x.dtype) * unit.to(x.dtype)).to(h.dtype)


def add_steer_norm_reference(
    x: Tensor,
    residual: Tensor,
    gain: Tensor,
    w: Tensor,
    settings: Tensor,
    gate: Tensor | None = None,
    eps: float = 1e-6,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Plain torch, on rows (n, d). Returns normed, steered residual, score, size."""
    total, score, size = steer_reference(x + residual, w, settings, gate)
    return rms_norm_reference(total, gain, eps), total, score, size


def add_steer_norm(
    x: Tensor,
    residual: Tensor,
    gain: Tensor,
    w: Tensor,
    settings: Tensor,
    *,
    gate: Tensor | None = None,
    eps: float = 1e-6,
    report: bool = False,
):
    """Add, steer, normalise.

    Args:
        x: output of attention or of the MLP, (..., d).
        residual: the residual stream, same shape and dtype.
        gain: RMSNorm's weight, (d,).
        w, settings, gate: as for `steer`.
        eps: RMSNorm's epsilon.
        report: return score (...) and size (...) as well.

    Returns:
        (normed, steered residual), both like `x`; with `report` followed by score and size.

    Raises:
        ValueError: shapes or dtypes do not fit.
    """
    check_probe("add_steer_norm", x, w, settings)
    if residual.shape != x.shape or residual.dtype != x.dtype or gain.shape != x.shape[-1:]:
        raise ValueError(
            f"add_steer_norm: x is {tuple(x.shape)} {x.dtype}, residual {tuple(residual.shape)} "
            f"{residual.dtype}, gain {tuple(gain.shape)}. x and residual must match, gain is (d,)."
        )
    rows = x.shape[:-1]
    gate = check_gate("add_steer_norm", gate, rows)
    args = (as_rows(x), as_rows(residual), gain.contiguous(), wide(w, x), settings, gate, eps)
    plain = backend.plain(x) or differentiable(w, settings, gate)
    run = add_steer_norm_reference if plain else add_steer_norm_op
    normed, total, score, size = run(*args)
    found = (normed.view(x.shape), total.view(x.shape))
    return (*found, score.view(rows), size.view(rows)) if report else found


@torch.library.custom_op("valuelab::add_steer_norm", mutates_args=())
def add_steer_norm_op(
    x: Tensor,
    residual: Tensor,
    gain: Tensor,
    w: Tensor,
    settings: Tensor,
    gate: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """On rows (n, d). Rows wider than the registers hold run on the reference."""
    if backend.choose(x) != "torch":
        from . import norm_triton

        if norm_triton.fits(x.shape[1]):
            return norm_triton.add_steer_norm(x, residual, gain, w, settings, gate, eps)
    return add_steer_norm_reference(x, residual, gain, w, settings, gate, eps)


@add_steer_norm_op.register_fake
def _(x, residual, gain, w, settings, gate, eps):
    score = w.new_empty(x.shape[:1])
    return x.new_empty(x.shape), x.new_empty(x.shape), score, torch.empty_like(score)


def _save(ctx, inputs, output):
    _, _, gain, w, _, gate, ctx.eps = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(gain, w, gate, output[1], output[3])


def _backward(ctx, g_normed, g_total, g_score, g_size):
    """RMSNorm's gradient, then the step's (a projection), the same for x and the residual."""
    gain, w, gate, total, size = ctx.saved_tensors
    h, g_gain = wide(total, total), None
    g = torch.zeros_like(h) if g_total is None else wide(g_total, h)
    if g_normed is not None:
        scale = torch.rsqrt(h.square().mean(-1, keepdim=True) + ctx.eps)
        g_unit = wide(g_normed, h) * gain.to(h.dtype)
        g = g + scale * (g_unit - h * scale.square() * (g_unit * h).mean(-1, keepdim=True))
        g_gain = (wide(g_normed, h) * h * scale).sum(0).to(gain.dtype)
    opened = (size != 0).to(h.dtype)
    if gate is not None:
        opened = opened * gate
    norm2 = (w @ w).clamp(min=1e-30)
    g = g - (opened * (g @ w) / norm2)[:, None] * w
    if g_score is not None:
        g = g + g_score[:, None] * w
    if g_size is not None:
        g = g - (g_size * opened / norm2.sqrt())[:, None] * w
    g = g.to(total.dtype)
    return g, g.clone(), g_gain, None, None, None, None


add_steer_norm_op.register_autograd(_backward, setup_context=_save)
