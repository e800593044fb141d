"""Checks of lesson 03: probing."""

from __future__ import annotations

import numpy as np
import torch

from valuelab.probes import baselines, calibration, controls, data, directions, estimators, geometry
from valuelab.probes.probe import Probe

from ..check import Refused, exercise


@exercise("3.1", reference=estimators.mean_difference)
def mean_difference(f):
    for seed in (0, 1):
        g = torch.Generator().manual_seed(seed)
        high, low = torch.randn(7, 5, generator=g) + 1, torch.randn(4, 5, generator=g)
        probe = f(high, low)
        if probe is None:
            raise Refused("nothing came back: end with `return Probe(w, b, ...)`")
        if not isinstance(probe, Probe):
            raise Refused(f"a {type(probe).__name__} came back; wrap weight and bias: Probe(w, b)")
        w = torch.stack([row for row in high]).sum(0) / 7 - torch.stack([row for row in low]).sum(0) / 4
        got = probe.weight.to(w.dtype)
        if got.shape != w.shape:
            raise Refused(
                f"the weight has shape {tuple(got.shape)}, wanted (5,): take the mean over sentences, dimension 0"
            )
        if torch.allclose(got, -w, atol=1e-5):
            raise Refused("the direction points the other way: from the negative mean to the positive one")
        if torch.allclose(got, w / w.norm(), atol=1e-5):
            raise Refused(
                "the weight was scaled to length one; keep the difference itself, its length is part of the probe"
            )
        if torch.allclose(got, high.sum(0) - low.sum(0), atol=1e-4):
            raise Refused("these are sums, not means: with 7 and 4 sentences they are not the same thing")
        if not torch.allclose(got, w, atol=1e-5):
            raise Refused("the weight is not the difference of the two means")
        middle = (high.mean(0) + low.mean(0)) / 2
        wanted = -float(w @ middle)
        if abs(probe.bias) < 1e-9:
            raise Refused("the bias is missing: the logit must be zero half way between the means")
        if abs(probe.bias + wanted) < 1e-4:
            raise Refused("the bias has the wrong sign: half way, w·h + b must cancel")
        if abs(probe.bias - 2 * wanted) < 1e-4:
            raise Refused("the bias is twice too large: half the sum of the means is the point half way")
        if abs(probe.bias - wanted) > 1e-4:
            raise Refused("the boundary does not lie half way between the means")


@exercise("3.7", reference=baselines.shuffle_within)
def shuffle_within(f):
    groups = np.repeat(np.arange(60), 4)
    y = np.tile([True, False, False, True], 60)
    y[:4] = True
    kept = y.copy()
    got = f(y, groups, 0)
    if got is None:
        raise Refused("nothing came back: end with `return y`")
    if not np.array_equal(y, kept):
        raise Refused("the caller's labels were changed: work on a copy")
    got = np.asarray(got)
    if got.shape != y.shape:
        raise Refused(f"shape {got.shape} came back, wanted {y.shape}: one label for each item")
    if np.array_equal(got, y):
        raise Refused("nothing was shuffled: the labels came back as they were")
    if got.sum() != y.sum():
        raise Refused("the number of positive labels changed: permute labels, do not draw new ones")
    per_group = [got[groups == k].sum() == y[groups == k].sum() for k in range(60)]
    if not all(per_group):
        raise Refused("labels crossed from one context into another: shuffle each context by itself")
    if np.array_equal(got, ~y) or len({tuple(got[groups == k]) for k in range(1, 60)}) == 1:
        raise Refused("every context was turned in the same way: draw anew for each one")
    if not np.array_equal(np.asarray(f(y, groups, 0)), got):
        raise Refused("the same seed gave two results: draw from np.random.default_rng(seed)")
    if np.array_equal(np.asarray(f(y, groups, 1)), got):
        raise Refused("two seeds gave the same result: use the seed that is passed")
    names = np.array(["b", "a"] * 40)
    y = np.arange(80) % 4 < 2
    got = np.asarray(f(y, names, 3))
    if any(got[names == k].sum() != y[names == k].sum() for k in "ab"):
        raise Refused("contexts that do not lie side by side are mixed up: find their rows by name")


