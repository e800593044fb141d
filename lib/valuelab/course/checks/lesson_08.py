"""Checks of lesson 08: reinforcement learning from feedback.

Each check tries the shape, then the likely mistakes in order of likelihood, then values on two
seeds against a formula written another way.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from valuelab.course.check import Refused, exercise
from valuelab.course.checks.lesson_07 import as_tensor, diagnose
from valuelab.rlhf import kl, losses

SEEDS = (0, 1)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log_p (5, 4), advantage (5,), mask (5, 4) with replies of different lengths, and the lengths."""
    length = torch.tensor([4, 2, 3, 1, 2]).roll(seed)
    mask = torch.arange(4) < length[:, None]
    return -drawn(5, 4, seed=seed).abs() - 0.1, drawn(5, seed=seed + 10), mask, length.double()


def gradient_of(loss, x: Tensor, what: str) -> Tensor:
    if not (isinstance(loss, Tensor) and loss.ndim == 0):
        shape = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
        raise Refused(f"{what} must be one number to lower, a scalar tensor; yours is {shape}")
    if not loss.requires_grad:
        raise Refused("your loss carries no gradient for log_p: do not detach it")
    found = torch.autograd.grad(loss, x, allow_unused=True)[0]
    if found is None:
        raise Refused("your loss carries no gradient for log_p: do not detach it")
    return found


@exercise("8.1", reference=losses.reinforce_loss)
def reinforce_loss(f: Callable) -> None:
    for seed in SEEDS:
        log_p, a, mask, length = tokens(seed)
        log_p.requires_grad_()
        a.requires_grad_()
        back = f(log_p, a, mask)
        if back is None:
            raise Refused("nothing came back: end with `return`. Wanted the loss, one number")
        got = gradient_of(back, log_p, "the loss")
        each = -a.detach()[:, None] * mask / 5
        diagnose(
            got,
            each,
            [
                (-each, "sign flipped: an optimiser lowers the loss, so it is minus the mean of A · log π"),
                (-a.detach()[:, None].expand(5, 4) / 5, "tokens behind the end of a reply are counted: "
                 "multiply by the mask before summing"),
                (each / length[:, None], "each reply's log-probability is averaged over its tokens. The "
                 "log-probability of a reply is the *sum* of those of its tokens"),
                (each * 5, "summed over the replies: take their mean, or twice the replies give twice the step"),
                (each * 5 / mask.sum(), "divided by the number of tokens; an expectation over replies is a "
                 "mean over replies"),
                (mask / -5.0, "the advantage is missing: every reply is made likelier, good or bad"),
                (each * log_p.detach().masked_fill(~mask, 0).sum(1, keepdim=True).exp(),
                 "this differentiates the probability, not its logarithm: likely replies would count twice, "
                 "once by being drawn and once by their π"),
            ],
            "loss = -mean over replies of A · (sum over tokens of mask · log π).",
        )
        back = f(log_p, a, mask)
        leak = torch.autograd.grad(back, a, allow_unused=True)[0]
        if leak is not None and leak.abs().max() > 0:
            raise Refused(
                "the gradient runs into the advantage: detach it. It is a constant here, even where it was "
                "computed from the policy"
            )


@exercise("8.2", reference=losses.leave_one_out)
def leave_one_out(f: Callable) -> None:
    for seed in SEEDS:
        r = drawn(3, 5, seed=seed) + torch.arange(3)[:, None]
        others = torch.stack([r[:, [j for j in range(5) if j != i]].mean(1) for i in range(5)], 1)
        wanted = r - others
        back = f(r)
        got = as_tensor(back, r, "one advantage for each reply, (prompts, replies)")
        best = torch.stack([r[:, [j for j in range(5) if j != i]].amax(1) for i in range(5)], 1)
        diagnose(
            got,
            wanted,
            [
                (r - r.mean(1, keepdim=True), "the baseline holds the reply itself. Leave it out: the mean of "
                 "the *others*"),
                (others - r, "sign: a reply better than the others has a positive advantage"),
                (others, "this is the baseline alone; subtract it from the reward"),
                (r - (r.sum(1, keepdim=True) - r) / 5, "the others are four, not five: divide by K - 1"),
                (r - r.mean(), "the baseline is the mean of the whole batch: easy prompts would look like good "
                 "replies. Compare replies to the same prompt, dim=-1"),
                (r - (r.sum(0, keepdim=True) - r) / 2, "the sums run down the prompts; the replies to one prompt "
                 "lie along the last axis"),
                (wanted / (r.std(1, keepdim=True) + 1e-4), "divided by the spread of the group: that is GRPO's "
                 "scaling, and it is the next exercise but two"),
                (r - best, "compared with the best of the others; the baseline is their mean"),
            ],
            "A_i = R_i - (sum of the row - R_i) / (K - 1).",
        )
    try:
        f(torch.ones(2, 1))
    except ValueError:
        return
    raise Refused("one reply a prompt slips through: there is no other, so raise ValueError")


