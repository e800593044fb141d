"""Right answers of lessons 06 to 08, written another way than the library's, are accepted."""

import math

import pytest
import torch
import torch.nn.functional as F

from valuelab.course.check import verdict
from valuelab.rewards.calibration import reliability
from valuelab.rewards.combination import map_dual
from valuelab.rewards.transforms import standardise
from valuelab.rlhf.losses import Selection


def edges(confidence, won, bins=10):
    """Bins by rounded edges, the larger ones not first."""
    n, order = len(confidence), confidence.argsort()
    bins = min(bins, n)
    cut = [round(k * n / bins) for k in range(bins + 1)]
    groups = [order[a:b] for a, b in zip(cut, cut[1:], strict=False)]
    means = [torch.stack([x[g].mean() for g in groups]) for x in (confidence, won)]
    return *means, torch.tensor([len(g) for g in groups])


def by_eigenvectors(z, k, centred=False):
    used = z - z.mean(0) if centred else z
    v = torch.linalg.eigh(used.T @ used)[1].flip(1).T[:k]
    return v * torch.sign(v @ z.mean(0))[:, None]


def guarded(r, r_ref):
    r_ref = torch.as_tensor(r_ref)
    if r_ref.ndim not in (0, r.ndim):
        raise ValueError("a column, please")
    return F.logsigmoid(r - r_ref)


def all_pairs(scores, n, log_base=None):
    """Best-of-n in the dtype of the scores, by comparing every pair."""
    if log_base is None:
        log_base = torch.full_like(scores, -math.log(scores.shape[-1]))
    base, own = log_base.exp(), scores[..., :, None]
    at_most = (base[..., None, :] * (scores[..., None, :] <= own)).sum(-1)
    below = (base[..., None, :] * (scores[..., None, :] < own)).sum(-1)
    return (base * (at_most**n - below**n) / (at_most - below)).log()


def centred_and_stretched(rewards):
    k = rewards.shape[-1]
    if k < 2:
        raise ValueError("one reply has no others")
    return (rewards - rewards.mean(-1, keepdim=True)) * k / (k - 1)


def ranked(covariance, mask, share=2e-3):
    of = int(mask.sum())
    k = max(1, math.floor(share * of + 0.5))
    inside = covariance.masked_fill(~mask, -torch.inf)
    return Selection(inside >= inside.flatten().sort(descending=True).values[k - 1], k, of)


ANSWERS = {
    "6.2 as a list": lambda c, r: [-torch.sigmoid(r - c) / len(c), torch.sigmoid(r - c) / len(c)],
    "6.3 as a list": lambda c, w, bins=10: list(reliability(c, w, bins)),
    "6.3 by rounded edges": edges,
    "6.5 by eigenvectors": by_eigenvectors,
    "7.1 as the hint has it": guarded,
    "7.5 by all pairs": all_pairs,
    "7.6 as a list": lambda w, r, c: list(map_dual(w, r, c)),
    "8.2 by centring": centred_and_stretched,
    "8.5 each by itself": lambda r, scale="group", eps=1e-4: {
        "group": standardise(r, eps=eps),
        "batch": (r - r.mean(-1, keepdim=True)) / (r.std() + eps),
        "none": r - r.mean(-1, keepdim=True),
    }[scale],
    "8.8 by a threshold": ranked,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_right_answer_written_another_way_is_accepted(name):
    assert verdict(name.split()[0], ANSWERS[name]) is None
