"""Wrong answers to lesson 09, as a tired student would write them, and the words that refuse each."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from mistakes.planted import Mistake


def floats(state):
    return [n for n, x in state.items() if x.is_floating_point()]


def vector(rule):
    """A task vector by another rule on (tuned, base)."""
    return lambda tuned, base: {n: rule(tuned[n].float(), base[n].float()) for n in floats(base)}


def in_place(tuned, base):
    for n in floats(base):
        tuned[n] -= base[n]
    return {n: tuned[n] for n in floats(base)}


def unit(tuned, base):
    length = sum(((tuned[n] - base[n]) ** 2).sum() for n in floats(base)) ** 0.5
    return {n: (tuned[n] - base[n]) / length for n in floats(base)}


def applied(rule, dtype=True):
    """Weights by another rule on (weight, list of (scale, tensor))."""

    def f(base, vectors, scales):
        out = {}
        for n, w in base.items():
            moves = [(k, v[n].to(torch.float64)) for v, k in zip(vectors, scales, strict=True) if n in v]
            new = rule(w.double(), moves) if moves else w.clone()
            out[n] = new.to(w.dtype) if dtype else new
        return out

    return f


def apply_in_place(base, vectors, scales):
    for v, k in zip(vectors, scales, strict=True):
        for n in v:
            base[n] += (k * v[n]).to(base[n].dtype)
    return base


def drops_the_rest(base, vectors, scales):
    return {n: base[n] + sum(k * v[n] for v, k in zip(vectors, scales, strict=True)) for n in vectors[0]}


def sums_in_half(base, vectors, scales):
    out = {}
    for n, w in base.items():
        x = w.clone()
        for v, k in zip(vectors, scales, strict=True):
            if n in v and k:
                x = x + (k * v[n]).to(w.dtype)
        out[n] = x
    return out


def half_difference(tuned, base):
    return {n: (tuned[n] - base[n]).to(torch.promote_types(base[n].dtype, torch.float32)) for n in floats(base)}


def zero_where_all_are(base, vectors, scales):
    if not any(scales):
        return {n: w.clone() for n, w in base.items()}
    return applied(lambda w, m: w + total(m))(base, vectors, scales)


def names_everything(base, vectors, scales):
    out = {n: w.clone() for n, w in base.items()}
    for n in floats(base):
        moves = [k * v[n].double() for v, k in zip(vectors, scales, strict=True) if k]
        out[n] = (base[n].double() + sum(moves)).to(base[n].dtype)
    return out


def names_of_the_first(base, vectors, scales):
    out = {n: w.clone() for n, w in base.items()}
    for n in vectors[0]:
        moves = [k * v[n].double() for v, k in zip(vectors, scales, strict=True) if k and n in v]
        out[n] = (base[n].double() + sum(moves)).to(base[n].dtype)
    return out


def total(moves):
    return sum(k * x for k, x in moves)


def three(rule):
    return lambda a, b, c: {n: rule(a[n], b[n], c[n]) for n in a}


def margin(a, b, c, d):
    return (a - c) - (b - d)


def split(rule):
    def f(p, m, b):
        both = {n: rule(p[n], m[n], b[n]) for n in p}
        return {n: x[0] for n, x in both.items()}, {n: x[1] for n, x in both.items()}

    return f


def solve(gram_of, right_of=lambda e, w: e @ w):
    return lambda e, w, r=0.0: torch.linalg.solve(gram_of(e, r), right_of(e, w))


def eye(e):
    return torch.eye(len(e), dtype=e.dtype)


def covered(curve):
    return (curve - curve[0]) / (curve[-1] - curve[0])


def first(mask):
    return int(np.argmax(mask))


def fraction(at, k):
    return (at[k] - at[0]) / (at[-1] - at[0])


def by(rule):
    """A drift time by another rule, right about a stance that does not move."""
    return lambda curve, at, share=0.95: math.nan if curve[-1] == curve[0] else rule(curve, at, share)


def always_zero_when_still(curve, at, share=0.95):
    return 0.0 if curve[-1] == curve[0] else fraction(at, first(covered(curve) >= share))


def last_arrival(curve, at, share):
    away = np.flatnonzero(covered(curve) < share)
    return fraction(at, away[-1] + 1)


def rounds(start, end, draws, seed, pick):
    rng = np.random.default_rng(seed)
    return np.array([pick(rng, np.asarray(start), np.asarray(end)) for _ in range(draws)])


def resampled(pick, tails=lambda level: ((1 - level) / 2, (1 + level) / 2), sign=1):
    def f(start, end, draws=2000, seed=0, level=0.95):
        found = sign * rounds(start, end, draws, seed, pick)
        low, high = np.quantile(found, tails(level))
        return sign * float((end - start).mean()), float(low), float(high)

    return f


def paired(rng, s, e):
    k = rng.integers(len(s), size=len(s))
    return (e[k] - s[k]).mean()


def apart(rng, s, e):
    return e[rng.integers(len(s), size=len(s))].mean() - s[rng.integers(len(s), size=len(s))].mean()


def one_error(start, end, draws=2000, seed=0, level=0.95):
    found = rounds(start, end, draws, seed, paired)
    return float((end - start).mean()), float(found.mean() - found.std()), float(found.mean() + found.std())


def swapped(start, end, draws=2000, seed=0, level=0.95):
    estimate, low, high = resampled(paired)(start, end, draws, seed, level)
    return estimate, high, low


def one_by_one(start, end, draws=2000, seed=0, level=0.95):
    rng = np.random.default_rng(seed)
    k = rng.integers(len(start), size=(draws, len(start)))
    moved = (end - start)[k]
    low, high = np.quantile(moved, [0.025, 0.975], axis=0)
    return (end - start).mean(), low, high


MISTAKES = {
    "9.1": [
        Mistake("sign", vector(lambda t, b: b - t), "sign flipped"),
        Mistake("no base", vector(lambda t, b: t), "these are the tuned weights"),
        Mistake("absolute", vector(lambda t, b: (t - b).abs()), "forgets the direction"),
        Mistake("relative", vector(lambda t, b: (t - b) / b), "rate of change"),
        Mistake("unit length", unit, "scaled to length one"),
        Mistake("integers too", lambda t, b: {n: t[n] - b[n] for n in b}, "no weights"),
        Mistake("in place", in_place, "in place"),
        Mistake("half", lambda t, b: {n: t[n] - b[n] for n in floats(b)}, "half-precision vector"),
        Mistake("subtracted in half", half_difference, "subtracted in half precision"),
        Mistake("one number", lambda t, b: sum((t[n] - b[n]).sum() for n in floats(b)), "a Tensor came back"),
    ],
    "9.2": [
        Mistake("no scale", applied(lambda w, m: w + sum(x for _, x in m)), "scales are ignored"),
        Mistake("subtracted", applied(lambda w, m: w - total(m)), "vectors are added"),
        Mistake("mean", applied(lambda w, m: w + total(m) / len(m)), "mean of the moves"),
        Mistake("last only", applied(lambda w, m: w + total(m[-1:])), "only the last vector"),
        Mistake("first only", applied(lambda w, m: w + total(m[:1])), "only the first vector"),
        Mistake("no forgetting", applied(lambda w, m: w + sum(abs(k) * x for k, x in m)), "nothing could be forgotten"),
        Mistake("no base", applied(lambda w, m: total(m)), "the move alone"),
        Mistake("in place", apply_in_place, "in place"),
        Mistake("drops the rest", drops_the_rest, "got lost"),
        Mistake("wide result", applied(lambda w, m: w + total(m), dtype=False), "base's own type"),
        Mistake("half sums", sums_in_half, "round once at the end"),
        Mistake("zero times NaN", applied(lambda w, m: w + total(m)), "0 · NaN"),
        Mistake("zero only where all are", zero_where_all_are, "not only where all are"),
        Mistake("every vector names all", names_everything, "need not name every entry"),
        Mistake("first vector's names", names_of_the_first, "moved by those vectors that name it"),
    ],
    "9.3": [
        Mistake("wrong way", three(lambda a, b, c: c + a - b), "wrong way"),
        Mistake("step alone", three(lambda a, b, c: b - a), "alone; take it from c"),
        Mistake("no a", three(lambda a, b, c: c + b), "a is missing"),
        Mistake("all added", three(lambda a, b, c: a + b + c), "everything is added"),
        Mistake("mean", three(lambda a, b, c: (a + b + c) / 3), "mean of the three"),
        Mistake("products", three(lambda a, b, c: c * b / a), "rule of three"),
        Mistake("places", three(lambda a, b, c: b + a - c), "changed places"),
    ],
    "9.4": [
        Mistake("sign", lambda a, b, c, d, t=0.1: F.softplus(t * margin(a, b, c, d)).mean(), "sign flipped"),
        Mistake("no minus", lambda a, b, c, d, t=0.1: F.logsigmoid(t * margin(a, b, c, d)).mean(), "minus is missing"),
        Mistake("no reference", lambda a, b, c, d, t=0.1: -F.logsigmoid(t * (a - b)).mean(), "reference is missing"),
        Mistake("no beta", lambda a, b, c, d, t=0.1: -F.logsigmoid(margin(a, b, c, d)).mean(), "β is missing"),
        Mistake("beta outside", lambda a, b, c, d, t=0.1: -t * F.logsigmoid(margin(a, b, c, d)).mean(), "outside"),
        Mistake("divided", lambda a, b, c, d, t=0.1: -F.logsigmoid(margin(a, b, c, d) / t).mean(), "divided by β"),
        Mistake("sum", lambda a, b, c, d, t=0.1: -F.logsigmoid(t * margin(a, b, c, d)).sum(), "the sum over"),
        Mistake("each", lambda a, b, c, d, t=0.1: -F.logsigmoid(t * margin(a, b, c, d)), "one loss for each"),
        Mistake("winner only", lambda a, b, c, d, t=0.1: -F.logsigmoid(t * (a - c)).mean(), "only the winner"),
        Mistake("added", lambda a, b, c, d, t=0.1: -F.logsigmoid(t * (a + b - c - d)).mean(), "are added"),
        Mistake("crossed", lambda a, b, c, d, t=0.1: -F.logsigmoid(t * (a - d - b + c)).mean(), "crossed"),
        Mistake("chance", lambda a, b, c, d, t=0.1: torch.sigmoid(t * margin(a, b, c, d)).mean(), "probability of"),
        Mistake("linear", lambda a, b, c, d, t=0.1: -t * margin(a, b, c, d).mean(), "still linear"),
        Mistake("far", lambda a, b, c, d, t=0.1: -torch.sigmoid(t * margin(a, b, c, d)).log().mean(), "underflows"),
    ],
    "9.5": [
        Mistake("order", split(lambda p, m, b: ((p + m) / 2 - b, p - m)), "wrong order"),
        Mistake("wrong way", split(lambda p, m, b: (m - p, (p + m) / 2 - b)), "true minus flipped"),
        Mistake("true run", split(lambda p, m, b: (p - b, (p + m) / 2 - b)), "the true run alone"),
        Mistake("half", split(lambda p, m, b: ((p - m) / 2, (p + m) / 2 - b)), "half of the preference"),
        Mistake("base twice", split(lambda p, m, b: (p - m - b, (p + m) / 2 - b)), "cancels already"),
        Mistake("added", split(lambda p, m, b: (p + m, (p + m) / 2 - b)), "cancels in the difference"),
        Mistake("midpoint", split(lambda p, m, b: (p - m, (p + m) / 2)), "the midpoint itself"),
        Mistake("twice", split(lambda p, m, b: (p - m, p + m - 2 * b)), "twice the drift"),
        Mistake("no half", split(lambda p, m, b: (p - m, p + m - b)), "come in twice"),
        Mistake("back", split(lambda p, m, b: (p - m, b - (p + m) / 2)), "points back"),
        Mistake("one run", split(lambda p, m, b: (p - m, p - b)), "true run as drift"),
        Mistake("one vector", lambda p, m, b: {n: p[n] - m[n] for n in p}, "return two vectors"),
    ],
    "9.6": [
        Mistake("no ridge", solve(lambda e, r: e @ e.T), "ridge is ignored"),
        Mistake("ridge everywhere", solve(lambda e, r: e @ e.T + r), "every entry"),
        Mistake("not solved", lambda e, w, r=0.0: e @ w, "as perpendicular"),
        Mistake("each alone", lambda e, w, r=0.0: e @ w / ((e * e).sum(1) + r), "fitted alone"),
        Mistake("squared", solve(lambda e, r: e @ e.T + r**2 * eye(e)), "ridge is squared"),
        Mistake("sign", solve(lambda e, r: -(e @ e.T + r * eye(e))), "away from the wish"),
        Mistake("subtracted", solve(lambda e, r: e @ e.T - r * eye(e)), "subtracted, which"),
        Mistake("readouts", lambda e, w, r=0.0: torch.linalg.solve(e.T @ e + r * torch.eye(5), w), "for each readout"),
    ],
    "9.7": [
        Mistake("index", by(lambda c, at, s: float(first(covered(c) >= s))), "number of the checkpoint"),
        Mistake("steps", by(lambda c, at, s: float(at[first(covered(c) >= s)])), "this is in steps; "),
        Mistake("since start", by(lambda c, at, s: float(at[first(covered(c) >= s)] - at[0])), "since the start"),
        Mistake("from zero", by(lambda c, at, s: at[first(covered(c) >= s)] / at[-1]), "not at zero"),
        Mistake("even", by(lambda c, at, s: first(covered(c) >= s) / len(at)), "number of checkpoints: they"),
        Mistake("before", by(lambda c, at, s: fraction(at, first(covered(c) >= s) - 1)), "before the stance"),
        Mistake("the very end", by(lambda c, at, s: fraction(at, first(covered(c) >= 1))), "very end"),
        Mistake("value", by(lambda c, at, s: fraction(at, first(np.abs(c) >= s * np.abs(c[-1])))), "final *value*"),
        Mistake(
            "rising only",
            by(lambda c, at, s: fraction(at, first(c - c[0] >= s * (c[-1] - c[0])))),
            "signed way",
        ),
        Mistake("either way", by(lambda c, at, s: fraction(at, first(abs(covered(c)) >= s))), "other way"),
        Mistake("share", by(lambda c, at, s: fraction(at, first(covered(c) >= 0.95))), "`share` is ignored"),
        Mistake("last", by(last_arrival), "last arrival"),
        Mistake("still", always_zero_when_still, "no way to cover"),
    ],
    "9.8": [
        Mistake("sign", resampled(paired, sign=-1), "sign flipped"),
        Mistake("drawn apart", resampled(apart), "drawn apart"),
        Mistake("no replacement", resampled(lambda g, s, e: (e - s)[g.permutation(len(s))].mean()), "no width"),
        Mistake("single prompts", resampled(lambda g, s, e: (e - s)[g.integers(len(s))]), "of single prompts"),
        Mistake("one error", one_error, "one standard error"),
        Mistake("two tails", resampled(paired, lambda level: (1 - level, level)), "5 % on each side"),
        Mistake("swapped", swapped, "wrong order"),
        Mistake("not averaged", one_by_one, "a single number"),
        Mistake("level", resampled(paired, lambda level: (0.025, 0.975)), "`level` is ignored"),
    ],
}
