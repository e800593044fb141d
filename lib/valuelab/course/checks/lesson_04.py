"""Checks of lesson 04: steering."""

from __future__ import annotations

import math

import numpy as np
import torch

from valuelab.steering import effects, gate, shift

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


@exercise("4.1", reference=shift.additive_shift)
def additive_shift(f):
    for seed in (0, 1):
        g = torch.Generator().manual_seed(seed)
        h, v = torch.randn(2, 3, 5, generator=g), torch.randn(5, generator=g)
        got = f(h, v, 2.5)
        step = 2.5 * v
        if torch.is_tensor(got) and got.shape == v.shape and torch.allclose(got, step, atol=1e-5):
            raise Refused("one step for all came back; expand it, so that every state has its own row")
        got = _tensor(got, h)
        if _same(got, h + step):
            raise Refused("this is the new state; return the shift alone, the caller adds it")
        if _same(got, v.expand(h.shape)):
            raise Refused("the strength was not used")
        if _same(got, -step.expand(h.shape)):
            raise Refused("sign flipped: a positive strength must push along v, not against it")
        if _same(got, (step / v.norm()).expand(h.shape)):
            raise Refused("v was scaled to length one; its length carries how far the two groups lie apart")
        if _same(got, h * step):
            raise Refused("multiplied with the state; the step is the same for every state")
        if not _same(got, step.expand(h.shape)):
            raise Refused("the shift is strength times v, the same at every place")
    if not _same(_tensor(f(torch.zeros(5), torch.ones(5)), torch.ones(5)), torch.ones(5)):
        raise Refused("without a strength the step is v itself: the default is 1")
    if f(torch.zeros(2, 5, dtype=torch.float16), torch.ones(5)).dtype != torch.float16:
        raise Refused("the dtype of h was not kept")


@exercise("4.2", reference=shift.minimal_shift)
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
    g = torch.Generator().manual_seed(3)
    h = (3 * torch.randn(64, 2048, generator=g)).bfloat16()
    w = (0.03 * torch.randn(2048, generator=g)).bfloat16()
    got = f(h, w, b, 0.9)
    if got.dtype != h.dtype:
        raise Refused("the dtype of h was not kept: compute in float32 or wider, return in the dtype of h")
    z, moved = (x.double() @ w.double() + b for x in (h, h.double() + got.double()))
    low = z < math.log(9.0)
    if (moved[low] - math.log(9.0)).abs().max() > 0.01:
        raise Refused("bfloat16 states miss the target: convert h and w to float32, `wide(h)`, before the product")


@exercise("4.3", reference=shift.project)
def project(f):
    for seed in (0, 1):
        h, v, _ = _data(seed)
        u = v / v.pow(2).sum().sqrt()
        along = torch.einsum("...d,d->...", h, u)
        got = _tensor(f(h, v, 1.5), h)
        step = (1.5 - along)[..., None] * u
        if _same(got, h + step):
            continue
        if _same(got, step):
            raise Refused("this is the change alone; here the new states are wanted: add h")
        if _same(got, h - along[..., None] * u):
            raise Refused("the component is gone, but the level was not set: `level` is not used")
        if _same(got, h + 1.5 * u):
            raise Refused("the level was added to what is there already: take the old component away first")
        if _same(got, h - step):
            raise Refused("sign flipped: the component moves away from the level")
        if _same(got, 1.5 * u.expand(h.shape)):
            raise Refused("everything but the component was thrown away: all that is perpendicular to v stays")
        if _same(got, h + (1.5 - h @ v)[..., None] * v) or _same(got, h + (1.5 - h @ v)[..., None] * u):
            raise Refused("v has not length one: divide it by its norm, both in the reading and in the step")
        if _same(got, h + (1.5 - along)[..., None] * v):
            raise Refused("the reading uses the unit vector, the step does not: it lands |v| times too far")
        raise Refused(f"the component along v is {float((got @ u).mean()):.2f} on average, wanted 1.50")
    h, v, _ = _data(2)
    if not torch.allclose(_tensor(f(h, 10 * v, 0.5), h), f(h, v, 0.5), atol=1e-6):
        raise Refused("the result changes with the length of v: only its direction may matter")
    if f(h.to(torch.float16), v.to(torch.float16), 0.0).dtype != torch.float16:
        raise Refused("the dtype of h was not kept: compute in float32 or wider, return in the dtype of h")


@exercise("4.4", reference=shift.sequential_shift)
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


