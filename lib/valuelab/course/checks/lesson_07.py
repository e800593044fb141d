"""Checks of lesson 07: transforming and combining rewards.

Each check tries the shape, then the likely mistakes in order of likelihood, then values on two
seeds against a formula written another way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from valuelab.course.check import Refused, exercise
from valuelab.rewards import combination, exact, reference, transforms

SEEDS = (0, 1)


def close(got: Tensor, wanted: Tensor, tolerance: float = 1e-6) -> bool:
    return torch.allclose(got.double(), wanted.double(), atol=tolerance, rtol=tolerance)


def as_tensor(got, wanted: Tensor, what: str) -> Tensor:
    """The learner's answer as a tensor of the right shape, or a sentence that says what it is."""
    if got is None:
        raise Refused(f"nothing came back: end with `return`. Wanted {what}.")
    if not isinstance(got, Tensor):
        raise Refused(f"a {type(got).__name__} came back. Wanted a tensor: {what}.")
    if got.shape != wanted.shape:
        raise Refused(
            f"shape {tuple(got.shape)} came back, {tuple(wanted.shape)} was wanted: {what}."
        )
    return got


def diagnose(
    got: Tensor, wanted: Tensor, likely: Sequence[tuple[Tensor, str]], otherwise: str
) -> None:
    """Pass, or name the mistake whose result looks like this one."""
    if close(got, wanted):
        return
    for wrong, message in likely:
        if wrong.shape == got.shape and close(got, wrong) and not close(wrong, wanted):
            raise Refused(message)
    if not torch.isfinite(got).all():
        raise Refused(f"{int((~torch.isfinite(got)).sum())} results are NaN or infinite. {otherwise}")
    worst = float((got.double() - wanted.double()).abs().max())
    raise Refused(f"values differ by up to {worst:.2g}. {otherwise}")


