"""Wrong answers to lesson 04."""

import math

import numpy as np
import torch

from mistakes.planted import Mistake
from valuelab.steering import gate, shift
from valuelab.values import ANGLES


def logit(p):
    return math.log(p / (1 - p))


def clamped(gap, side):
    return {"at least": gap.clamp(min=0), "at most": gap.clamp(max=0), "exactly": gap}[side]


def closed_form(gap=None, scale=None, out=None):
    def answer(h, w, b, target, side="at least"):
        g = clamped((gap or (lambda h, w, b, t: logit(t) - (h @ w + b)))(h, w, b, target), side)
        d = g[..., None] * w / (scale or (lambda w: w @ w))(w)
        return d if out is None else out(h, d)

    return answer


def never_clamped(h, w, b, target, side="at least"):
    return (logit(target) - (h @ w + b))[..., None] * w / (w @ w)


def always_up(h, w, b, target, side="at least"):
    return (logit(target) - (h @ w + b)).clamp(min=0)[..., None] * w / (w @ w)


def float32_out(h, w, b, target, side="at least"):
    wide = torch.promote_types(h.dtype, torch.float32)
    return shift.minimal_shift(h.to(wide), w.to(wide), b, target, side)


def in_the_dtype_of_h(h, w, b, target, side="at least"):
    gap = clamped(logit(target) - (h @ w + b), side)
    return (gap[..., None] * w / (w @ w)).to(h.dtype)


def one_number(h, w, b, target, side="at least"):
    return (logit(target) - (h @ w + b)).clamp(min=0)


def steps(h, W, b, target, side=None):
    side = side or ["at least"] * len(W)
    return [(w, float(x), p, s) for w, x, p, s in zip(W, b, target, side, strict=True)]


def final_state(h, W, b, target, side=None):
    x = h
    for step in steps(h, W, b, target, side):
        x = x + shift.minimal_shift(x, *step)
    return x


def all_at_once(h, W, b, target, side=None):
    return sum(shift.minimal_shift(h, *step) for step in steps(h, W, b, target, side))


def backwards(h, W, b, target, side=None):
    x = h
    for step in reversed(steps(h, W, b, target, side)):
        x = x + shift.minimal_shift(x, *step)
    return x - h


def last_only(h, W, b, target, side=None):
    x, d = h, None
    for step in steps(h, W, b, target, side):
        d = shift.minimal_shift(x, *step)
        x = x + d
    return d


def first_only(h, W, b, target, side=None):
    for step in steps(h, W, b, target, side):
        return shift.minimal_shift(h, *step)


def jointly(h, W, b, target, side=None):
    return shift.joint_shift(h, W, b, target, side)


def side_forgotten(h, W, b, target, side=None):
    x = h
    for w, bias, p in zip(W, b, target, strict=True):
        x = x + shift.minimal_shift(x, w, float(bias), p)
    return x - h


# ----------------------------------------------------------------- 4.1 and 4.3: adding, projecting


def additive(step=None, out=None):
    def answer(h, v, strength=1.0):
        d = ((step or (lambda h, v, s: s * v))(h, v, strength)).expand(h.shape).to(h.dtype)
        return d if out is None else out(h, d)

    return answer


def one_for_all(h, v, strength=1.0):
    return strength * v


def no_default(h, v, strength=2.0):
    return (strength * v).to(h.dtype).expand(h.shape)


def wide_step(h, v, strength=1.0):
    return (strength * v).expand(h.shape)


def projecting(step):
    def answer(h, v, level):
        x, u = h.to(shift.wide(h)), v.to(shift.wide(h))
        u = u / u.norm()
        return step(x, u, v.to(x), level, (x @ u)[..., None]).to(h.dtype)

    return answer


# -------------------------------------------------------------------------- 4.5: Gauss-Seidel


def sweep(order=None, clamp=True, jacobi=False, add=True, scale=True, inplace=False, stop=False):
    def answer(gram, need, lam):
        start = lam
        lam = lam if inplace else lam.clone()
        for k in order or range(len(gram)):
            lacking = need[..., k] - (start if jacobi else lam) @ gram[k]
            new = (lam[..., k] if add else 0) + (lacking / gram[k, k] if scale else lacking)
            lam[..., k] = new.clamp(min=0) if clamp else new
            if stop:
                return lam
        return lam

    return answer


