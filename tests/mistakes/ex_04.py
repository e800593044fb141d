"""Wrong answers to lesson 04."""

import math

import torch

from mistakes.planted import Mistake
from valuelab.steering import shift


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


MISTAKES = {
    "4.1": [
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
        Mistake("one number a state", one_number, "one shift for each state"),
    ],
    "4.2": [
        Mistake("final state", final_state, "subtract h"),
        Mistake("all measured on h", all_at_once, "measured on the original state"),
        Mistake("reverse order", backwards, "reverse order"),
        Mistake("last shift only", last_only, "only the last value"),
        Mistake("returns inside the loop", first_only, "inside the loop"),
        Mistake("joint solution", jointly, "this is the joint solution"),
        Mistake("sides forgotten", side_forgotten, "each with its own side"),
    ],
}