@exercise("3.2", reference=data.group_folds)
def group_folds(f):
    rng = np.random.default_rng(5)
    even = rng.permutation(np.repeat([f"context {k}" for k in range(12)], 2))
    got = _array(f(even, 4, 0), "fold")
    if got.shape == (12,):
        raise Refused("12 numbers came back for 24 items: bring each context's fold back to its items, fold_of[index]")
    if got.shape != even.shape:
        raise Refused(f"shape {got.shape} came back, wanted {even.shape}: one fold number for each item")
    for name in np.unique(even):
        if len(set(got[even == name].tolist())) > 1:
            raise Refused("a context lies in two folds: deal whole contexts, not items")
    if set(got.tolist()) != {0, 1, 2, 3}:
        raise Refused(f"the folds are {sorted(set(got.tolist()))}: they run from 0 to folds - 1, and none is empty")
    sizes = np.array([np.bincount(_array(f(even, 4, s), "fold"), minlength=4) for s in range(6)])
    if np.ptp(sizes, axis=1).max() > 2:
        raise Refused(
            "twelve equal contexts gave folds of unlike size: do not draw the fold, take the smallest one so far"
        )
    if not np.array_equal(np.asarray(f(even, 4, 0)), got):
        raise Refused("the same seed gave two results: use np.random.default_rng(seed)")
    if all(np.array_equal(np.asarray(f(even, 4, s)), got) for s in (1, 2, 3)):
        raise Refused("every seed gave the same folds: shuffle the contexts with the seed first")
    uneven = np.concatenate([np.zeros(30, int), np.arange(1, 31)])
    for seed in range(4):
        if np.ptp(np.bincount(_array(f(uneven, 2, seed), "fold"), minlength=2)) > 1:
            raise Refused(
                "one context of 30 items and 30 of one item did not give two folds of 30: deal large contexts "
                "first, and count items"
            )
    try:
        f(np.array(["a", "b", "a"]), 3, 0)
    except ValueError:
        return
    raise Refused("three folds from two contexts came back: refuse that with a ValueError, one of them would be empty")


@exercise("3.3", reference=controls.control_labels)
def control_labels(f):
    rng = np.random.default_rng(2)
    equal = rng.permutation(np.repeat([f"thing {k}" for k in range(8)], 10))
    got = _array(f(equal, 0.5, 0), "label")
    if got.shape == (8,):
        raise Refused("eight labels came back for 80 items: give every item the label of its type, label[index]")
    if got.shape != equal.shape:
        raise Refused(f"shape {got.shape} came back, wanted {equal.shape}: one label for each item")
    if any(len(set(got[equal == name].tolist())) > 1 for name in np.unique(equal)):
        raise Refused("labels differ inside a type: a control label hangs on the type alone, wherever it occurs")
    if got.dtype != bool:
        raise Refused(f"labels are {got.dtype}: they must be booleans, or `y` and `~y` below go wrong")
    if not np.array_equal(np.asarray(f(equal, 0.5, 0)), got):
        raise Refused("the same seed gave two results: use np.random.default_rng(seed)")
    if all(np.array_equal(np.asarray(f(equal, 0.5, s)), got) for s in range(1, 6)):
        raise Refused("every seed gave the same labels: the seed must deal them anew")
    if max(abs(np.mean(f(equal, 0.25, s)) - 0.5) for s in range(4)) < 1e-9:
        raise Refused("share=0.25 gave one half: `share` says how many items are True")
    if max(abs(np.mean(f(equal, 0.5, s)) - 0.5) for s in range(8)) > 1e-9:
        raise Refused(
            "the share of True is left to luck: shuffle the types and take the first ones, so that it is as in the task"
        )
    types = np.repeat(np.arange(60), rng.integers(1, 10, 60))
    off = [abs(np.mean(f(types, s, k)) - s) for s in (0.3, 0.5) for k in range(6)]
    if max(off) > 5 / len(types) + 1e-9:
        raise Refused("types of unlike size miss the share: count the items of the types, not the types")
    try:
        f(np.array(["a"] * 4), 0.5, 0)
    except ValueError:
        return
    raise Refused("a single type got labels: refuse it with a ValueError, all labels would be alike")