@exercise("4.5", reference=shift.gauss_seidel_sweep)
def gauss_seidel_sweep(f):
    for seed in (0, 1):
        g = torch.Generator().manual_seed(seed)
        common = torch.randn(6, generator=g, dtype=torch.float64)
        W = common + 0.6 * torch.randn(3, 6, generator=g, dtype=torch.float64)
        gram = W @ W.T
        need = 3 * torch.randn(8, 3, generator=g, dtype=torch.float64)
        start = torch.rand(8, 3, generator=g, dtype=torch.float64)
        kept = start.clone()
        got = f(gram, need, start)
        if not torch.equal(start, kept):
            raise Refused("the multipliers that were given were changed in place: work on a clone")
        got = _tensor(got, need)

        def rounds(order, clamp=True, old=False, own=True, whole=False, scale=True):
            lam = kept.clone()  # noqa: B023
            for k in order:
                now = kept if old else lam  # noqa: B023
                lack = need[:, k] - now @ gram[:, k]  # noqa: B023
                step = lack / gram[k, k] if scale else lack  # noqa: B023
                new = (0 if whole or not own else lam[:, k]) + step
                lam[:, k] = new.clamp(min=0) if clamp else new
            return lam

        if _same(got, rounds(range(3))):
            continue
        if _same(got, rounds(range(3), clamp=False)):
            raise Refused("a multiplier fell below zero: max(0, ·) keeps a satisfied target from being pulled down")
        if _same(got, rounds(range(3), old=True)):
            raise Refused("every lack was measured with the multipliers from before the sweep; use those just updated")
        if _same(got, rounds([2, 1, 0])):
            raise Refused("the constraints were taken in reverse order")
        if _same(got, rounds(range(3), own=False)):
            raise Refused("the old multiplier was replaced by its correction: add the correction to it")
        if _same(got, rounds(range(3), scale=False)):
            raise Refused("not divided by gram[k, k], the square of the weight's length: the step has the wrong size")
        if _same(got, rounds([0])):
            raise Refused("only the first constraint was treated: the return stands inside the loop")
        only = kept.clone()
        for k in range(3):
            only[:, k] = only[:, k] + ((need[:, k] - only @ gram[:, k]) / gram[k, k]).clamp(min=0)
        if _same(got, only):
            raise Refused("the correction was clamped, not the multiplier: a multiplier must be able to shrink again")
        if _same(got, shift.solve_lcp(gram, need)):
            raise Refused("this is the solution that many sweeps end at; one sweep was asked for")
        raise Refused("the multipliers are not those of one sweep, each set to what its target still lacks")


@exercise("4.6", reference=gate.opens)
def opens(f):
    p = torch.tensor([0.02, 0.29, 0.31, 0.5, 0.69, 0.71, 0.98], dtype=torch.float64)
    z = torch.log(p) - torch.log1p(-p)

    def rows(*arguments, **options):
        got = f(*arguments, **options)
        if got is None:
            raise Refused("nothing came back: end with `return`")
        if not torch.is_tensor(got) or got.dtype != torch.bool:
            raise Refused("booleans were wanted, one for each row")
        if got.shape != arguments[0].shape:
            raise Refused(f"shape {tuple(got.shape)} came back, {tuple(arguments[0].shape)} was wanted")
        return got

    got, wanted = rows(z, 0.3, 0.7), (p > 0.3) & (p < 0.7)
    if not torch.equal(got, wanted):
        if torch.equal(got, (z >= 0.3) & (z <= 0.7)):
            raise Refused("readings are logits, the thresholds are probabilities: bring both to one scale")
        if torch.equal(got, ~wanted):
            raise Refused("open and shut are exchanged: a row inside the band passes")
        if torch.equal(got, p > 0.3):
            raise Refused("the ceiling is not used")
        if torch.equal(got, p < 0.7):
            raise Refused("the threshold is not used")
        if torch.equal(got, (p > 0.3) | (p < 0.7)):
            raise Refused("`or` lets everything pass: both bounds must hold")
        raise Refused("the rows that pass are not those inside the band")
    if not torch.equal(rows(z, 0.3, 0.7, True), ~wanted):
        raise Refused("`invert` is not handled: then the rows outside the band pass")
    exact = torch.zeros(2, dtype=torch.float64)  # logit of one half, without rounding
    if not rows(exact, 0.5).all() or not rows(exact, 0.2, 0.5).all():
        raise Refused("a reading on the bound itself must pass: both ends belong to the band")
    nan = torch.tensor([float("nan"), 0.0])
    for options in ({}, {"invert": True}):
        if rows(nan, 0.2, 0.8, **options)[0]:
            raise Refused("NaN passed: a reading that is no number must keep the gate shut, inverted or not")
    far = torch.tensor([-torch.inf, -900.0, 900.0, torch.inf])
    if not rows(far, 0.0, 1.0).all():
        raise Refused("threshold 0 and ceiling 1 mean no bound: every reading passes")


