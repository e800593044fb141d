"""The gated minimal shift of one value, on whole batches of hidden states.

A probe reads score = w·h + b from a hidden state. The shortest change that takes the score to a
target t is along w:

    h' = h + gate * gap / |w|² * w,      gap = max(0, t - score)      ("at least")
                                         gap = min(0, t - score)      ("at most")
                                         gap = t - score              ("exactly")

Source: ConVA, arXiv 2507.11316; the clamp per token and the gate per row are this library's.
The bias, target and side travel as a small tensor on the device (`settings`), so that they can be
changed between two replays of a CUDA graph, or by a slider, without building anything again.
"""

import torch
from torch import Tensor

from . import backend
from .rows import as_rows, check_gate, check_probe, differentiable, viewable, wide

SIDES = {"at least": 1.0, "at most": -1.0, "exactly": 0.0}


def settings(bias: float | Tensor, target: float | Tensor, side: str = "at least", device=None) -> Tensor:
    """Pack a probe's bias, the target logit and the side into the (3,) tensor that kernels read.

    For several values pass (k,) tensors and a list of k sides; the result is (3, k).

    Args:
        bias: the probe's bias, in logits.
        target: the score wanted after the shift, in logits.
        side: "at least" raises lower scores, "at most" lowers higher ones, "exactly" does both.
        device: where the kernel will run.

    Raises:
        ValueError: `side` is not one of the three, or a number is not finite.
    """
    sides = [side] if isinstance(side, str) else list(side)
    for name in sides:
        if name not in SIDES:
            raise ValueError(f"settings: side={name!r}. Choose one of {', '.join(SIDES)}.")
    signs = [SIDES[name] for name in sides]
    rows = (bias, target, signs[0] if isinstance(side, str) else signs)
    columns = [torch.as_tensor(row, dtype=torch.float32).cpu() for row in rows]
    packed = torch.stack(torch.broadcast_tensors(*columns))
    if not packed.isfinite().all():
        raise ValueError(
            f"settings: bias={bias}, target={target} are not finite logits. "
            "A probability of 0 or 1 has none: ask for 0.99."
        )
    return packed.to(device)


def steer_reference(
    h: Tensor, w: Tensor, settings: Tensor, gate: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Plain torch. h: (n, d), w: (d,), settings: (3,), gate: (n,) -> steered, score, size.

    Computed in float32, or in float64 for float64 states. Differentiable in every argument.
    A row whose score is not finite, or any row when w is zero, comes back as it was.
    """
    x, w = wide(h, h), wide(w, h)
    bias, target, sign = wide(settings, h).unbind()
    score = x @ w + bias
    gap = target - score
    norm2 = w @ w
    wanted = ((sign > 0) & (gap > 0)) | ((sign < 0) & (gap < 0)) | (sign == 0)
    wanted = wanted & gap.isfinite() & (norm2 > 0)
    size = torch.where(wanted, gap, 0.0) / torch.where(norm2 > 0, norm2, 1.0)
    if gate is not None:
        size = size * gate.to(size.dtype)
    moved = (x + size[:, None] * w).to(h.dtype)
    return torch.where(size[:, None] != 0, moved, h), score, size * norm2.sqrt()


def steer(
    h: Tensor,
    w: Tensor,
    settings: Tensor,
    *,
    gate: Tensor | None = None,
    inplace: bool = False,
    report: bool = False,
):
    """Move every hidden state by the shortest step that brings its score to the target.

    Args:
        h: hidden states, (..., d); float32, float16 or bfloat16.
        w: probe weight, (d,), on raw h.
        settings: (3,) from `settings(bias, target, side)`.
        gate: (...), bool or float; multiplies the step. 0 leaves a row bit for bit as it is.
        inplace: write into `h`. Rows whose gate is shut are then not written at all.
        report: return the score before and the signed length of the step as well.

    Returns:
        Steered states like `h` (`h` itself if in place); with `report`, a tuple
        (states, score (...), size (...)), score in logits, size a length in the units of h, float32.

    Raises:
        ValueError: widths differ, `gate` does not match the rows, or `inplace` on states that
            require a gradient.
    """
    check_probe("steer", h, w, settings)
    rows = h.shape[:-1]
    gate = check_gate("steer", gate, rows)
    if inplace and torch.is_grad_enabled() and h.requires_grad:
        raise ValueError(
            "steer: inplace=True would overwrite states that autograd still needs. "
            "Use inplace=False while training, or torch.no_grad() while generating."
        )
    flat, weight = as_rows(h), wide(w, h)
    plain = backend.plain(h)
    if inplace and not plain:
        score, size = steer_op_(flat, weight, settings, gate)
        out = h if viewable(h) else h.copy_(flat.view(h.shape))
    else:
        reference = plain or differentiable(w, settings, gate)
        run, v = (steer_reference, w) if reference else (steer_op, weight)
        out, score, size = run(flat, v, settings, gate)
        out = h.copy_(out.view(h.shape)) if inplace else out.view(h.shape)
    return (out, score.view(rows), size.view(rows)) if report else out


@torch.library.custom_op("valuelab::steer", mutates_args=())
def steer_op(h: Tensor, w: Tensor, settings: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Out of place, on rows (n, d) with unit column stride. Returns steered, score, size."""
    if backend.choose(h) == "torch":
        return steer_reference(h, w, settings, gate)
    from . import shift_triton

    out = torch.empty(h.shape, dtype=h.dtype, device=h.device)
    return (out, *shift_triton.steer(h, out, w, settings, gate))


@torch.library.custom_op("valuelab::steer_", mutates_args=("h",))
def steer_op_(h: Tensor, w: Tensor, settings: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor]:
    """In place, on rows (n, d) with unit column stride. Returns score, size."""
    if backend.choose(h) == "torch":
        out, score, size = steer_reference(h, w, settings, gate)
        h.copy_(out)
        return score, size
    from . import shift_triton

    return shift_triton.steer(h, h, w, settings, gate)


@steer_op.register_fake
def _(h, w, settings, gate):
    score = w.new_empty(h.shape[:1])
    return h.new_empty(h.shape), score, torch.empty_like(score)


@steer_op_.register_fake
def _(h, w, settings, gate):
    score = w.new_empty(h.shape[:1])
    return score, torch.empty_like(score)


def _save(ctx, inputs, output):
    _, w, _, gate = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(w, gate, output[2])


def _backward(ctx, g, g_score, g_size):
    """The step is a projection, so its gradient is the same kernel with target zero.

    Open row: g - gate (g·w) w / |w|²; shut row: g. Score and size add multiples of w.
    """
    w, gate, size = ctx.saved_tensors
    opened = (size != 0).to(size.dtype)
    if gate is not None:
        opened = opened * gate
    grad = None
    if g is not None:
        origin = torch.zeros(3, dtype=torch.float32, device=g.device)
        grad = steer_op(g.contiguous(), w, origin, opened)[0]
    along = torch.zeros_like(size)
    if g_score is not None:
        along = along + g_score
    if g_size is not None:
        along = along - g_size * opened / w.norm()
    if g_score is not None or g_size is not None:
        extra = along[:, None] * w
        grad = extra if grad is None else (grad + extra).to(g.dtype)
    return grad, None, None, None


steer_op.register_autograd(_backward, setup_context=_save)