@exercise("3.4", reference=calibration.expected_calibration_error)
def expected_calibration_error(f):
    half = f(np.full(10, 0.5), np.arange(10) % 2 == 0, 1)
    if half is None:
        raise Refused("nothing came back: end with `return float(...)`")
    if np.ndim(half) != 0:
        raise Refused(f"shape {np.shape(half)} came back: add the bins up, the error is one number")
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        p = rng.beta(0.6, 2.0, 187)
        y = rng.random(187) < p**1.5 * 0.8 + 0.1
        got = float(f(p, y, 6))
        order = np.argsort(p, kind="stable")
        parts = np.array_split(order, 6)
        gap = [p[i].sum() / len(i) - y[i].sum() / len(i) for i in parts]
        mass = [len(i) / len(p) for i in parts]
        right = (p > 0.5) == y
        sure = np.maximum(p, 1 - p)
        edges = np.minimum((p * 6).astype(int), 5)
        rivals = {
            "the gaps cancel: take the absolute gap of each bin before adding":
                abs(sum(m * g for m, g in zip(mass, gap, strict=True))),
            "these gaps are squared: expected calibration error takes their absolute size":
                sum(m * g * g for m, g in zip(mass, gap, strict=True)),
            "the largest gap came back: add all gaps, weighted by the size of their bins": max(map(abs, gap)),
            "the items were not sorted by probability before they were cut into bins":
                sum(abs(p[i].mean() - y[i].mean()) * len(i) for i in np.array_split(np.arange(187), 6)) / 187,
            "these bins have equal width: sort, and give each bin the same number of items":
                sum(abs(p[edges == b].mean() - y[edges == b].mean()) * (edges == b).mean()
                    for b in range(6) if (edges == b).any()),
            "the observed share must be that of positives, y, not that of right answers":
                sum(abs(p[i].mean() - right[i].mean()) * len(i) for i in parts) / 187,
            "this compares the confidence with right answers; here the probability is of y being True":
                sum(abs(sure[i].mean() - right[i].mean()) * len(i)
                    for i in np.array_split(np.argsort(sure, kind="stable"), 6)) / 187,
        }  # fmt: skip
        wanted = sum(m * abs(g) for m, g in zip(mass, gap, strict=True))
        if abs(got - 187 * wanted) < 1e-6:
            raise Refused("the sum is not divided by the number of items")
        if abs(got + wanted) < 1e-9:
            raise Refused("the error is negative")
        for sentence, value in rivals.items():
            if abs(got - value) < 1e-9 and abs(value - wanted) > 1e-6:
                raise Refused(sentence)
        if abs(got - wanted) > 1e-9:
            raise Refused(f"six bins of 187 items gave {got:.3f}, wanted {wanted:.3f}")
    few = f(np.array([0.1, 0.6, 0.9]), np.array([False, True, True]), 15)
    if not np.isfinite(few):
        raise Refused("fifteen bins of three items gave no number: use at most as many bins as there are items")