def clamps_the_correction(gram, need, lam):
    lam = lam.clone()
    for k in range(len(gram)):
        lam[..., k] += ((need[..., k] - lam @ gram[k]) / gram[k, k]).clamp(min=0)
    return lam


def many_sweeps(gram, need, lam):
    for _ in range(2000):
        lam = shift.gauss_seidel_sweep(gram, need, lam)
    return lam


# ------------------------------------------------------------------------- 4.6 and 4.7: the gate


def opening(rule, nan=True):
    def answer(reading, threshold=0.5, ceiling=1.0, invert=False):
        low, high = gate.bound(threshold), gate.bound(ceiling)
        found = rule(reading, low, high, threshold, ceiling, invert)
        return found & ~reading.isnan() if nan else found

    return answer


def plain_logit(reading, threshold=0.5, ceiling=1.0, invert=False):
    p = torch.sigmoid(reading)
    low, high = threshold + 1e-6, ceiling - 1e-6
    return (((p >= low) & (p <= high)) ^ invert) & ~reading.isnan()


def finite_bounds(reading, threshold=0.5, ceiling=1.0, invert=False):
    low, high = (math.log(max(t, 1e-9) / max(1 - t, 1e-9)) for t in (threshold, ceiling))
    return (((reading >= low) & (reading <= high)) ^ invert) & ~reading.isnan()


def gating(rule):
    return lambda h, shift, gate: rule(h, shift, gate[:, None, None]).to(h.dtype)


def gated_wide(h, shift, gate):
    return torch.where(gate[:, None, None], h + shift, h)


# ------------------------------------------------------------------------------ 4.8 to 4.11: effects


def leaking(rule):
    return lambda unsteered, steered: rule(np.asarray(unsteered), np.asarray(steered))


def correlating(x=None, y=None, chosen=None, value=None):
    def answer(matrix, angles=ANGLES):
        gap = np.subtract.outer(angles, angles)
        off = ~np.eye(len(angles), dtype=bool) if chosen is None else chosen(len(angles))
        a, b = (x or np.cos)(gap)[off], (y or (lambda m: m))(matrix)[off]
        if value:
            return value(a, b)
        return float(np.corrcoef(a, b)[0, 1]) if np.std(b) > 1e-12 else 0.0

    return answer


def divides_by_zero(matrix, angles=ANGLES):
    off = ~np.eye(len(angles), dtype=bool)
    x, y = np.cos(np.subtract.outer(angles, angles))[off], matrix[off]
    x, y = x - x.mean(), y - y.mean()
    with np.errstate(invalid="ignore"):
        return float(np.float64(x @ y) / np.sqrt((x @ x) * (y @ y)))


def share(rule):
    return lambda unsteered, steered, tolerance=0.0: float(rule(unsteered, steered, tolerance))


def kept(rule):
    def answer(neutral, opposed):
        (a, b), (c, d) = ((np.mean(x), np.mean(y)) for x, y in (neutral, opposed))
        if b - a <= 0:
            raise ValueError("no neutral gain")
        return float(rule(a, b, c, d))

    return answer


def kept_of_nothing(neutral, opposed):
    (a, b), (c, d) = ((np.mean(x), np.mean(y)) for x, y in (neutral, opposed))
    return float((d - c) / (b - a))


