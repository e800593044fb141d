"""Checks of lesson 03: probing."""

from __future__ import annotations

import numpy as np
import torch

from valuelab.probes import baselines, estimators
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
        got = probe.weight
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


@exercise("3.2", reference=baselines.shuffle_within)
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