@exercise("7.1", reference=transforms.log_sigmoid_centered)
def log_sigmoid_centered(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        r = 3 * torch.randn(3, 5, generator=g, dtype=torch.float64)
        ref = torch.randn(3, 1, generator=g, dtype=torch.float64)
        got = as_tensor(f(r, ref), r, "one utility per reply, (prompts, replies)")
        x = r - ref
        p = 1 / (1 + (-x).exp())
        diagnose(
            got,
            p.log(),
            [
                (torch.log(1 - p), "sign flipped: better replies must get higher utility, yours "
                 "get lower. It is r - r_ref inside the sigmoid"),
                (p, "this is the probability p(good); the utility is its logarithm"),
                (torch.sigmoid(r).log(), "the reference is missing: the sigmoid takes r - r_ref"),
                (x, "this is still linear in r: the log-sigmoid is missing"),
                (-p.log(), "this is -log p, a loss. A utility is log p, at most 0"),
                (torch.sigmoid(r + ref).log(), "the reference is added; it must be subtracted"),
            ],
            "Compare with log(1 / (1 + exp(-(r - r_ref)))) on one number.",
        )
    far = as_tensor(f(torch.tensor([[-200.0]]), 0.0), torch.zeros(1, 1), "one utility per reply")
    if not close(far, torch.tensor([[-200.0]]), 1e-3):
        raise Refused(
            "a hopeless reply (r - r_ref = -200) gives "
            f"{far.item()}: sigmoid underflows to 0 before the logarithm. Use F.logsigmoid"
        )
    try:
        f(torch.zeros(3, 3), torch.zeros(3))
    except ValueError:
        return
    raise Refused(
        "a reference of shape (prompts,) slips through. Beside rewards (3, 3) it fits the replies as well and would "
        "run along them: raise ValueError"
    )


@exercise("7.2", reference=reference.reference_reward)
def reference_reward(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        r = torch.randn(4, 23, generator=g, dtype=torch.float64)
        r = r + torch.arange(4)[:, None]
        q = 0.7
        ordered = r.sort(dim=1).values
        place = q * 22
        low = int(place)
        wanted = ordered[:, low] + (place - low) * (ordered[:, low + 1] - ordered[:, low])
        whole = f(r, "quantile", q)
        if isinstance(whole, Tensor) and whole.ndim == 0:
            raise Refused(
                "one number came back for all prompts: each prompt needs its own reference, the "
                "quantile along dim=1"
            )
        if isinstance(whole, Tensor) and whole.shape == (23,):
            raise Refused(
                "one number per sample came back: you went down the prompts. The samples of one "
                "prompt lie along dim=1"
            )
        got = as_tensor(whole, wanted, "one reference per prompt, (prompts,)")
        diagnose(
            got,
            wanted,
            [
                (torch.quantile(r, 1 - q, dim=1), "this is the 1 - q quantile: a reference that "
                 "most replies beat. q = 0.85 means that 85 % of the replies lie below"),
                (torch.quantile(r, 0.85, dim=1), "q is ignored: 0.85 is only its default"),
                (r.mean(dim=1), "this is the mean, also where how='quantile' was asked for"),
                (r.median(dim=1).values, "this is the median; q was 0.7"),
                (r.amax(dim=1), "this is the best sample: no reply would ever count as good"),
            ],
            "torch.quantile(rewards, q, dim=1) interpolates between neighbours.",
        )
        mean = as_tensor(f(r, "mean"), wanted, "one reference per prompt, (prompts,)")
        diagnose(
            mean,
            r.mean(dim=1),
            [(torch.quantile(r, 0.85, dim=1), "how='mean' still gives the quantile"),
             (r.median(dim=1).values, "how='mean' gives the median")],
            "how='mean' is the plain mean of the samples of each prompt.",
        )


@exercise("7.3", reference=exact.kl_optimal)
def kl_optimal(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        u = torch.randn(3, 6, generator=g, dtype=torch.float64)
        base = torch.softmax(torch.randn(3, 6, generator=g, dtype=torch.float64), dim=1)
        strength = 2.5
        weight = base * (strength * u).exp()
        p = weight / weight.sum(dim=1, keepdim=True)
        got = as_tensor(f(u, strength, base.log()), u, "log-probabilities, (prompts, replies)")
        even = (strength * u).exp()
        small = base * (u / strength).exp()
        down = base * (-strength * u).exp()
        greedy = torch.zeros_like(u).scatter(1, u.argmax(1, keepdim=True), 1.0)
        diagnose(
            got,
            p.log(),
            [
                (p, "these are probabilities; return their logarithms"),
                ((even / even.sum(1, keepdim=True)).log(), "the base policy is missing: every "
                 "reply starts from log_base, not from the same chance"),
                ((small / small.sum(1, keepdim=True)).log(), "the utility is divided by the "
                 "strength. Strength is 1 / beta: it multiplies"),
                ((weight / weight.sum(0, keepdim=True)).log(), "normalised over the prompts: the "
                 "probabilities of the replies to *one* prompt sum to 1, the last axis"),
                (weight.log(), "not normalised: subtract the log-sum-exp (log_softmax does)"),
                ((down / down.sum(1, keepdim=True)).log(), "sign flipped: the worst reply gets "
                 "the most probability"),
                (greedy.log(), "all mass on the best reply is infinite strength, at any strength"),
            ],
            "log π = log_base + strength · u, then log_softmax over the last axis.",
        )
    plain = as_tensor(f(u, strength), u, "log-probabilities without log_base, too")
    if not close(plain, torch.log_softmax(strength * u, -1)):
        raise Refused("without log_base the base is uniform: log_softmax of strength · u alone")
    if not torch.isfinite(f(1e4 * u, 1.0)).all():
        raise Refused(
            "utilities of ten thousand give NaN or infinity: exp overflows. Stay in logarithms, "
            "torch.log_softmax subtracts the largest first"
        )


@exercise("7.4", reference=transforms.all_of)
def all_of(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        p = 0.05 + 0.9 * torch.rand(3, 4, 5, generator=g, dtype=torch.float64)
        for terms in (list(p.log()), p.log()):
            back = f(terms)
            if isinstance(back, Tensor) and back.shape in ((3, 4), (3, 5), (3,)):
                raise Refused(
                    "the sum runs along the replies or prompts. The first axis counts the "
                    "properties: sum over dim=0"
                )
            if isinstance(back, Tensor) and back.ndim == 0:
                raise Refused("everything was summed into one number; sum over dim=0 only")
            got = as_tensor(back, p[0], "one log-probability per reply, (prompts, replies)")
            diagnose(
                got,
                p.prod(dim=0).log(),
                [
                    (p.log().mean(dim=0), "this is the mean of the terms. The product of three "
                     "probabilities is the *sum* of their logarithms"),
                    (p.prod(dim=0), "this is the probability of all; return its logarithm"),
                    (p.log().prod(dim=0), "the logarithms are multiplied; probabilities multiply, "
                     "their logarithms add"),
                    (p.amin(dim=0).log(), "this is the worst case alone: a second weak property "
                     "would cost nothing"),
                    (p.log().exp().sum(dim=0).log(), "this is the log of the *sum* of "
                     "probabilities, nearer to OR than to AND"),
                    ((1 - (1 - p).prod(dim=0)).log(), "this is OR: good in at least one respect"),
                    (p.mean(dim=0).log(), "this averages the probabilities: one property can buy "
                     "off another"),
                ],
                "p(all good) = Π p_i, so u = Σ log p_i.",
            )
    try:
        f([torch.tensor([1.0, -1.0]), torch.tensor([-1.0, -1.0])])
    except ValueError:
        return
    raise Refused(
        "a raw reward of +1 slips through as if it were a log-probability: raise ValueError where "
        "a term is above 0"
    )


@exercise("7.5", reference=exact.best_of_n)
def best_of_n(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        scores = torch.tensor([[3.0, 1.0, 2.0, 2.0, 5.0], [0.0, 4.0, 4.0, 4.0, 1.0]])
        scores = scores.double()[:, torch.randperm(5, generator=g)]
        base = torch.softmax(torch.randn(2, 5, generator=g, dtype=torch.float64), dim=1)
        n = 3
        at_most = (base[:, None] * (scores[:, None] <= scores[:, :, None])).sum(-1)
        below = (base[:, None] * (scores[:, None] < scores[:, :, None])).sum(-1)
        tied = at_most - below
        p = base / tied * (at_most**n - below**n)
        above = (base[:, None] * (scores[:, None] >= scores[:, :, None])).sum(-1)
        worst = base / tied * (above**n - (above - tied) ** n)
        even = _best_of_n(scores, torch.full_like(base, 0.2), n)
        density = n * base * at_most ** (n - 1)
        first = torch.zeros_like(base).scatter(1, scores.argmax(1, keepdim=True), 1.0)
        got = as_tensor(f(scores, n, base.log()), base, "log-probabilities, (prompts, replies)")
        cumulative = at_most**n
        diagnose(
            got,
            p.log(),
            [
                (p, "these are probabilities; return their logarithms"),
                (first.log(), "all mass on the best reply: that is n = infinity. With n draws "
                 "the best one may not be among them"),
                (cumulative.log(), "F^n is the chance that the winner is *at most* this good; "
                 "subtract the chance that it is worse, F(s-)^n"),
                ((cumulative / cumulative.sum(1, keepdim=True)).log(), "F^n scaled to sum to one "
                 "is not the chance of this reply; subtract F(s-)^n"),
                (density.log(), "n · base · F^(n-1) is the formula for a density; on finitely "
                 "many replies it does not sum to 1. Take the difference F^n - F(s-)^n"),
                (worst.log(), "this is worst-of-n: sort the other way round"),
                (even.log(), "the base policy is missing: F adds up the base probabilities of the "
                 "replies, not their number"),
                ((at_most**n - below**n).log(), "replies with equal scores each got the chance of "
                 "all of them: share it in proportion to the base"),
            ],
            "P(y) = base · (F(s)^n - F(s-)^n) / (F(s) - F(s-)), F the base share of scores <= s.",
        )
    one = as_tensor(f(scores, 1, base.log()), base, "log-probabilities")
    if not close(one, base.log()):
        raise Refused("with n = 1 nothing is chosen: the result must be the base policy")
    even = torch.full_like(scores, 0.2)
    plain = _unless_it_stops(f, scores, 2, where="where log_base is left out: the base is then uniform")
    plain = as_tensor(plain, even, "log-probabilities without log_base, too")
    if not close(plain, _best_of_n(scores, even, 2).log()):
        raise Refused("without log_base the base is uniform: each of the replies has the same chance")
    three = torch.tensor([1.0, 2.0, 3.0])
    alone = _unless_it_stops(f, three, 2, torch.full((3,), 1 / 3).log(), where="on the replies to a single prompt, "
                             "(replies,): before the last axis there may be any others, or none")  # fmt: skip
    alone = as_tensor(alone, three, "log-probabilities for the replies to a single prompt")
    if not close(alone.exp(), torch.tensor([1, 3, 5]) / 9):
        raise Refused(
            "the replies to a single prompt, (replies,), come out otherwise than in a batch: work along the last axis"
        )


def _unless_it_stops(f: Callable, *args, where: str):
    try:
        return f(*args)
    except Exception as error:
        raise Refused(f"your function stops with {type(error).__name__} {where}") from None


def _best_of_n(scores: Tensor, base: Tensor, n: int) -> Tensor:
    at_most = (base[:, None] * (scores[:, None] <= scores[:, :, None])).sum(-1)
    below = (base[:, None] * (scores[:, None] < scores[:, :, None])).sum(-1)
    return base / (at_most - below) * (at_most**n - below**n)


@exercise("7.6", reference=combination.map_dual)
def map_dual(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        r = torch.randn(9, 3, generator=g, dtype=torch.float64)
        w = torch.rand(3, generator=g, dtype=torch.float64)
        c = torch.rand(3, generator=g, dtype=torch.float64)
        e = (r @ w).exp()
        p = e / e.sum()
        wanted = w @ c - e.mean().log()
        back = f(w, r, c)
        if not isinstance(back, tuple | list) or len(back) != 2:
            raise Refused("return two things: the dual and its gradient")
        value = as_tensor(back[0], wanted, "the dual, a scalar")
        gradient = as_tensor(back[1], w, "the gradient, one number per value")
        diagnose(
            value,
            wanted,
            [
                (w @ c - e.sum().log(), "log n is missing: the base gives each of the n replies "
                 "1/n, so it is the log of the *mean* of exp(λ·r)"),
                (w @ c + e.mean().log(), "sign: the log of the mean is subtracted from λ·c"),
                (e.mean().log() - w @ c, "this is minus the dual; it would be minimised"),
                (w @ c - (r @ w).mean(), "the exponential is missing: log-mean-exp, not the mean"),
                (-e.mean().log(), "λ·c is missing"),
            ],
            "g(λ) = λ·c - (logsumexp(λ·r) - log n).",
        )
        diagnose(
            gradient,
            c - p @ r,
            [
                (p @ r - c, "the gradient points downhill: it is c - E[r], positive where a "
                 "target is missed, so that its weight grows"),
                (c - r.mean(dim=0), "E[r] is taken under the base; it must be under the policy "
                 "that λ makes, softmax(λ·r)"),
                (p @ r, "this is E[r] alone; the gradient is c - E[r]"),
                (c - e @ r, "the weights exp(λ·r) do not sum to one: use softmax"),
            ],
            "c - Σ_y softmax(λ·r)_y · r_y.",
        )
    value, gradient = f(1e4 * w, r, c)
    if not (torch.isfinite(value) and torch.isfinite(gradient).all()):
        raise Refused(
            "weights of ten thousand give NaN or infinity: exp overflows. torch.logsumexp and "
            "torch.softmax subtract the largest first"
        )


@exercise("7.7", reference=transforms.standardise)
def standardise(f: Callable) -> None:
    for seed in SEEDS:
        g = torch.Generator().manual_seed(seed)
        r = torch.randn(4, 6, generator=g, dtype=torch.float64)
        r = r * torch.tensor([0.5, 1.0, 2.0, 4.0]).double()[:, None] + torch.arange(4)[:, None]
        eps = 0.1
        mean = r.sum(1, keepdim=True) / 6
        std = (((r - mean) ** 2).sum(1, keepdim=True) / 5).sqrt()
        got = as_tensor(f(r, -1, eps), r, "advantages, (prompts, replies)")
        diagnose(
            got,
            (r - mean) / (std + eps),
            [
                (r - mean, "only centred: divide by the spread of the group as well"),
                ((r - r.mean()) / (r.std() + eps), "mean and spread are those of the whole batch; "
                 "a group is the replies to one prompt, dim=-1 with keepdim=True"),
                ((r - r.mean(0)) / (r.std(0) + eps), "the groups run down the prompts: use dim"),
                (r / (std + eps), "not centred: subtract the mean of the group first"),
                ((r - mean) / (std * math.sqrt(5 / 6) + eps), "the standard deviation divides by "
                 "n; torch's default, and TRL's, divides by n - 1"),
                ((r - mean) / (std**2 + eps), "divided by the variance, not by its root"),
                ((r - mean) / std, "eps is ignored: it is added to the standard deviation"),
                ((r - mean) / (std**2 + eps).sqrt(), "eps is added to the variance; GRPO adds it "
                 "to the standard deviation"),
            ],
            "(r - mean) / (std + eps), both along the group.",
        )
        down = as_tensor(f(r, 0, eps), r, "the same along another axis")
        if not close(down, (r - r.mean(0)) / (r.std(0) + eps)):
            raise Refused("`dim` is ignored: with dim=0 the groups run the other way")
    if f(torch.full((2, 4), 3.0)).abs().max() > 0:
        raise Refused("constant rewards carry no signal: their advantages must be 0")
