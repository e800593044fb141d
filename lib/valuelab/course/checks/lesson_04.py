"""Checks of lesson 04: steering."""

from __future__ import annotations

import math

import torch

from valuelab.steering import shift

from ..check import Refused, exercise


def _data(seed: int):
    g = torch.Generator().manual_seed(seed)
    h = torch.randn(3, 11, 5, generator=g, dtype=torch.float64)
    return h, 1.7 * torch.randn(5, generator=g, dtype=torch.float64), 0.4


def _tensor(got, like):
    if got is None:
        raise Refused("nothing came back: end with `return`")
    if not torch.is_tensor(got):
        raise Refused(f"a {type(got).__name__} came back, a tensor was wanted")
    if got.shape != like.shape:
        raise Refused(f"shape {tuple(got.shape)} came back, {tuple(like.shape)} was wanted: one shift for each state")
    if not torch.isfinite(got).all():
        raise Refused("the result holds NaN or infinity")
    return got


def _same(a, b):
    return torch.allclose(a.double(), b.double(), atol=1e-6)


@exercise("4.1", reference=shift.minimal_shift)
def minimal_shift(f):
    for seed in (0, 1):
        h, w, b = _data(seed)
        z, goal = torch.einsum("...d,d->...", h, w) + b, math.log(0.9 / 0.1)
        missing = goal - z
        up = missing.clamp(min=0)
        got = _tensor(f(h, w, b, 0.9), h)
        wanted = up[..., None] * w / w.pow(2).sum()
        if _same(got, wanted):
            continue
        if _same(got, -wanted):
            raise Refused("sign flipped: the shift must raise the logit, yours lowers it")
        if _same(got, h + wanted):
            raise Refused("this is the new state; return the shift alone, the caller adds it")
        if _same(got, up[..., None] * w / w.norm()):
            raise Refused("overshoots: divided by the length of w, it must be the square of the length")
        if _same(got, missing[..., None] * w / (w @ w)):
            raise Refused("states above the target were pulled down: max(0, ·) is missing for side='at least'")
        if _same(got, up[..., None] * w):
            raise Refused("not divided by w·w: the logits land far beyond the target")
        if _same(got, (goal - z + b).clamp(min=0)[..., None] * w / (w @ w)):
            raise Refused("the bias is missing in the probe's reading w·h + b")
        if _same(got, (0.9 - z).clamp(min=0)[..., None] * w / (w @ w)):
            raise Refused("the target is a probability; compare logits with logit(target)")
        if _same(got, (0.9 - torch.sigmoid(z)).clamp(min=0)[..., None] * w / (w @ w)):
            raise Refused("this is the gap in probability; a linear probe moves in logits")
        reached = torch.sigmoid(torch.einsum("...d,d->...", h + got, w) + b)
        raise Refused(f"after your shift the lowest probability is {float(reached.min()):.3f}, wanted 0.900")
    h, w, b = _data(2)
    missing = math.log(0.3 / 0.7) - (h @ w + b)
    for side, gap in (("at most", missing.clamp(max=0)), ("exactly", missing)):
        got = _tensor(f(h, w, b, 0.3, side), h)
        if not _same(got, gap[..., None] * w / (w @ w)):
            raise Refused(
                f"side={side!r} is not handled: "
                + ("only high states move, downwards" if side == "at most" else "every state moves onto the target")
            )
    half = h.to(torch.float16)
    if f(half, w.to(torch.float16), b, 0.9).dtype != torch.float16:
        raise Refused("the dtype of h was not kept: compute in float32 or wider, return in the dtype of h")


@exercise("4.2", reference=shift.sequential_shift)
def sequential_shift(f):
    for seed in (0, 1):
        g = torch.Generator().manual_seed(seed)
        h = torch.randn(9, 6, generator=g, dtype=torch.float64)
        common = torch.randn(6, generator=g, dtype=torch.float64)
        W = common + 0.6 * torch.randn(3, 6, generator=g, dtype=torch.float64)
        b, target, side = (
            torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64),
            [0.8, 0.3, 0.9],
            ["at least", "at most", "at least"],
        )

        def one(x, k):
            gap = math.log(target[k] / (1 - target[k])) - (x @ W[k] + b[k])  # noqa: B023
            gap = gap.clamp(min=0) if side[k] == "at least" else gap.clamp(max=0)  # noqa: B023
            return gap[:, None] * W[k] / (W[k] @ W[k])  # noqa: B023

        def sweep(order):
            x = h  # noqa: B023
            for k in order:
                x = x + one(x, k)
            return x

        wanted = sweep(range(3)) - h
        got = _tensor(f(h, W, b, target, side), h)
        if _same(got, wanted):
            continue
        if _same(got, sweep(range(3))):
            raise Refused("this is the final state; subtract h to return the total shift")
        if _same(got, sum(one(h, k) for k in range(3))):
            raise Refused(
                "every shift was measured on the original state; measure each on what the ones before have left"
            )
        if _same(got, sweep([2, 1, 0]) - h):
            raise Refused("the values were taken in reverse order")
        if _same(got, one(sweep([0, 1]), 2)):
            raise Refused("only the last value's shift came back: return the sum of all")
        if _same(got, sweep([0]) - h):
            raise Refused("only the first value was applied: the return stands inside the loop")
        if _same(got, shift.joint_shift(h, W, b, target, side)) or _same(
            got, shift.joint_shift(h, W, b, target, side, ridge=0.0)
        ):
            raise Refused("this is the joint solution; here one value comes after the other, in a single sweep")
        raise Refused("the total shift is not that of one sweep, in the order given, each with its own side")
    h, W, b = torch.zeros(2, 3), torch.eye(3), torch.zeros(3)
    got = _tensor(f(h, W, b, [0.9, 0.9, 0.9]), h)
    if not torch.allclose(got, torch.full((2, 3), math.log(9.0)), atol=1e-4):
        raise Refused("without side every value is 'at least'")