@exercise("8.3", reference=kl.gradient_as_loss)
def gradient_as_loss(f: Callable) -> None:
    for seed in SEEDS:
        logits, ref = drawn(6, seed=seed), torch.log_softmax(drawn(6, seed=seed + 5), -1)
        log_p = torch.log_softmax(logits, -1)
        p, rho = log_p.exp(), log_p - ref
        jacobian = torch.eye(6, dtype=torch.float64) - p  # d log p_y / d logits
        slope = {"k1": torch.ones(6).double(), "k2": rho, "k3": 1 - (-rho).exp()}
        wanted = {k: (p * s) @ jacobian for k, s in slope.items()}
        exact = (p * (rho + 1)) @ jacobian  # of KL(π ‖ ref)
        for name in ("k2", "k3", "k1"):
            got = as_tensor(f(kl.ESTIMATORS[name], logits, ref), logits, "a gradient for the logits, (n,)")
            values = kl.ESTIMATORS[name](log_p, ref)
            through = (p * (values + slope[name])) @ jacobian
            diagnose(
                got,
                wanted[name],
                [
                    # k2 comes first: on it only differentiated weights, on k3 only the exact KL is still possible
                    *([(exact, "this is the gradient of the exact KL whatever the estimator; differentiate the "
                        "estimator that was given")] if name == "k3" else []),
                    (through, "the weights π are differentiated, too. A trainer draws replies first and "
                     "differentiates the estimate of what was drawn: detach them"),
                    (slope[name] @ jacobian / 6, "every reply counts alike; the policy draws them as often as π "
                     "says, so weight by π"),
                    (slope[name] @ jacobian, "a plain sum over replies: weight each by how often π draws it"),
                    (-wanted[name], "sign flipped: this is the gradient of the loss, not the step"),
                    (p * slope[name], "this is the derivative for log π; go on to the logits (let autograd do it)"),
                    (values, "these are the estimates themselves; differentiate their mean"),
                ],
                "loss = Σ π.detach() · estimate, then its gradient for the logits.",
            )
        mine = logits.clone().requires_grad_()
        f(kl.k2, mine, ref)
        if mine.grad is not None:
            raise Refused("your function leaves a gradient in the caller's logits: work on a detached copy")


@exercise("8.4", reference=kl.k3)
def k3(f: Callable) -> None:
    for seed in SEEDS:
        log_p, ref = drawn(4, 3, seed=seed), drawn(4, 3, seed=seed + 5)
        rho = log_p - ref
        got = as_tensor(f(log_p, ref), rho, "one estimate for each sample")
        diagnose(
            got,
            (-rho).exp() - 1 + rho,
            [
                (rho.exp() - 1 - rho, "ρ has the wrong sign: this is right for samples of the *reference*. Ours "
                 "are of π, and e^{-ρ} = π_ref / π averages to 1 over them"),
                (rho, "this is k1 alone; e^{-ρ} - 1, whose mean is 0, steadies it"),
                (rho.square() / 2, "this is k2, which is biased"),
                ((-rho).exp() + rho, "the -1 is missing: at ρ = 0 the estimate must be 0"),
                ((-rho).exp() - 1, "+ρ is missing: what is left averages to 0 whatever the KL"),
                ((-rho).exp() - 1 - rho, "ρ is subtracted; it must be added"),
                (rho - (-rho).exp() + 1, "e^{-ρ} - 1 is subtracted; added it makes every term positive"),
            ],
            "e^{-ρ} - 1 + ρ with ρ = log π - log π_ref.",
        )
    near = f(torch.tensor([1e-4]), torch.zeros(1))
    if abs(float(near) - 5e-9) > 1e-10:
        raise Refused(
            f"at ρ = 0.0001 in float32 the estimate is {float(near):.1e} instead of 5.0e-09: exp(-ρ) - 1 cancels. "
            "torch.expm1(-ρ) does not"
        )