@exercise("4.7", reference=gate.gated)
def gated(f):
    g = torch.Generator().manual_seed(0)
    for shape in ((3, 4, 5), (2, 1, 3)):
        h, step = torch.randn(shape, generator=g), torch.randn(shape, generator=g)
        let = torch.arange(shape[0]) % 2 == 0
        got, mask = _tensor(f(h, step, let), h), let[:, None, None]
        if torch.equal(got, torch.where(mask, h + step, h)):
            continue
        if _same(got, torch.where(mask, h, h + step)):
            raise Refused("open and shut are exchanged: a row is moved where its gate is True")
        if _same(got, torch.where(mask, step, torch.zeros_like(h))):
            raise Refused("this is the change alone; the new states were wanted")
        if _same(got, torch.where(mask, step, h)):
            raise Refused("where the gate is open the shift replaced the state: add it to h")
        if _same(got, torch.where(mask, h + step, torch.zeros_like(h))):
            raise Refused("states behind a closed gate were set to zero: they stay as they are")
        if _same(got, h + step):
            raise Refused("every row was moved: the gate is not used")
        raise Refused("the states are not h + shift behind open gates and h behind closed ones")
    h = torch.tensor([[[-0.0, 2.0]]])
    wild = torch.full_like(h, float("inf"))
    kept = f(h, wild, torch.tensor([False]))
    if not torch.isfinite(kept).all():
        raise Refused("0 times infinity is NaN: a closed gate must choose h, not multiply the shift by zero")
    if not torch.equal(torch.signbit(f(h, torch.zeros_like(h), torch.tensor([False]))), torch.signbit(h)):
        raise Refused("−0.0 became 0.0 behind a closed gate: adding nothing is not leaving alone")
    half = f(torch.ones(1, 1, 2, dtype=torch.float16), torch.ones(1, 1, 2), torch.tensor([True]))
    if half.dtype != torch.float16:
        raise Refused("the dtype of h was not kept")


def _numbers(got, shape):
    if got is None:
        raise Refused("nothing came back: end with `return`")
    got = np.asarray(got, float)
    if got.shape != shape:
        raise Refused(f"shape {got.shape} came back, {shape} was wanted")
    if not np.isfinite(got).all():
        raise Refused("the result holds NaN or infinity")
    return got


@exercise("4.8", reference=effects.leakage_matrix)
def leakage_matrix(f):
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        before, after = rng.uniform(size=(4, 7)), rng.uniform(size=(4, 4, 7))
        got = f(before, after)
        change = after - before
        wanted = change.mean(axis=2)
        if got is not None and np.shape(got) == (4,) and np.allclose(got, np.diag(wanted)):
            raise Refused("only the diagonal came back: the side effects are the point")
        if got is not None and np.shape(got) == (4, 7):
            raise Refused("averaged over the steered values; average over the situations, the last axis")
        got = _numbers(got, (4, 4))
        if np.allclose(got, wanted):
            continue
        if np.allclose(got, wanted.T):
            raise Refused("transposed: row i is the value that was steered, column j the value that moved")
        if np.allclose(got, -wanted):
            raise Refused("sign flipped: steered minus unsteered")
        if np.allclose(got, after.mean(2)):
            raise Refused("the unsteered choices were not taken away: this is a level, not an effect")
        if np.allclose(got, after.mean(2) - before.mean(1)[:, None]):
            raise Refused("the unsteered choices of the steered value were taken away; each column has its own start")
        if np.allclose(got, np.abs(change).mean(2)):
            raise Refused("without its sign an effect cannot show which values fall")
        if np.allclose(got, change.sum(2)):
            raise Refused("summed, not averaged: more situations would mean more leakage")
        raise Refused("entry (i, j) is not the mean change of the choices for j while i is steered")