MISTAKES = {
    "4.1": [
        Mistake("one row for all", one_for_all, "every state has its own row"),
        Mistake("new state", additive(out=lambda h, d: h + d), "return the shift alone"),
        Mistake("strength unused", additive(lambda h, v, s: v), "strength was not used"),
        Mistake("sign", additive(lambda h, v, s: -s * v), "sign flipped"),
        Mistake("unit length", additive(lambda h, v, s: s * v / v.norm()), "scaled to length one"),
        Mistake("multiplied", additive(lambda h, v, s: s * v * h), "multiplied with the state"),
        Mistake("other default", no_default, "the default is 1"),
        Mistake("dtype", wide_step, "dtype of h was not kept"),
    ],
    "4.2": [
        Mistake("sign flipped", closed_form(out=lambda h, d: -d), "sign flipped"),
        Mistake("new state", closed_form(out=lambda h, d: h + d), "return the shift alone"),
        Mistake("length, not its square", closed_form(scale=lambda w: w.norm()), "square of the length"),
        Mistake("no clamp", never_clamped, "pulled down"),
        Mistake("not divided", closed_form(scale=lambda w: 1.0), "not divided by w·w"),
        Mistake("no bias", closed_form(gap=lambda h, w, b, t: logit(t) - h @ w), "the bias is missing"),
        Mistake("probability for logit", closed_form(gap=lambda h, w, b, t: t - (h @ w + b)), "compare logits"),
        Mistake(
            "gap in probability", closed_form(gap=lambda h, w, b, t: t - torch.sigmoid(h @ w + b)), "gap in probability"
        ),
        Mistake("other sides forgotten", always_up, "is not handled"),
        Mistake("dtype lost", float32_out, "dtype of h was not kept"),
        Mistake("narrow arithmetic", in_the_dtype_of_h, "bfloat16 states miss the target"),
        Mistake("one number a state", one_number, "one shift for each state"),
    ],
    "4.4": [
        Mistake("final state", final_state, "subtract h"),
        Mistake("all measured on h", all_at_once, "measured on the original state"),
        Mistake("reverse order", backwards, "reverse order"),
        Mistake("last shift only", last_only, "only the last value"),
        Mistake("returns inside the loop", first_only, "inside the loop"),
        Mistake("joint solution", jointly, "this is the joint solution"),
        Mistake("sides forgotten", side_forgotten, "each with its own side"),
    ],
    "4.3": [
        Mistake("change alone", projecting(lambda x, u, v, t, a: (t - a) * u), "add h"),
        Mistake("level ignored", projecting(lambda x, u, v, t, a: x - a * u), "level was not set"),
        Mistake("added on top", projecting(lambda x, u, v, t, a: x + t * u), "take the old component away"),
        Mistake("sign", projecting(lambda x, u, v, t, a: x - (t - a) * u), "moves away from the level"),
        Mistake("rest thrown away", projecting(lambda x, u, v, t, a: (t + 0 * a) * u), "perpendicular to v stays"),
        Mistake("v as it is", projecting(lambda x, u, v, t, a: x + (t - (x @ v)[..., None]) * v), "by its norm"),
        Mistake("half normalised", projecting(lambda x, u, v, t, a: x + (t - a) * v), "|v| times too far"),
        Mistake("dtype", lambda h, v, level: shift.project(h.double(), v.double(), level), "dtype of h was not kept"),
    ],
    "4.5": [
        Mistake("in place", sweep(inplace=True), "work on a clone"),
        Mistake("no clamp", sweep(clamp=False), "fell below zero"),
        Mistake("Jacobi", sweep(jacobi=True), "those just updated"),
        Mistake("reverse", sweep(order=[2, 1, 0]), "reverse order"),
        Mistake("replaced", sweep(add=False), "add the correction"),
        Mistake("not divided", sweep(scale=False), "gram[k, k]"),
        Mistake("returns early", sweep(stop=True), "inside the loop"),
        Mistake("clamps the correction", clamps_the_correction, "able to shrink again"),
        Mistake("to the end", many_sweeps, "one sweep was asked for"),
    ],
    "4.6": [
        Mistake("scales mixed", opening(lambda z, lo, hi, t, c, i: ((z >= t) & (z <= c)) ^ i), "one scale"),
        Mistake("exchanged", opening(lambda z, lo, hi, t, c, i: ~((z >= lo) & (z <= hi)) ^ i), "exchanged"),
        Mistake("no ceiling", opening(lambda z, lo, hi, t, c, i: (z >= lo) ^ i), "the ceiling is not used"),
        Mistake("no threshold", opening(lambda z, lo, hi, t, c, i: (z <= hi) ^ i), "the threshold is not used"),
        Mistake("or", opening(lambda z, lo, hi, t, c, i: ((z >= lo) | (z <= hi)) ^ i), "both bounds must hold"),
        Mistake("invert ignored", opening(lambda z, lo, hi, t, c, i: (z >= lo) & (z <= hi)), "`invert` is not handled"),
        Mistake("open band", opening(lambda z, lo, hi, t, c, i: ((z > lo) & (z < hi)) ^ i), "both ends belong"),
        Mistake("NaN inverted", opening(lambda z, lo, hi, t, c, i: ((z >= lo) & (z <= hi)) ^ i, nan=False), "NaN"),
        Mistake("finite bounds", finite_bounds, "mean no bound"),
    ],
    "4.7": [
        Mistake("exchanged", gating(lambda h, d, g: torch.where(g, h, h + d)), "exchanged"),
        Mistake("change alone", gating(lambda h, d, g: torch.where(g, d, 0.0)), "change alone"),
        Mistake("replaced", gating(lambda h, d, g: torch.where(g, d, h)), "replaced the state"),
        Mistake("zeroed", gating(lambda h, d, g: torch.where(g, h + d, 0.0)), "they stay as they are"),
        Mistake("no gate", gating(lambda h, d, g: h + d), "the gate is not used"),
        Mistake("product", gating(lambda h, d, g: h + g * d), "choose h, not multiply"),
        Mistake("adds zero", gating(lambda h, d, g: h + torch.where(g, d, 0.0)), "adding nothing"),
        Mistake("dtype", gated_wide, "dtype of h was not kept"),
    ],
    "4.8": [
        Mistake("diagonal", leaking(lambda b, a: np.diag((a - b).mean(2))), "only the diagonal"),
        Mistake("wrong axis", leaking(lambda b, a: (a - b).mean(0)), "average over the situations"),
        Mistake("transposed", leaking(lambda b, a: (a - b).mean(2).T), "transposed"),
        Mistake("sign", leaking(lambda b, a: (b - a).mean(2)), "sign flipped"),
        Mistake("level", leaking(lambda b, a: a.mean(2)), "a level, not an effect"),
        Mistake("row's start", leaking(lambda b, a: a.mean(2) - b.mean(1)[:, None]), "its own start"),
        Mistake("absolute", leaking(lambda b, a: abs(a - b).mean(2)), "without its sign"),
        Mistake("sum", leaking(lambda b, a: (a - b).sum(2)), "summed, not averaged"),
    ],
    "4.9": [
        Mistake("with diagonal", correlating(chosen=lambda k: np.ones((k, k), bool)), "diagonal is in it"),
        Mistake("sign", correlating(y=np.negative), "sign flipped"),
        Mistake("half", correlating(chosen=lambda k: np.triu(np.ones((k, k), bool), 1)), "only half of the matrix"),
        Mistake("degrees", correlating(x=lambda g: np.cos(np.radians(g))), "radians already"),
        Mistake("no cosine", correlating(x=np.abs), "close the circle"),
        Mistake("mean product", correlating(value=lambda a, b: float((a * b).mean())), "mean product"),
        Mistake("flat", divides_by_zero, "not a division by zero"),
    ],
    "4.10": [
        Mistake("count", share(lambda b, a, t: (b - a > t).sum()), "not a number of situations"),
        Mistake("right way", share(lambda b, a, t: (a - b > t).mean()), "moved the right way"),
        Mistake("ties", share(lambda b, a, t: (b - a >= t).mean()), "did not move at all"),
        Mistake("mean gain", share(lambda b, a, t: (a - b).mean()), "just what hides them"),
        Mistake("one half", share(lambda b, a, t: (a < 0.5).mean()), "with itself before"),
        Mistake("tolerance ignored", share(lambda b, a, t: (a < b).mean()), "up to the tolerance"),
    ],
    "4.11": [
        Mistake("upside down", kept(lambda a, b, c, d: (b - a) / (d - c)), "upside down"),
        Mistake("levels", kept(lambda a, b, c, d: d / b), "these are levels"),
        Mistake("neutral start", kept(lambda a, b, c, d: (d - a) / (b - a)), "its own unsteered state"),
        Mistake("gain", kept(lambda a, b, c, d: d - c), "divide it by the neutral gain"),
        Mistake("lost", kept(lambda a, b, c, d: 1 - (d - c) / (b - a)), "share that was lost"),
        Mistake("nothing to keep", kept_of_nothing, "must raise ValueError"),
    ],
}
