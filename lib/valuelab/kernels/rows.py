"""Checks and reshapes that every kernel's wrapper shares."""

import torch
from torch import Tensor


def as_rows(h: Tensor) -> Tensor:
    """(..., d) as (n, d) with unit column stride: a view where the strides allow, else a copy."""
    flat = h.reshape(-1, h.shape[-1])
    return flat if flat.stride(1) == 1 or flat.shape[1] <= 1 else flat.contiguous()


def viewable(h: Tensor) -> bool:
    """Whether (..., d) is (n, d) with unit column stride without copying."""
    steps = [(n, s) for n, s in zip(h.shape[:-1], h.stride()[:-1], strict=True) if n != 1]
    collapse = all(a[1] == b[0] * b[1] for a, b in zip(steps, steps[1:], strict=False))
    return collapse and (h.stride(-1) == 1 or h.shape[-1] == 1)


def wide(t: Tensor, h: Tensor) -> Tensor:
    """`t` contiguous in the precision that computes on `h`: float32, or float64 for float64."""
    return t.to(torch.promote_types(h.dtype, torch.float32)).contiguous()


def check_probe(who: str, h: Tensor, w: Tensor, settings: Tensor) -> None:
    """One probe (d,) with settings (3,), or k probes (k, d) with settings (3, k)."""
    if h.dim() == 0 or w.shape[-1:] != h.shape[-1:] or w.dim() > 2:
        raise ValueError(
            f"{who}: w has shape {tuple(w.shape)} but h has shape {tuple(h.shape)}. "
            "The last axes must agree: read h at the layer and model the probe was trained on."
        )
    if settings.shape != (3, *w.shape[:-1]) or settings.dtype != torch.float32:
        raise ValueError(
            f"{who}: settings has shape {tuple(settings.shape)} and {settings.dtype}, wanted "
            f"{(3, *w.shape[:-1])} in float32. Build it with settings(bias, target, side)."
        )
    if not h.is_floating_point():
        raise ValueError(f"{who}: h is {h.dtype}. Hidden states are floating point.")
    if w.device != h.device or settings.device != h.device:
        raise ValueError(
            f"{who}: h is on {h.device}, w on {w.device}, settings on {settings.device}. "
            "Move the probe once, when the hook is built."
        )


def check_gate(who: str, gate: Tensor | None, rows: torch.Size) -> Tensor | None:
    """A gate (...) as a contiguous (n,) tensor on the rows' device."""
    if gate is None:
        return None
    if gate.shape != rows:
        raise ValueError(
            f"{who}: gate has shape {tuple(gate.shape)} but the states' rows have "
            f"{tuple(rows)}. Give one gate for each hidden state."
        )
    return gate.reshape(-1).contiguous()


def differentiable(*tensors: Tensor | None) -> bool:
    """Whether any of these needs a gradient now: then only the reference will do."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