@exercise("4.9", reference=effects.circle_correlation)
def circle_correlation(f):
    for seed, k in ((0, 10), (1, 7)):
        rng = np.random.default_rng(seed)
        angles = 2 * np.pi * np.arange(k) / k
        gap = angles[:, None] - angles[None, :]
        matrix = 0.1 * np.cos(gap) + 0.05 * rng.normal(size=(k, k)) + 0.6 * np.eye(k)
        off = ~np.eye(k, dtype=bool)

        def r(x, y):
            return float(np.corrcoef(x, y)[0, 1])

        got = float(_numbers(f(matrix, angles), ()))
        wanted = r(np.cos(gap)[off], matrix[off])
        if np.isclose(got, wanted):
            continue
        upper = np.triu_indices(k, 1)
        if np.isclose(got, r(np.cos(gap).ravel(), matrix.ravel())):
            raise Refused("the diagonal is in it: the intended effect alone makes this correlation")
        if np.isclose(got, -wanted):
            raise Refused("sign flipped: neighbours that rise and opposites that fall are a positive correlation")
        if np.isclose(got, r(np.cos(gap)[upper], matrix[upper])):
            raise Refused("only half of the matrix was used: steering i on j and steering j on i are two effects")
        if np.isclose(got, r(np.cos(np.radians(gap))[off], matrix[off])):
            raise Refused("the angles are radians already")
        if np.isclose(got, r(np.abs(gap)[off], matrix[off])) or np.isclose(got, r(gap[off], matrix[off])):
            raise Refused("a difference of angles does not close the circle: take its cosine")
        if np.isclose(got, float((np.cos(gap)[off] * matrix[off]).mean())):
            raise Refused("this is a mean product; subtract the means and divide by both spreads")
        raise Refused("not the correlation of the side effects with the cosine of the angle between the values")
    flat = f(np.eye(10))
    if not np.isfinite(flat) or abs(flat) > 1e-9:
        raise Refused("where all side effects are equal the answer is 0, not a division by zero")


@exercise("4.10", reference=effects.anti_steerable_share)
def anti_steerable_share(f):
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        before = rng.uniform(size=23)
        after = before + rng.normal(0.05, 0.2, size=23)
        after[:4] = before[:4]
        got = float(_numbers(f(before, after), ()))
        fell = after < before
        if np.isclose(got, fell.mean()):
            continue
        if np.isclose(got, fell.sum()):
            raise Refused("a share was wanted, not a number of situations")
        if np.isclose(got, (after > before).mean()):
            raise Refused("this is the share that moved the right way")
        if np.isclose(got, (after <= before).mean()):
            raise Refused("situations that did not move at all were counted as moved the wrong way")
        if np.isclose(got, (after - before).mean()):
            raise Refused("this is the mean gain, which is just what hides them")
        if np.isclose(got, (after < 0.5).mean()):
            raise Refused("compare each situation with itself before steering, not with one half")
        raise Refused("not the share of situations whose probability fell")
    before, after = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.45, 0.2, 0.9, 0.5])
    if not np.isclose(f(before, after, 0.1), 0.25):
        raise Refused("falls up to the tolerance do not count: compare before − after with it")


@exercise("4.11", reference=effects.gain_kept)
def gain_kept(f):
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        n0, n1 = rng.uniform(0.3, 0.5, 9), rng.uniform(0.6, 0.9, 9)
        o0, o1 = rng.uniform(0.0, 0.2, 13), rng.uniform(0.25, 0.45, 13)
        got = float(_numbers(f((n0, n1), (o0, o1)), ()))
        neutral, hard = n1.mean() - n0.mean(), o1.mean() - o0.mean()
        if np.isclose(got, hard / neutral):
            continue
        if np.isclose(got, neutral / hard):
            raise Refused("upside down: the gain under opposition stands above the line")
        if np.isclose(got, o1.mean() / n1.mean()):
            raise Refused("these are levels; a gain is steered minus unsteered")
        if np.isclose(got, (o1.mean() - n0.mean()) / neutral):
            raise Refused("the gain under opposition starts from its own unsteered state, which the prompt has lowered")
        if np.isclose(got, hard):
            raise Refused("this is the gain itself; divide it by the neutral gain")
        if np.isclose(got, 1 - hard / neutral):
            raise Refused("this is the share that was lost")
        raise Refused("not the ratio of the two mean gains")
    try:
        f((np.ones(3), np.zeros(3)), (np.zeros(3), np.ones(3)))
    except ValueError:
        return
    raise Refused("a neutral gain of zero or less must raise ValueError: a share of it means nothing")
