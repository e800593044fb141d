"""Wrong answers to lesson 07, as a tired student would write them, and the words that refuse each."""

import math

import torch
import torch.nn.functional as F

from mistakes.planted import Mistake

MISTAKES = {
    "7.1": [
        Mistake("sign flipped", lambda r, r_ref: F.logsigmoid(r_ref - r), "sign flipped"),
        Mistake("no logarithm", lambda r, r_ref: torch.sigmoid(r - r_ref), "is its logarithm"),
        Mistake("no reference", lambda r, r_ref: F.logsigmoid(r), "reference is missing"),
        Mistake("linear", lambda r, r_ref: r - r_ref, "still linear"),
        Mistake("a loss", lambda r, r_ref: F.softplus(r_ref - r), "-log p, a loss"),
        Mistake("added", lambda r, r_ref: F.logsigmoid(r + r_ref), "must be subtracted"),
        Mistake("underflow", lambda r, r_ref: torch.log(torch.sigmoid(r - r_ref)), "underflows"),
        Mistake("averaged", lambda r, r_ref: F.logsigmoid(r - r_ref).mean(), "was wanted"),
        Mistake("no return", lambda r, r_ref: None, "nothing came back"),
        Mistake("no guard", lambda r, r_ref: F.logsigmoid(r - r_ref), "slips through"),
    ],
    "7.2": [
        Mistake(
            "whole batch", lambda r, how="quantile", q=0.85: torch.quantile(r, q), "one number came"
        ),
        Mistake(
            "down the prompts",
            lambda r, how="quantile", q=0.85: torch.quantile(r, q, dim=0),
            "down the prompts",
        ),
        Mistake(
            "1 - q", lambda r, how="quantile", q=0.85: torch.quantile(r, 1 - q, dim=1), "1 - q"
        ),
        Mistake(
            "q ignored", lambda r, how="quantile", q=0.85: torch.quantile(r, 0.85, dim=1),
            "q is ignored",
        ),
        Mistake("always mean", lambda r, how="quantile", q=0.85: r.mean(dim=1), "this is the mean"),
        Mistake("best", lambda r, how="quantile", q=0.85: r.amax(dim=1), "best sample"),
        Mistake(
            "how ignored", lambda r, how="quantile", q=0.85: torch.quantile(r, q, dim=1),
            "still gives the quantile",
        ),
    ],
    "7.3": [
        Mistake(
            "probabilities",
            lambda u, s, b=None: torch.softmax(s * u + (0 if b is None else b), -1),
            "return their logarithms",
        ),
        Mistake(
            "no base", lambda u, s, b=None: torch.log_softmax(s * u, -1), "base policy is missing"
        ),
        Mistake(
            "divided",
            lambda u, s, b=None: torch.log_softmax(u / s + (0 if b is None else b), -1),
            "1 / beta: it multiplies",
        ),
        Mistake(
            "wrong axis",
            lambda u, s, b=None: torch.log_softmax(s * u + (0 if b is None else b), 0),
            "over the prompts",
        ),
        Mistake(
            "not normalised", lambda u, s, b=None: s * u + (0 if b is None else b),
            "not normalised",
        ),
        Mistake(
            "sign",
            lambda u, s, b=None: torch.log_softmax(-s * u + (0 if b is None else b), -1),
            "worst reply",
        ),
        Mistake(
            "greedy",
            lambda u, s, b=None: torch.zeros_like(u).scatter(1, u.argmax(1, keepdim=True), 1).log(),
            "infinite strength",
        ),
        Mistake("overflow", lambda u, s, b=None: _overflow(u, s, b), "exp overflows"),
    ],
    "7.4": [
        Mistake("mean", lambda t: _stacked(t).mean(0), "mean of the terms"),
        Mistake("probability", lambda t: _stacked(t).sum(0).exp(), "return its logarithm"),
        Mistake("product of logs", lambda t: _stacked(t).prod(0), "their logarithms add"),
        Mistake("worst case", lambda t: _stacked(t).amin(0), "worst case alone"),
        Mistake("log of sum", lambda t: torch.logsumexp(_stacked(t), 0), "nearer to OR"),
        Mistake("OR", lambda t: (1 - (1 - _stacked(t).exp()).prod(0)).log(), "this is OR"),
        Mistake("along replies", lambda t: _stacked(t).sum(-1), "along the replies"),
        Mistake("everything", lambda t: _stacked(t).sum(), "into one number"),
        Mistake("no guard", lambda t: _stacked(t).sum(0), "slips through"),
    ],
    "7.5": [
        Mistake("probabilities", lambda s, n, b=None: _winner(s, n, b).exp(), "return their log"),
        Mistake(
            "argmax",
            lambda s, n, b=None: torch.zeros_like(s).scatter(1, s.argmax(1, keepdim=True), 1).log(),
            "n = infinity",
        ),
        Mistake("F to the n", lambda s, n, b=None: n * _parts(s, b)[1].log(), "*at most* this"),
        Mistake(
            "F to the n, scaled",
            lambda s, n, b=None: torch.log_softmax(n * _parts(s, b)[1].log(), -1),
            "scaled to sum",
        ),
        Mistake(
            "density",
            lambda s, n, b=None: (n * _parts(s, b)[0] * _parts(s, b)[1] ** (n - 1)).log(),
            "formula for a density",
        ),
        Mistake("worst of n", lambda s, n, b=None: _winner(-s, n, b), "worst-of-n"),
        Mistake("no base", lambda s, n, b=None: _winner(s, n, None), "base policy is missing"),
        Mistake("ties", lambda s, n, b=None: _ties_not_shared(s, n, b), "equal scores"),
        Mistake("base must be given", lambda s, n, b=None: _winner(s, n, b.exp().log()), "where log_base is left out"),
        Mistake(
            "base of ones",
            lambda s, n, b=None: _winner(s, n, torch.zeros_like(s) if b is None else b),
            "each of the replies has the same chance",
        ),
        Mistake("prompt by prompt", lambda s, n, b=None: _prompt_by_prompt(s, n, b), "stops with IndexError on"),
        Mistake("second axis", lambda s, n, b=None: _along_the_second_axis(s, n, b), "along the last axis"),
    ],
    "7.6": [
        Mistake("no log n", lambda w, r, c: (w @ c - torch.logsumexp(r @ w, 0), _grad(w, r, c)),
                "log n is missing"),
        Mistake("sign", lambda w, r, c: (w @ c + _lme(w, r), _grad(w, r, c)), "is subtracted"),
        Mistake("minus dual", lambda w, r, c: (_lme(w, r) - w @ c, _grad(w, r, c)), "minus the dual"),
        Mistake("no exponential", lambda w, r, c: (w @ c - (r @ w).mean(), _grad(w, r, c)),
                "exponential is missing"),
        Mistake("downhill", lambda w, r, c: (w @ c - _lme(w, r), -_grad(w, r, c)), "downhill"),
        Mistake("base mean", lambda w, r, c: (w @ c - _lme(w, r), c - r.mean(0)), "under the base"),
        Mistake("not normalised", lambda w, r, c: (w @ c - _lme(w, r), c - (r @ w).exp() @ r),
                "do not sum to one"),
        Mistake("overflow", lambda w, r, c: (w @ c - (r @ w).exp().mean().log(), _grad(w, r, c)),
                "exp overflows"),
        Mistake("dual alone", lambda w, r, c: w @ c - _lme(w, r), "return two things"),
    ],
    "7.7": [
        Mistake("centred only", lambda r, dim=-1, eps=1e-4: r - r.mean(dim, keepdim=True),
                "only centred"),
        Mistake("whole batch", lambda r, dim=-1, eps=1e-4: (r - r.mean()) / (r.std() + eps),
                "whole batch"),
        Mistake("not centred", lambda r, dim=-1, eps=1e-4: r / (r.std(dim, keepdim=True) + eps),
                "not centred"),
        Mistake("divides by n", lambda r, dim=-1, eps=1e-4: (r - r.mean(dim, keepdim=True))
                / (r.std(dim, keepdim=True, correction=0) + eps), "n - 1"),
        Mistake("variance", lambda r, dim=-1, eps=1e-4: (r - r.mean(dim, keepdim=True))
                / (r.var(dim, keepdim=True) + eps), "variance"),
        Mistake("no eps", lambda r, dim=-1, eps=1e-4: (r - r.mean(dim, keepdim=True))
                / r.std(dim, keepdim=True), "eps is ignored"),
        Mistake("dim ignored", lambda r, dim=-1, eps=1e-4: (r - r.mean(-1, keepdim=True))
                / (r.std(-1, keepdim=True) + eps), "`dim` is ignored"),
    ],
}


