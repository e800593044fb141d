"""The control for every steering plan: steps of the same sizes in directions drawn at random."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from valuelab.activations import residual, with_residual
from valuelab.models import LM
from valuelab.steering.plan import Shift
from valuelab.steering.shift import additive_shift, minimal_shift


def step_sizes(shift: Shift, h: Tensor, cap: float | None = None) -> Tensor:
    """Length of the step that `shift` takes at each state: (..., d_model) -> (...).

    cap: longest minimal step as a share of |h|, as for `steer`.
    """
    w = shift.probe.weight.to(h.device)
    if shift.kind == "add":
        step = additive_shift(h.float(), w, shift.strength)
    elif shift.kind == "minimal":
        step = shift.strength * minimal_shift(
            h.float(), w, shift.probe.bias, shift.target, shift.side
        )
        if cap is not None:
            longest = cap * h.float().norm(dim=-1, keepdim=True)
            step = step * (longest / step.norm(dim=-1, keepdim=True).clamp(min=1e-30)).clamp(max=1)
    else:
        raise ValueError(f"random_push: shifts of kind {shift.kind!r} have no random twin here.")
    return step.norm(dim=-1)


def random_units(n: int, d_model: int, seed: int = 0) -> Tensor:
    """`n` directions of length one, (n, d_model), each drawn by itself."""
    drawn = torch.randn(n, d_model, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm(dim=1, keepdim=True)


@contextlib.contextmanager
def random_push(
    lm: LM, shift: Shift, seed: int = 0, *, group: int = 1, cap: float | None = None,
    directions: int = 1024,
) -> Iterator[None]:
    """Push every token as far as `shift` would, each item of a call in a random direction of its own.

    Every item has its own direction, so that an interval over items holds for random directions in
    general and not for one lucky draw. The step size is measured at each token in the same pass.
    Rows are known where `valuelab` runs the pass (`lm.announcing`); other passes get direction 0.

    Args:
        group: rows that make one item and share a direction: 2 where the two members of a contrast
            pair are read as neighbours, else their difference would be noise of the control's own.
        cap: as for `steer`.
    """
    units = random_units(directions, lm.d_model, seed).to(lm.device)

    def hook(module, args, output):
        h = residual(output)
        rows = lm.current.rows // group % directions if lm.current else torch.zeros(len(h)).long()
        step = step_sizes(shift, h, cap)[..., None] * units[rows.to(h.device)][:, None]
        return with_residual(output, (h.float() + step).to(h.dtype))

    handle = lm.blocks[shift.probe.layer].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