@exercise("3.5", reference=geometry.rankme)
def rankme(f):
    for seed in (0, 1):
        g = torch.Generator().manual_seed(seed)
        Z = torch.randn(9, 5, generator=g) * torch.tensor([4.0, 2.0, 1.0, 1.0, 0.5]) + 1.5
        got = f(Z)
        if got is None:
            raise Refused("nothing came back: end with `return float(...)`")
        if torch.is_tensor(got) and got.ndim or np.ndim(got):
            raise Refused(f"shape {tuple(np.shape(got))} came back: RankMe is one number")
        got = float(got)
        # singular values without an SVD: roots of the eigenvalues of ZᵀZ
        sigma = np.sqrt(np.linalg.eigvalsh((Z.T @ Z).double().numpy()))
        moved = (Z - Z.mean(0)).double().numpy()
        inner = np.sqrt(np.linalg.eigvalsh(moved.T @ moved))
        wanted, centred = _effective(sigma), _effective(inner)
        p = sigma / sigma.sum()
        rivals = {
            "these are the squares of the singular values; RankMe takes the singular values themselves":
                _effective(sigma**2),
            "this is the entropy; its exponential counts directions": np.log(wanted),
            "the entropy is in bits, but exp belongs to natural logarithms": np.exp(np.log2(np.e) * np.log(wanted)),
            "the mean state was removed; only `centred=True` may do that": centred,
            "the sign of the entropy is lost: minus the sum of p log p": np.exp((p * np.log(p)).sum()),
            "this is the number of directions, not the effective one": 5.0,
        }  # fmt: skip
        for sentence, value in rivals.items():
            if abs(got - value) < 1e-4 and abs(value - wanted) > 1e-3:
                raise Refused(sentence)
        if abs(float(f(10 * Z)) - got) > 1e-4 * abs(got):
            raise Refused("a cloud ten times as large has another rank: divide by the sum of the singular values")
        if abs(got - wanted) > 1e-4:
            raise Refused(f"a cloud of 9 states gave {got:.3f}, wanted {wanted:.3f}")
        alone = float(f(Z, True))
        if abs(alone - got) < 1e-4:
            raise Refused("centred=True changed nothing: it must remove the mean state first")
        if abs(alone - centred) > 1e-4:
            raise Refused("centred=True must remove the mean state, the mean over states: dimension 0")
    flat = torch.zeros(6, 4)
    flat[:, 0] = torch.arange(1.0, 7.0)
    if not np.isfinite(float(f(flat))):
        raise Refused("a cloud on a line gave no number: 0 · log 0 counts as 0, leave the zeros out")
    if abs(float(f(flat)) - 1) > 1e-4:
        raise Refused("a cloud on a line has one direction")


def _effective(weights):
    p = weights / weights.sum()
    return float(np.prod(p**-p))  # the exponential of the entropy, written as a product


@exercise("3.6", reference=directions.reliability)
def reliability(f):
    g = torch.Generator().manual_seed(4)
    truth = torch.nn.functional.normalize(torch.randn(48, generator=g), dim=0)
    X = 0.5 * truth + torch.randn(40, 48, generator=g) / 4
    got = f(X, 200, 0)
    if got is None:
        raise Refused("nothing came back: end with `return 2 * r / (1 + r)`")
    if np.ndim(got) or (torch.is_tensor(got) and got.ndim):
        raise Refused(f"shape {tuple(np.shape(got))} came back: the reliability is one number")
    if float(f(X, 200, 0)) != float(got):
        raise Refused("the same seed gave two results: use np.random.default_rng(seed)")
    if len({float(f(X, 1, seed)) for seed in range(4)}) == 1:
        raise Refused("every seed halves the set in the same way, perhaps in its own order: draw the halves at random")
    if float(f(X, 1, 0)) == float(f(X, 200, 0)):
        raise Refused("one halving and 200 gave the same number: average over `draws` halvings")
    got = float(got)
    if abs(float(f(10 * X, 200, 0)) - got) > 1e-3:
        raise Refused("vectors ten times as long gave another number: take the cosine, not the product")
    halves = []
    for seed in range(400):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
        halves.append(torch.nn.functional.cosine_similarity(X[order[:20]].mean(0), X[order[20:]].mean(0), dim=0))
    r = float(torch.stack(halves).mean())
    wanted = 2 * r / (1 + r)
    single = torch.nn.functional.normalize(X, dim=1)
    pairs = float(((single @ single.T).sum() - 40) / (40 * 39))
    if abs(got - r) < 0.02:
        raise Refused("this is the agreement of halves: the whole mean is steadier, 2r / (1 + r)")
    if min(abs(got - pairs), abs(got - 2 * pairs / (1 + pairs))) < 0.06:
        raise Refused("this is the agreement of single vectors: average each half before the cosine")
    if abs(got - wanted) > 0.02:
        raise Refused(
            f"40 noisy vectors gave {got:.2f}, wanted about {wanted:.2f}: the two halves must not share a vector"
        )
    opposed = torch.cat([torch.randn(20, 48, generator=g), torch.zeros(20, 48)])
    # the mean is almost zero, so one half points away from the other
    opposed[20:] = 0.3 * torch.randn(20, 48, generator=g) - opposed[:20]
    low = float(f(opposed, 100, 0))
    if not 0 <= low < 0.05:
        raise Refused(
            f"vectors without any direction gave {low:.2f}: a negative r means no reliability, so let it count as 0"
        )
    # two dimensions, almost no mean: the cosines of the halvings lie on both sides of 0, their average below it
    flat = torch.randn(24, 2, generator=torch.Generator().manual_seed(4))
    flat = flat - flat.mean(0) + torch.tensor([0.2, 0.0])
    if float(f(flat, 200, 0)) > 0.1:
        raise Refused("negative cosines were cut off: average all halvings first, then count a negative average as 0")