def _stacked(terms):
    return torch.stack(list(terms))


def _overflow(u, strength, log_base):
    weight = (strength * u).exp() * (1 if log_base is None else log_base.exp())
    return (weight / weight.sum(-1, keepdim=True)).log()


def _parts(scores, log_base):
    """Base, F(s) and F(s-) by comparing every pair."""
    base = torch.full_like(scores, 1 / scores.shape[-1]) if log_base is None else log_base.exp()
    at_most = (base[..., None, :] * (scores[..., None, :] <= scores[..., None])).sum(-1)
    below = (base[..., None, :] * (scores[..., None, :] < scores[..., None])).sum(-1)
    return base, at_most, below


def _winner(scores, n, log_base):
    base, at_most, below = _parts(scores, log_base)
    return (base / (at_most - below) * (at_most**n - below**n)).log()


def _ties_not_shared(scores, n, log_base):
    _, at_most, below = _parts(scores, log_base)
    return (at_most**n - below**n).log()


def _prompt_by_prompt(scores, n, log_base=None):
    base = torch.full_like(scores, -math.log(scores.shape[-1])) if log_base is None else log_base
    return torch.stack([
        torch.stack([_winner(s, n, b)[j] for j in range(scores.shape[1])]) for s, b in zip(scores, base, strict=True)
    ])  # fmt: skip


def _along_the_second_axis(scores, n, log_base=None):
    base = torch.full_like(scores, 1 / scores.shape[-1]) if log_base is None else log_base.exp()
    own, other = scores[..., None, :], scores[..., :, None]
    at_most, below = ((base[..., :, None] * (f(other, own))).sum(1) for f in (torch.le, torch.lt))
    return (base / (at_most - below) * (at_most**n - below**n)).log()


def _lme(weights, rewards):
    return torch.logsumexp(rewards @ weights, 0) - math.log(len(rewards))


def _grad(weights, rewards, target):
    return target - torch.softmax(rewards @ weights, 0) @ rewards