@exercise("8.5", reference=losses.group_normalised)
def group_normalised(f: Callable) -> None:
    for seed in SEEDS:
        r = drawn(3, 5, seed=seed) * torch.tensor([0.5, 1, 4])[:, None] + torch.arange(3)[:, None]
        mean = r.sum(1, keepdim=True) / 5
        own = (((r - mean) ** 2).sum(1, keepdim=True) / 4).sqrt()
        whole = (((r - r.sum() / 15) ** 2).sum() / 14).sqrt()
        wanted = {"group": (r - mean) / (own + 0.1), "batch": (r - mean) / (whole + 0.1), "none": r - mean}
        for scale in ("group", "batch", "none"):
            got = as_tensor(f(r, scale, 0.1), r, "one advantage for each reply, (prompts, replies)")
            small = (own.square() * 4 / 5).sqrt()
            diagnose(
                got,
                wanted[scale],
                [
                    *[(w, f"scale={scale!r} gives what scale={other!r} should") for other, w in wanted.items()
                      if other != scale],
                    ((r - r.mean()) / (whole + 0.1), "the mean is that of the batch; it is the group's for every "
                     "scale, only the spread may be the batch's"),
                    (wanted["none"] / own, "eps is ignored: it is added to the standard deviation"),
                    (wanted["none"] / (small + 0.1), "the standard deviation divides by n; torch's default, and "
                     "the trainers', divides by n - 1"),
                    (r / (own + 0.1), "not centred: subtract the mean of the group first"),
                    (wanted["none"] / (own.square() + 0.1), "divided by the variance, not by its root"),
                    ((r - r.mean(0)) / (r.std(0) + 0.1), "the groups run down the prompts: dim=-1"),
                ],
                "(r - mean) / (std + eps), the mean always along the group.",
            )
    if f(torch.full((2, 4), 3.0)).abs().max() > 0:
        raise Refused("equal rewards carry no signal: their advantages must be 0")


@exercise("8.6", reference=losses.clipped_loss)
def clipped_loss(f: Callable) -> None:
    for seed in SEEDS:
        x, a = 0.6 * drawn(40, seed=seed), drawn(40, seed=seed + 5)
        low, high = 0.1, 0.3
        ratio = x.exp()
        kept = torch.where(ratio < 1 - low, 1 - low, torch.where(ratio > 1 + high, 1 + high, ratio))
        stop = ((a > 0) & (ratio > 1 + high)) | ((a < 0) & (ratio < 1 - low))
        wanted = -a * torch.where(stop, kept, ratio)
        got = as_tensor(f(x, a, low, high), x, "one loss for each element")
        other = torch.where(ratio < 1 - high, 1 - high, torch.where(ratio > 1 + low, 1 + low, ratio))
        swapped = -torch.minimum(ratio * a, other * a)
        same = -torch.minimum(ratio * a, ratio.clamp(1 - low, 1 + low) * a)
        diagnose(
            got,
            wanted,
            [
                (-wanted, "sign flipped: this is the objective to raise; a loss is minus that"),
                (-kept * a, "always clipped: where a move *hurts*, the clip hides it, and nothing pulls the policy "
                 "back. Take the minimum with the unclipped product"),
                (-ratio * a, "never clipped: many updates on one batch may run as far as they like"),
                (-torch.maximum(ratio * a, kept * a), "maximum instead of minimum: the clip must be pessimistic"),
                (-torch.minimum(x * a, x.clamp(1 - low, 1 + high) * a), "the log-ratio is used as if it were the "
                 "ratio: exponentiate first"),
                (-torch.minimum(ratio, kept) * a, "the minimum is taken of the ratios, before the advantage: for a "
                 "negative one that is the wrong side"),
                (swapped, "`low` and `high` are exchanged: the ratio may fall to 1 - low and rise to 1 + high"),
                (same, "`high` is ignored: the range is 1 - low to 1 + high"),
            ],
            "-min(ratio · A, clamp(ratio, 1 - low, 1 + high) · A).",
        )


