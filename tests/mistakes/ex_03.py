"""Wrong answers to lesson 03."""

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
    "3.2": [
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
