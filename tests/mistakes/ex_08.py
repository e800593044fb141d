"""Wrong answers to lesson 08, as a tired student would write them, and the words that refuse each."""

import math

import torch

from mistakes.planted import Mistake
from valuelab.rlhf.losses import Selection


def _grad(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


def _as_loss(weigh, value=lambda e, lp, ref: e(lp, ref)):
    def f(estimator, logits, log_ref):
        x = logits.detach().clone().requires_grad_()
        log_p = torch.log_softmax(x, -1)
        return _grad((weigh(log_p) * value(estimator, log_p, log_ref)).sum(), x)

    return f


def _for_log_p(estimator, logits, log_ref):
    log_p = torch.log_softmax(logits.detach(), -1).requires_grad_()
    return _grad((log_p.detach().exp() * estimator(log_p, log_ref)).sum(), log_p)


def _exact(estimator, logits, log_ref):
    x = logits.detach().clone().requires_grad_()
    log_p = torch.log_softmax(x, -1)
    return _grad((log_p.exp() * (log_p - log_ref)).sum(), x)


def _leaves_gradient(estimator, logits, log_ref):
    x = logits if logits.requires_grad else logits.clone().requires_grad_()
    log_p = torch.log_softmax(x, -1)
    (log_p.detach().exp() * estimator(log_p, log_ref)).sum().backward()
    return x.grad.clone()


def _group(change):
    def f(r, scale="group", eps=1e-4):
        own, whole = r.std(-1, keepdim=True), r.std()
        c = r - r.mean(-1, keepdim=True)
        return change(r, c, own, whole, scale, eps)

    return f


def _scaled(c, own, whole, scale, eps):
    return {"group": c / (own + eps), "batch": c / (whole + eps), "none": c}[scale]


def _means(x, mask):
    return (x * mask).sum() / mask.sum()


def _cov(change):
    def f(log_p, advantage, mask):
        a, x = advantage[:, None].expand_as(log_p), log_p.detach()
        return change(a, x, mask, advantage)

    return f


def _top(score, mask, k):
    tokens = torch.zeros_like(mask)
    tokens.view(-1)[score.flatten().topk(k).indices] = True
    return tokens


def _pick(score, size=lambda mask, share: max(1, round(share * int(mask.sum()))), count=None):
    def f(cov, mask, share=2e-3):
        k = size(mask, share)
        tokens = _top(score(cov, mask), mask, k)
        return Selection(tokens, k if count is None else count, int(mask.sum()))

    return f


def _hidden(cov, mask):
    return cov.masked_fill(~mask, -torch.inf)


def _by_rows(cov, mask, share=2e-3):
    tokens = torch.zeros_like(mask)
    for i, row in enumerate(_hidden(cov, mask)):
        tokens[i, row.topk(max(1, round(share * int(mask[i].sum())))).indices] = True
    return Selection(tokens, int(tokens.sum()), int(mask.sum()))


def _loo(r):
    return (r.sum(-1, keepdim=True) - r) / (r.shape[-1] - 1)


MISTAKES = {
    "8.1": [
        Mistake("sign", lambda p, a, m: (a.detach() * (p * m).sum(1)).mean(), "sign flipped"),
        Mistake("no mask", lambda p, a, m: -(a.detach() * p.sum(1)).mean(), "behind the end"),
        Mistake("mean of tokens", lambda p, a, m: -(a.detach() * (p * m).sum(1) / m.sum(1)).mean(), "averaged over"),
        Mistake("sum of replies", lambda p, a, m: -(a.detach() * (p * m).sum(1)).sum(), "summed over the replies"),
        Mistake("per token", lambda p, a, m: -(a.detach()[:, None] * p * m).sum() / m.sum(), "number of tokens"),
        Mistake("no advantage", lambda p, a, m: -(p * m).sum(1).mean(), "advantage is missing"),
        Mistake("probability", lambda p, a, m: -(a.detach() * (p * m).sum(1).exp()).mean(), "not its logarithm"),
        Mistake("not detached", lambda p, a, m: -(a * (p * m).sum(1)).mean(), "into the advantage"),
        Mistake("not a scalar", lambda p, a, m: -(a.detach() * (p * m).sum(1)), "one number to lower"),
        Mistake("log_p detached", lambda p, a, m: -(a * (p.detach() * m).sum(1)).mean(), "carries no gradient"),
    ],
    "8.2": [
        Mistake("itself included", lambda r: r - r.mean(-1, keepdim=True), "holds the reply itself"),
        Mistake("sign", lambda r: _loo(r) - r, "positive advantage"),
        Mistake("baseline", lambda r: _loo(r), "baseline alone"),
        Mistake("over K", lambda r: r - (r.sum(-1, keepdim=True) - r) / r.shape[-1], "four, not five"),
        Mistake("batch", lambda r: r - r.mean(), "whole batch"),
        Mistake("axis", lambda r: r - (r.sum(0, keepdim=True) - r) / (len(r) - 1), "down the prompts"),
        Mistake("scaled", lambda r: (r - _loo(r)) / (r.std(-1, keepdim=True) + 1e-4), "GRPO's"),
        Mistake("one reply", lambda r: r - _loo(r), "slips through"),
        Mistake("one number", lambda r: (r - _loo(r)).mean(), "was wanted"),
    ],
    "8.3": [
        Mistake("weights differentiated", _as_loss(lambda lp: lp.exp()), "detach them"),
        Mistake("plain mean", _as_loss(lambda lp: torch.full_like(lp, 1 / len(lp))), "counts alike"),
        Mistake("plain sum", _as_loss(lambda lp: torch.ones_like(lp)), "a plain sum"),
        Mistake("sign", _as_loss(lambda lp: -lp.detach().exp()), "not the step"),
        Mistake("for log π", _for_log_p, "go on to the logits"),
        Mistake("exact KL", _exact, "whatever the estimator"),
        Mistake("values", lambda e, x, ref: e(torch.log_softmax(x, -1), ref), "estimates themselves"),
        Mistake("side effect", _leaves_gradient, "in the caller's logits"),
    ],
    "8.4": [
        Mistake("sign of ρ", lambda p, q: torch.expm1(p - q) - (p - q), "samples of the *reference*"),
        Mistake("k1", lambda p, q: p - q, "k1 alone"),
        Mistake("k2", lambda p, q: (p - q).square() / 2, "this is k2"),
        Mistake("no -1", lambda p, q: (q - p).exp() + p - q, "-1 is missing"),
        Mistake("no ρ", lambda p, q: torch.expm1(q - p), "+ρ is missing"),
        Mistake("ρ subtracted", lambda p, q: torch.expm1(q - p) - (p - q), "ρ is subtracted"),
        Mistake("minus expm1", lambda p, q: (p - q) - torch.expm1(q - p), "makes every term positive"),
        Mistake("cancels", lambda p, q: (q - p).exp() - 1 + (p - q), "cancels"),
        Mistake("mean", lambda p, q: (torch.expm1(q - p) + p - q).mean(), "was wanted"),
    ],
    "8.5": [
        Mistake("always group", _group(lambda r, c, o, w, s, e: c / (o + e)), "gives what scale='group' should"),
        Mistake("always none", _group(lambda r, c, o, w, s, e: c), "gives what scale='none' should"),
        Mistake("always batch", _group(lambda r, c, o, w, s, e: c / (w + e)), "gives what scale='batch' should"),
        Mistake("batch mean", _group(lambda r, c, o, w, s, e: (r - r.mean()) / (w + e)
                if s == "batch" else _scaled(c, o, w, s, e)), "only the spread may"),
        Mistake("no eps", _group(lambda r, c, o, w, s, e: _scaled(c, o, w, s, 0.0)), "eps is ignored"),
        Mistake("biased std", _group(lambda r, c, o, w, s, e: _scaled(c, r.std(-1, keepdim=True, correction=0),
                r.std(correction=0), s, e)), "divides by n;"),
        Mistake("not centred", _group(lambda r, c, o, w, s, e: _scaled(r, o, w, s, e)), "not centred"),
        Mistake("variance", _group(lambda r, c, o, w, s, e: _scaled(c, o**2, w**2, s, e)), "not by its root"),
        Mistake("axis", _group(lambda r, c, o, w, s, e: _scaled(r - r.mean(0), r.std(0), w, s, e)), "run down"),
    ],
    "8.6": [
        Mistake("sign", lambda x, a, lo=0.2, hi=0.2: torch.minimum(x.exp() * a, x.exp().clamp(1 - lo, 1 + hi) * a),
                "sign flipped"),
        Mistake("always", lambda x, a, lo=0.2, hi=0.2: -x.exp().clamp(1 - lo, 1 + hi) * a, "always clipped"),
        Mistake("never", lambda x, a, lo=0.2, hi=0.2: -x.exp() * a, "never clipped"),
        Mistake("maximum", lambda x, a, lo=0.2, hi=0.2:
                -torch.maximum(x.exp() * a, x.exp().clamp(1 - lo, 1 + hi) * a), "pessimistic"),
        Mistake("no exp", lambda x, a, lo=0.2, hi=0.2: -torch.minimum(x * a, x.clamp(1 - lo, 1 + hi) * a),
                "exponentiate first"),
        Mistake("min of ratios", lambda x, a, lo=0.2, hi=0.2:
                -torch.minimum(x.exp(), x.exp().clamp(1 - lo, 1 + hi)) * a, "before the advantage"),
        Mistake("exchanged", lambda x, a, lo=0.2, hi=0.2:
                -torch.minimum(x.exp() * a, x.exp().clamp(1 - hi, 1 + lo) * a), "are exchanged"),
        Mistake("one side", lambda x, a, lo=0.2, hi=0.2:
                -torch.minimum(x.exp() * a, x.exp().clamp(1 - lo, 1 + lo) * a), "`high` is ignored"),
        Mistake("mean", lambda x, a, lo=0.2, hi=0.2:
                -torch.minimum(x.exp() * a, x.exp().clamp(1 - lo, 1 + hi) * a).mean(), "was wanted"),
    ],
    "8.7": [
        Mistake("product", _cov(lambda a, x, m, v: a * x * m), "means are missing"),
        Mistake("padding in means", _cov(lambda a, x, m, v: (a - a.mean()) * (x - x.mean()) * m), "run over padding"),
        Mistake("not masked", _cov(lambda a, x, m, v: (a - _means(a, m)) * (x - _means(x, m))), "keep a covariance"),
        Mistake("mean of replies", _cov(lambda a, x, m, v: (a - v.mean()) * (x - _means(x, m)) * m), "that of replies"),
        Mistake("probability", _cov(lambda a, x, m, v: (a - _means(a, m)) * (x.exp() - _means(x.exp(), m)) * m),
                "takes its logarithm"),
        Mistake("sign", _cov(lambda a, x, m, v: (_means(a, m) - a) * (x - _means(x, m)) * m), "sign flipped"),
        Mistake("half centred", _cov(lambda a, x, m, v: (a - _means(a, m)) * x * m), "centre log π"),
        Mistake("averaged", _cov(lambda a, x, m, v:
                _means((a - _means(a, m)) * (x - _means(x, m)), m).expand_as(x)), "each token's own"),
        Mistake("gradient", lambda p, v, m: (v[:, None] - _means(v[:, None].expand_as(p), m))
                * (p - _means(p, m)) * m, "carries a gradient"),
    ],
    "8.8": [
        Mistake("padding", _pick(lambda c, m: c), "behind the end"),
        Mistake("smallest", _pick(lambda c, m: (-c).masked_fill(~m, -torch.inf)), "smallest covariances"),
        Mistake("absolute", _pick(lambda c, m: _hidden(c.abs(), m)), "absolute value"),
        Mistake("all positive", lambda c, m, share=2e-3: Selection(m & (c > 0), int((m & (c > 0)).sum()),
                int(m.sum())), "all positive"),
        Mistake("by rows", _by_rows, "row by row"),
        Mistake("share of places", _pick(_hidden, lambda m, s: max(1, round(s * m.numel()))), "padding is not a token"),
        Mistake("per cent", _pick(_hidden, lambda m, s: max(1, round(s / 100 * int(m.sum())))), "tokens are chosen"),
        Mistake("cut off", _pick(_hidden, lambda m, s: max(1, int(s * int(m.sum())))), "rounded down"),
        Mistake("rounded up", _pick(_hidden, lambda m, s: math.ceil(s * int(m.sum()))), "rounded up"),
        Mistake("count", _pick(_hidden, count=0), "report them"),
        Mistake("none", _pick(_hidden, lambda m, s: round(s * int(m.sum()))), "no token at all"),
        Mistake("no Selection", lambda c, m, share=2e-3: _top(_hidden(c, m), m, 3), "return Selection"),
    ],
}
