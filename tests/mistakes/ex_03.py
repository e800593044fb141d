"""Wrong answers to lesson 03."""

import warnings

import numpy as np
import torch

from mistakes.planted import Mistake
from valuelab.probes import Probe


def half_way(w, high, low):
    return float(-w @ (high.mean(0) + low.mean(0)) / 2)


def probe(direction, bias=half_way):
    def answer(high, low):
        w = direction(high, low)
        return Probe(w, bias(w, high, low))

    return answer


def difference(high, low):
    return high.mean(0) - low.mean(0)


def raw_tensor(high, low):
    return difference(high, low)


def over_features(high, low):
    return Probe(high.mean(1)[:4] - low.mean(1), 0.1)


def all_together(y, groups, seed=0):
    return np.random.default_rng(seed).permutation(y)


def in_place(y, groups, seed=0):
    rng = np.random.default_rng(seed)
    for name in np.unique(groups):
        rows = np.flatnonzero(groups == name)
        y[rows] = rng.permutation(y[rows])
    return y


def new_draws(y, groups, seed=0):
    return np.random.default_rng(seed).random(len(y)) < 0.5


def unshuffled(y, groups, seed=0):
    return np.asarray(y).copy()


def same_turn(y, groups, seed=0):
    out = np.asarray(y).copy()
    for name in np.unique(groups):
        rows = np.flatnonzero(groups == name)
        out[rows] = np.roll(out[rows], 1 + seed)
    return out


def no_seed(y, groups, seed=0):
    rng = np.random.default_rng()
    out = np.asarray(y).copy()
    for name in np.unique(groups):
        rows = np.flatnonzero(groups == name)
        out[rows] = rng.permutation(out[rows])
    return out


def fixed_seed(y, groups, seed=0):
    out = np.asarray(y).copy()
    rng = np.random.default_rng(0)
    for name in np.unique(groups):
        rows = np.flatnonzero(groups == name)
        out[rows] = rng.permutation(out[rows])
    return out


def groups_only(y, groups, seed=0):
    rng = np.random.default_rng(seed)
    out = np.asarray(y).copy()
    return np.concatenate([rng.permutation(out[groups == name]) for name in np.unique(groups)])[: len(y) - 1]

# ---------------------------------------------------------------------- 3.2 folds of contexts


def folds_of(order=True, per_item=True, chance=False, seeded=True, fixed=False, refuse=True, by_items=True, start=0):
    def answer(groups, folds, seed=0):
        names, index, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
        if refuse and folds > len(names):
            raise ValueError("too few contexts")
        rng = np.random.default_rng((0 if fixed else seed) if seeded else None)
        turn = rng.permutation(len(names))
        if order:
            turn = turn[np.argsort(-sizes[turn], kind="stable")]
        fold_of, filled = np.empty(len(names), int), np.zeros(folds)
        for context in turn:
            fold_of[context] = rng.integers(folds) if chance else filled.argmin()
            filled[fold_of[context]] += sizes[context] if by_items else 1
        return (fold_of[index] if per_item else fold_of) + start

    return answer


def items_dealt(groups, folds, seed=0):
    return np.random.default_rng(seed).permutation(len(groups)) % folds