@exercise("8.7", reference=losses.token_covariance)
def token_covariance(f: Callable) -> None:
    for seed in SEEDS:
        log_p, a, mask, _ = tokens(seed)
        wide = a[:, None].expand(5, 4)
        m = mask.double()
        n = m.sum()
        mean_a, mean_l = (wide * m).sum() / n, (log_p * m).sum() / n
        wanted = (wide - mean_a) * (log_p - mean_l) * m
        got = as_tensor(f(log_p.clone().requires_grad_(), a, mask), log_p, "one number for each token, (n, t)")
        if got.requires_grad:
            raise Refused("the covariance carries a gradient: it only picks tokens, so detach log_p")
        rows = a.mean()
        diagnose(
            got,
            wanted,
            [
                (wide * log_p * m, "the means are missing: this is a product, not a covariance"),
                ((wide - wide.mean()) * (log_p - log_p.mean()) * m, "the means run over padding, too: take them "
                 "over the tokens of replies"),
                ((wide - mean_a) * (log_p - mean_l), "tokens behind the end keep a covariance: multiply by the mask"),
                ((wide - rows) * (log_p - mean_l) * m, "the mean advantage is that of replies; long replies have "
                 "more tokens, and the mean is over tokens"),
                ((wide - mean_a) * (log_p.exp() - (log_p.exp() * m).sum() / n) * m, "this is the covariance with "
                 "the probability; it takes its logarithm"),
                (-wanted, "sign flipped: likely and rewarded together is a positive covariance"),
                ((wide - mean_a) * log_p * m, "only the advantage is centred; centre log π as well"),
                ((wanted.sum() / n).expand(5, 4), "this is the mean over all tokens; keep each token's own part"),
            ],
            "(A - mean A) · (log π - mean log π) on the tokens of replies, 0 elsewhere.",
        )


@exercise("8.8", reference=losses.kl_cov)
def kl_cov(f: Callable) -> None:
    for seed, share in zip(SEEDS, (0.1, 0.15), strict=True):  # one is rounded up, the other down
        cov = drawn(6, 10, seed=seed)
        mask = torch.arange(10) < torch.tensor([10, 8, 9, 4, 10, 7])[:, None]
        cov[3, 5:] = 9.0  # nothing was said there
        cov[0, 0] = -8.0  # large, but not positive
        of = int(mask.sum())
        k = round(share * of)
        inside = cov.masked_fill(~mask, -torch.inf)
        limit = inside.flatten().sort(descending=True).values[k - 1]
        wanted = inside >= limit
        back = f(cov, mask, share)
        if back is None or not hasattr(back, "tokens"):
            raise Refused("return Selection(tokens, count, of)")
        got = as_tensor(back.tokens, wanted, "tokens is a mask like the one given, (n, t)")
        if got.dtype != torch.bool:
            raise Refused(f"tokens is {got.dtype}; a selection is a mask of True and False")
        if (got & ~mask).any():
            raise Refused("tokens behind the end of a reply are chosen: fill them with -inf before you rank")
        absolute = cov.abs().masked_fill(~mask, -1)
        by_size = absolute >= absolute.flatten().sort(descending=True).values[k - 1]
        lowest = cov.masked_fill(~mask, torch.inf)
        for wrong, message in (
            (lowest <= lowest.flatten().sort().values[k - 1], "the smallest covariances are chosen: those tokens "
             "*raise* entropy. Take the largest"),
            (by_size, "ranked by absolute value: a large negative covariance gives entropy back"),
            (mask & (cov > 0), "all positive covariances are chosen; only `share` of the tokens is wanted"),
            (_per_row(inside, mask, share), "chosen row by row: a dull reply would have to give up as many tokens as "
             "a decisive one. Rank all tokens together"),
        ):
            if torch.equal(got, wrong) and not torch.equal(wrong, wanted):
                raise Refused(message)
        chosen = int(got.sum())
        if chosen == round(share * cov.numel()) != k:
            raise Refused("the share is taken of all places; padding is not a token, use mask.sum()")
        if chosen != k and chosen in (math.floor(share * of), math.ceil(share * of)):
            raise Refused(
                f"{share:.0%} of {of} tokens are {share * of:.1f}, and you rounded {'down' if chosen < k else 'up'} to "
                f"{chosen}: the nearest whole number is {k}"
            )
        if not torch.equal(got, wanted):
            raise Refused(f"{chosen} tokens are chosen, {k} wanted: the largest {share:.0%} of {of}")
        if (int(back.count), int(back.of)) != (k, of):
            raise Refused(f"count and of are {back.count} and {back.of}; {k} of {of} tokens were wanted: report them")
    one = f(cov, mask, 1e-6)
    if int(one.tokens.sum()) != 1:
        raise Refused("a tiny share chooses no token at all: take at least one")


def _per_row(inside: Tensor, mask: Tensor, share: float) -> Tensor:
    out = torch.zeros_like(mask)
    for i, row in enumerate(inside):
        out[i, row.topk(max(1, round(share * int(mask[i].sum())))).indices] = True
    return out
