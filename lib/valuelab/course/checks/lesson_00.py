"""Checks of lesson 00: the two warm-up exercises."""

from __future__ import annotations

import numpy as np
import torch

from valuelab.evaluate import planted
from valuelab.steering import shift

from ..check import Refused, exercise


@exercise("0.1", reference=planted.without_order)
def without_order(f):
    for seed in (0, 1):
        there, back = np.random.default_rng(seed).random((2, 7))
        got = f(there, back)
        if got is None:
            raise Refused("nothing came back: end with `return`")
        got = np.asarray(got, dtype=float)
        if got.shape != there.shape:
            raise Refused(f"shape {got.shape} came back, wanted {there.shape}: one probability for each question")
        wanted = 0.5 * there + 0.5 - 0.5 * back
        if np.allclose(got, wanted):
            continue
        if np.allclose(got, (there + back) / 2):
            raise Refused("back[i] is the probability of the other action: turn it round first, 1 - back")
        if np.allclose(got, 1 - wanted):
            raise Refused("this is the probability of b; the other way round is asked for")
        if np.allclose(got, there + 1 - back):
            raise Refused("this is the sum of the two orders; take their mean")
        if np.allclose(got, there - back):
            raise Refused("a difference of probabilities is no probability")
        if np.allclose(got, there):
            raise Refused("only the first order was used, so a liking for the first place is still in it")
        raise Refused("the mean of `there` and of `1 - back` is wanted")


@exercise("0.2", reference=shift.additive_shift)
def additive_shift(f):
    for seed in (0, 1):
        g = torch.Generator().manual_seed(seed)
        h, v = torch.randn(2, 3, 5, generator=g), torch.randn(5, generator=g)
        got = f(h, v, 2.5)
        if got is None:
            raise Refused("nothing came back: end with `return`")
        if not torch.is_tensor(got):
            raise Refused(f"a {type(got).__name__} came back, a tensor was wanted")
        wanted = 2.5 * v
        if got.shape == h.shape and torch.allclose(got, h + wanted, atol=1e-5):
            raise Refused("this is the new state; return the shift alone, the caller adds it")
        if got.shape != h.shape:
            raise Refused(f"shape {tuple(got.shape)} came back, wanted {tuple(h.shape)}: one shift for each state")
        if torch.allclose(got, v.expand(h.shape), atol=1e-6):
            raise Refused("the strength was not used")
        if torch.allclose(got, -wanted.expand(h.shape), atol=1e-5):
            raise Refused("sign flipped: a positive strength must push along v, not against it")
        if torch.allclose(got, (wanted / v.norm()).expand(h.shape), atol=1e-5):
            raise Refused("v was scaled to length one; its length carries how far the two groups lie apart")
        if torch.allclose(got, h * wanted, atol=1e-5):
            raise Refused("multiplied with the state; the step is the same for every state")
        if not torch.allclose(got, wanted.expand(h.shape), atol=1e-5):
            raise Refused("the shift is strength times v, the same at every place")
    if not torch.allclose(f(torch.zeros(5), torch.ones(5)), torch.ones(5)):
        raise Refused("without a strength the step is v itself: the default is 1")
    if f(torch.zeros(2, 5, dtype=torch.float16), torch.ones(5)).dtype != torch.float16:
        raise Refused("the dtype of h was not kept")