def folds_by_luck(groups, folds, seed=0):
    """Every context in a random fold, all folds used."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    rng = np.random.default_rng(seed)
    fold = rng.integers(folds, size=len(names))
    fold[:folds] = np.arange(folds)
    return fold[index]


# ---------------------------------------------------------------------- 3.3 control task


def control(
    row=True, count_items=True, use_share=True, seeded=True, fixed=False, refuse=True, per_item=True, kind=bool
):
    def answer(types, share=0.5, seed=0):
        names, index, sizes = np.unique(np.asarray(types), return_inverse=True, return_counts=True)
        if refuse and len(names) < 2:
            raise ValueError("one type")
        share = share if use_share else 0.5
        rng = np.random.default_rng((0 if fixed else seed) if seeded else None)
        order = rng.permutation(len(names))
        label = np.zeros(len(names), bool)
        if not row:
            label = rng.random(len(names)) < share
        else:
            weight = sizes[order] if count_items else np.ones(len(names))
            label[order] = np.cumsum(weight) - weight / 2 < share * weight.sum()
        return (label[index] if per_item else label).astype(kind)

    return answer


def coin_for_each_item(types, share=0.5, seed=0):
    return np.random.default_rng(seed).random(len(types)) < share


# ------------------------------------------------------- 3.4 expected calibration error


def ece(gap=lambda p, y: abs(p.mean() - y.mean()), order=True, total=True, lower=True, target=None):
    def answer(probabilities, y, bins=15):
        p, y = np.asarray(probabilities, float), np.asarray(y, bool)
        if target == "right":
            y = (p > 0.5) == y
        if target == "sure":
            p, y = np.maximum(p, 1 - p), (p > 0.5) == y
        rows = np.argsort(p, kind="stable") if order else np.arange(len(p))
        parts = np.array_split(rows, min(bins, len(p)) if lower else bins)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the mean of an empty bin
            found = sum(gap(p[i], y[i]) * len(i) for i in parts)
        return float(found / len(p) if total else found)

    return answer


def equal_width(probabilities, y, bins=15):
    p, y = np.asarray(probabilities, float), np.asarray(y, bool)
    which = np.minimum((p * bins).astype(int), bins - 1)
    return float(sum(abs(p[which == b].mean() - y[which == b].mean()) * (which == b).mean()
                     for b in range(bins) if (which == b).any()))  # fmt: skip


def cancelling(probabilities, y, bins=15):
    p, y = np.asarray(probabilities, float), np.asarray(y, bool)
    return float(abs(sum(p[i].sum() - y[i].sum() for i in np.array_split(np.argsort(p, kind="stable"), bins)))) / len(p)


def gaps_by_bin(probabilities, y, bins=15):
    p, y = np.asarray(probabilities, float), np.asarray(y, bool)
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    return np.array([abs(p[i].mean() - y[i].mean()) for i in parts])


# ---------------------------------------------------------------------------- 3.5 RankMe


def rank(power=1, last=torch.exp, log=torch.log, scale=True, drop=True, centre=None, sign=-1.0, along=0):
    def answer(Z, centred=False):
        Z = Z.double()
        if centred if centre is None else centre:
            Z = Z - Z.mean(along, keepdim=True)
        sigma = torch.linalg.svdvals(Z) ** power
        if drop:
            sigma = sigma[sigma > 1e-9]
        p = sigma / sigma.sum() if scale else sigma
        return float(last(sign * (p * log(p)).sum()))

    return answer


def plain_rank(Z, centred=False):
    return float(torch.linalg.matrix_rank(Z))


# ----------------------------------------------------------------------- 3.6 reliability


def halves(
    brown=True, random=True, cosine=True, clamp=True, many=True, seeded=True, overlap=False, single=False, each=False
):  # fmt: skip
    def answer(X, draws=50, seed=0):
        rng, n, found = np.random.default_rng(seed if seeded else None), len(X), []
        for _ in range(draws if many else 1):
            order = rng.permutation(n) if random else np.arange(n)
            first, second = order[: n // 2], order[n // 2 :]
            if overlap:
                first, second = rng.integers(n, size=n), rng.integers(n, size=n)
            a, b = (X[first[0]], X[second[0]]) if single else (X[first].mean(0), X[second].mean(0))
            found.append(float(a @ b / (a.norm() * b.norm())) if cosine else float(a @ b))
        r = float(np.mean(np.maximum(found, 0.0) if each else found))
        r = max(0.0, r) if clamp else r
        return 2 * r / (1 + r) if brown else r

    return answer


# -------------------------------------------------------------------- 3.8 family-wise p


def p_values(reached, above=1, below=1, factor=1):
    def answer(observed, null):
        count = reached(np.asarray(observed), np.asarray(null))
        return np.minimum(1, factor * (above + count) / (below + len(null)))

    return answer


def by_best(observed, null):
    return (null.max(1)[:, None] >= observed).sum(0)


def best_only(observed, null):
    return np.full(len(observed), (1 + (null.max(1) >= observed.max()).sum()) / (1 + len(null)))


MISTAKES = {
    "3.1": [
        Mistake("the wrong way round", probe(lambda h, n: -difference(h, n)), "points the other way"),
        Mistake(
            "unit length", probe(lambda h, n: torch.nn.functional.normalize(difference(h, n), dim=0)), "length one"
        ),
        Mistake("sums", probe(lambda h, n: h.sum(0) - n.sum(0)), "sums, not means"),
        Mistake("no bias", probe(difference, lambda w, h, n: 0.0), "bias is missing"),
        Mistake("bias sign", probe(difference, lambda w, h, n: -half_way(w, h, n)), "wrong sign"),
        Mistake("no half", probe(difference, lambda w, h, n: 2 * half_way(w, h, n)), "twice too large"),
        Mistake("no Probe", raw_tensor, "wrap weight and bias"),
        Mistake("mean over features", over_features, "take the mean over sentences"),
    ],
    "3.7": [
        Mistake("over the whole set", all_together, "crossed from one context"),
        Mistake("in place", in_place, "caller's labels were changed"),
        Mistake("new draws", new_draws, "number of positive labels changed"),
        Mistake("not at all", unshuffled, "nothing was shuffled"),
        Mistake("same turn everywhere", same_turn, "turned in the same way"),
        Mistake("no seed", no_seed, "the same seed gave two results"),
        Mistake("seed not used", fixed_seed, "two seeds gave the same"),
        Mistake("one lost", groups_only, "one label for each item"),
    ],
}
MISTAKES |= {
    "3.2": [
        Mistake("items dealt one by one", items_dealt, "a context lies in two folds"),
        Mistake("one number a context", folds_of(per_item=False), "12 numbers came back for 24 items"),
        Mistake("counted from one", folds_of(start=1), "run from 0 to folds - 1"),
        Mistake("folds by luck", folds_by_luck, "do not draw the fold"),
        Mistake("contexts counted, not items", folds_of(by_items=False), "deal large contexts first"),
        Mistake("no seed", folds_of(seeded=False), "same seed gave two results"),
        Mistake("seed not used", folds_of(fixed=True), "every seed gave the same folds"),
        Mistake("an empty fold", folds_of(refuse=False), "refuse that with a ValueError"),
        Mistake("nothing returned", lambda groups, folds, seed=0: None, "nothing came back"),
    ],
    "3.3": [
        Mistake("a coin an item", coin_for_each_item, "labels differ inside a type"),
        Mistake("a coin a type", control(row=False), "left to luck"),
        Mistake("types counted", control(count_items=False), "count the items of the types"),
        Mistake("share not used", control(use_share=False), "share=0.25 gave one half"),
        Mistake("one label a type", control(per_item=False), "eight labels came back"),
        Mistake("zeros and ones", control(kind=int), "must be booleans"),
        Mistake("no seed", control(seeded=False), "same seed gave two results"),
        Mistake("seed not used", control(fixed=True), "every seed gave the same labels"),
        Mistake("one type accepted", control(refuse=False), "a single type got labels"),
    ],
    "3.4": [
        Mistake("gaps cancel", cancelling, "the gaps cancel"),
        Mistake("equal width", equal_width, "bins have equal width"),
        Mistake("share of right answers", ece(target="right"), "not that of right answers"),
        Mistake("confidence", ece(target="sure"), "compares the confidence"),
        Mistake("squared", ece(gap=lambda p, y: (p.mean() - y.mean()) ** 2), "gaps are squared"),
        Mistake("largest", lambda p, y, bins=15: max(gaps_by_bin(p, y, bins)), "largest gap"),
        Mistake("not sorted", ece(order=False), "not sorted by probability"),
        Mistake("not divided", ece(total=False), "not divided by the number"),
        Mistake("empty bins", ece(lower=False), "fifteen bins of three items"),
        Mistake("one gap a bin", gaps_by_bin, "the error is one number"),
    ],
    "3.5": [
        Mistake("squares", rank(power=2), "squares of the singular values"),
        Mistake("entropy", rank(last=lambda x: x), "exponential counts directions"),
        Mistake("bits", rank(log=torch.log2), "entropy is in bits"),
        Mistake("always centred", rank(centre=True), "only `centred=True` may"),
        Mistake("never centred", rank(centre=False), "centred=True changed nothing"),
        Mistake("each state's own mean", rank(along=1), "the mean over states"),
        Mistake("sign", rank(sign=1.0), "sign of the entropy"),
        Mistake("plain rank", plain_rank, "not the effective one"),
        Mistake("not divided by the sum", rank(scale=False), "divide by the sum"),
        Mistake("zeros kept", rank(drop=False), "leave the zeros out"),
    ],
    "3.6": [
        Mistake("no step up", halves(brown=False), "whole mean is steadier"),
        Mistake("first and second half", halves(random=False), "every seed halves the set"),
        Mistake("product", halves(cosine=False), "take the cosine"),
        Mistake("one halving", halves(many=False), "average over `draws`"),
        Mistake("no seed", halves(seeded=False), "same seed gave two results"),
        Mistake("drawn with replacement", halves(overlap=True), "must not share a vector"),
        Mistake("single vectors", halves(single=True), "average each half"),
        Mistake("negative", halves(clamp=False), "let it count as 0"),
        Mistake("each halving cut off", halves(each=True), "average all halvings first"),
    ],
    "3.8": [
        Mistake("each layer alone", p_values(lambda o, n: (n >= o).sum(0)), "its own null only"),
        Mistake("no 1", p_values(by_best, 0, 0), "that really happened"),
        Mistake("1 above only", p_values(by_best, 1, 0), "below the line too"),
        Mistake("ties", p_values(lambda o, n: (n.max(1)[:, None] > o).sum(0)), "ties do not count"),
        Mistake("turned round", p_values(lambda o, n: (n.max(1)[:, None] <= o).sum(0)), "turned round"),
        Mistake("Bonferroni", p_values(lambda o, n: (n >= o).sum(0), factor=4), "times the number of layers"),
        Mistake("p of the best", best_only, "all layers got the p-value"),
        Mistake("maximum over draws", p_values(lambda o, n: (n.max(0) >= o).astype(int)), "(axis 1)"),
        Mistake("a single number", lambda o, n: 1 / (1 + len(n)), "one p-value for each layer"),
    ],
}