@exercise("3.8", reference=controls.family_wise_p)
def family_wise_p(f):
    observed = np.array([0.62, 0.70, 0.90, 0.50])
    null = np.array(
        [[0.50, 0.55, 0.48, 0.52], [0.60, 0.52, 0.70, 0.40], [0.45, 0.62, 0.51, 0.50], [0.57, 0.49, 0.58, 0.56],
         [0.53, 0.51, 0.50, 0.64], [0.50, 0.50, 0.50, 0.50], [0.66, 0.50, 0.52, 0.51]]
    )  # fmt: skip
    got = f(observed, null)
    if got is None:
        raise Refused("nothing came back: end with `return ...`")
    got = np.asarray(got, float)
    if got.shape != (4,):
        raise Refused(f"shape {got.shape} came back, wanted (4,): one p-value for each layer")
    best = [max(row) for row in null.tolist()]
    wanted = np.array([(1 + sum(b >= o for b in best)) / 8 for o in observed])
    alone = np.array([(1 + sum(n >= o for n in null[:, k])) / 8 for k, o in enumerate(observed)])
    rivals = {
        "each layer is compared with its own null only: compare with the largest over layers, row by row": alone,
        "the permutation that really happened is missing: add 1 above and below, so that p is never 0":
            np.array([sum(b >= o for b in best) / 7 for o in observed]),
        "add 1 below the line too: 1 + draws": np.array([(1 + sum(b >= o for b in best)) / 7 for o in observed]),
        "ties do not count: a draw that reaches the observed value speaks for chance, use >=":
            np.array([(1 + sum(b > o for b in best)) / 8 for o in observed]),
        "the inequality is turned round: count draws that reach the observed value":
            np.array([(1 + sum(b <= o for b in best)) / 8 for o in observed]),
        "these are p-values times the number of layers; the maximum statistic needs no such factor":
            np.minimum(1, 4 * alone),
        "all layers got the p-value of the best one: compare each observed value":
            np.full(4, wanted.min()),
    }  # fmt: skip
    for sentence, value in rivals.items():
        if np.allclose(np.minimum(got, 1), np.minimum(value, 1)) and not np.allclose(value, wanted):
            raise Refused(sentence)
    if not np.allclose(got, wanted):
        raise Refused(
            f"got {np.round(got, 3).tolist()}, wanted {np.round(wanted, 3).tolist()}: the maximum is over the layers "
            "of one permutation (axis 1)"
        )
    rng = np.random.default_rng(1)
    null, seen = rng.normal(size=(30, 6)), rng.normal(size=6)
    exact = [(1 + sum(row.max() >= o for row in null)) / 31 for o in seen]
    if not np.allclose(np.asarray(f(seen, null)), exact):
        raise Refused("30 draws of 6 layers gave other p-values than counting by hand")


def _array(found, what):
    if found is None:
        raise Refused(f"nothing came back: end with `return ...`, one {what} for each item")
    return np.asarray(found)
