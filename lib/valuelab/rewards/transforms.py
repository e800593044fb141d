"""Transforms and combinations of rewards: pure functions on tensors.

A reward model learns r(x, y) from comparisons. Before an optimiser sees it, r can be turned into
a utility u(r), and several utilities into one. Everything here is a few lines of torch: no model,
no file, no global state. NaN goes in and comes out (`rewards.reference.check_rewards` refuses it
one layer up).

Shapes: one reward is (..., replies), usually (prompts, replies). Several rewards are a list of k
such tensors or one tensor (k, ..., replies): the first axis always counts the properties.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Terms = Sequence[Tensor] | Tensor

__all__ = [
    "all_of",
    "any_of",
    "centre",
    "cvar",
    "explicit_value",
    "exponential_utility",
    "inada_utility",
    "log_sigmoid_centered",
    "stack_terms",
    "standardise",
    "value_weighted",
    "value_weighted_accuracy",
    "weighted_all_of",
    "weighted_sum",
    "worst_case",
]


def log_sigmoid_centered(r: Tensor, r_ref: Tensor | float) -> Tensor:
    """Log-probability that a reply is good: that it beats the reference reward.

    Under Bradley-Terry a reply with reward r beats one with reward r_ref with probability
    sigmoid(r - r_ref). Its logarithm is the utility whose KL-regularised optimum is
    base(y|x) · p(good|x, y)^strength:

        u = log sigmoid(r - r_ref) = -softplus(r_ref - r),      du/dr = sigmoid(r_ref - r)

    so gains below the reference count fully, and gains far above it hardly at all.

    Args:
        r: rewards in logits, (..., replies).
        r_ref: reference reward from the same reward model: a number, or a tensor with as many
            axes as `r`, e.g. (prompts, 1).

    Returns:
        Log-probabilities (at most 0), shape of `r`.

    Raises:
        ValueError: `r_ref` is neither a number nor a tensor with as many axes as `r`.

    Source: Wang et al., Transforming and Combining Rewards, arXiv 2402.00742.
    """
    r_ref = torch.as_tensor(r_ref, dtype=r.dtype, device=r.device)
    if r_ref.ndim not in (0, r.ndim):  # (prompts,) would run along the replies without a word
        raise ValueError(
            f"log_sigmoid_centered: r has shape {tuple(r.shape)} but r_ref {tuple(r_ref.shape)}. "
            "Give one reference per prompt as a column, e.g. r_ref[:, None] of shape (prompts, 1)."
        )
    return F.logsigmoid(r - r_ref)


def exponential_utility(r: Tensor, rate: float, r_ref: Tensor | float = 0.0) -> Tensor:
    """Utility with constant aversion to risk: u = (1 - exp(-rate · (r - r_ref))) / rate.

    Bounded above by 1 / rate, falling exponentially below the reference; rate -> 0 is linear.

    Args:
        r: rewards, any shape.
        rate: aversion to risk per unit of reward, at least 0.
        r_ref: where u is 0 with slope 1: a number, or a tensor with as many axes as `r`, e.g. (prompts, 1).

    Raises:
        ValueError: `rate` is negative (the utility would love risk), or `r_ref` is neither a number nor
            a tensor with as many axes as `r`.

    Source: Arrow-Pratt constant absolute risk aversion.
    """
    if rate < 0:
        raise ValueError(f"exponential_utility: rate={rate} must be at least 0, e.g. 0.5.")
    r_ref = torch.as_tensor(r_ref, dtype=r.dtype, device=r.device)
    if r_ref.ndim not in (0, r.ndim):  # (prompts,) would run along the replies without a word
        raise ValueError(
            f"exponential_utility: r has shape {tuple(r.shape)} but r_ref {tuple(r_ref.shape)}. "
            "Give one reference per prompt as a column, e.g. r_ref[:, None] of shape (prompts, 1)."
        )
    x = r - r_ref
    return x if rate == 0 else -torch.expm1(-rate * x) / rate


def inada_utility(
    r: Tensor, threshold: Tensor | float, gamma: float = 1.0, beta: float = 2.0
) -> Tensor:
    """Inada-style utility: steep below a threshold, flattening without end above it.

        x = r - threshold
        u = ((1 + x)^(1 - gamma) - 1) / (1 - gamma)   for x >= 0   (log(1 + x) at gamma = 1)
        u = beta · x                                  for x < 0

    The slope falls from 1 to 0 above the threshold. Inada asks for an infinite slope at the
    bottom; rewards have no bottom, so it is `beta` here. This follows the idea of the paper
    (threshold, constant relative risk aversion above), not its constants.

    Args:
        r: rewards, any shape.
        threshold: the reward at which u is 0.
        gamma: relative risk aversion, at least 0 (0 is linear above).
        beta: slope below the threshold, at least 1 so that u stays concave.

    Raises:
        ValueError: `gamma` or `beta` is out of range.

    Source: idea of Maura-Rivero et al., arXiv 2501.06248.
    """
    if gamma < 0 or beta < 1:
        raise ValueError(
            f"inada_utility: gamma={gamma}, beta={beta}; concave only for gamma >= 0, beta >= 1."
        )
    x = r - threshold
    log_above = torch.log1p(x.clamp(min=0))
    above = log_above if gamma == 1 else torch.expm1((1 - gamma) * log_above) / (1 - gamma)
    return torch.where(x >= 0, above, beta * x)


def all_of(log_p: Terms) -> Tensor:
    """Log-probability that a reply is good in every respect (AND): the sum of the terms.

    If the properties are independent given the reply, p(all good) = Π p_i, hence

        u = Σ_i log p_i

    Args:
        log_p: k log-probabilities such as `log_sigmoid_centered` gives, (k, ...) or a list.

    Returns:
        Log-probabilities, shape of one term; never above the smallest term.

    Raises:
        ValueError: a term is positive (a raw reward, no log-probability), shapes differ, or none.

    Source: arXiv 2402.00742, section on combining rewards.
    """
    terms = stack_terms(log_p, "all_of")
    if (terms > 0).any():
        raise ValueError(
            f"all_of: found {terms.max():.3g}, but log-probabilities are at most 0. Pass "
            "log_sigmoid_centered(r, r_ref), not the raw reward r."
        )
    return terms.sum(dim=0)


def any_of(log_p: Terms) -> Tensor:
    """Log-probability that a reply is good in at least one respect (OR).

    u = log(1 - Π(1 - p_i)), folded term by term as log(p + q(1 - p)), which neither
    underflows for hopeless replies nor cancels for excellent ones.

    Args:
        log_p: k log-probabilities, (k, ...) or a list; independent given the reply.

    Returns:
        Log-probabilities, shape of one term; never below the largest term.

    Raises:
        ValueError: a term is positive, shapes differ, or there is none.
    """
    terms = _log_probabilities(log_p, "any_of")
    total = terms[0]
    for term in terms[1:]:
        total = torch.logaddexp(total, term + _log1mexp(total))
    return total.clamp(max=0)


def weighted_all_of(log_p: Terms, weights: Sequence[float] | Tensor) -> Tensor:
    """AND with importances: Σ w_i log p_i, the logarithm of Π p_i^w_i.

    A weight 2 asks for the property twice (two independent judges who must both be content);
    weight 0 drops it. To make a property count only until it is good enough, move its
    reference reward instead.

    Raises:
        ValueError: a weight is negative, their number differs from the terms, or a term is > 0.
    """
    terms = _log_probabilities(log_p, "weighted_all_of")
    w = _weights(weights, terms, "weighted_all_of")
    if (w < 0).any():
        raise ValueError(
            f"weighted_all_of: negative weight in {w.tolist()}. A property wanted less gets a "
            "smaller weight; a property to avoid needs its own reward model."
        )
    return torch.tensordot(w, terms, dims=1)


def weighted_sum(rewards: Terms, weights: Sequence[float] | Tensor) -> Tensor:
    """The usual baseline: Σ w_i r_i of raw rewards, (k, ...) to (...).

    One very good property can buy off a bad one: the sum cannot tell (3, 3) from (6, 0).

    Raises:
        ValueError: number of weights and rewards differ, or shapes differ.
    """
    terms = stack_terms(rewards, "weighted_sum")
    return torch.tensordot(_weights(weights, terms, "weighted_sum"), terms, dims=1)


def worst_case(rewards: Terms) -> Tensor:
    """The smallest of the k rewards, (k, ...) to (...): only the weakest property counts.

    Rewards need a common zero and scale: centre each on its reference first.
    """
    return stack_terms(rewards, "worst_case").amin(dim=0)


def cvar(r: Terms, level: float, dim: int = 0) -> Tensor:
    """Conditional value at risk: the mean of the worst `level` share along an axis.

    level = 1 is the mean; level -> 0 is the worst case. A share that ends inside an element
    counts that element in part, so the result is continuous in `level`.

    Args:
        r: rewards, (k, ...) or a list; along dim 0 the properties, else e.g. the prompts.
        level: share of the worst, in (0, 1].
        dim: axis to aggregate.

    Raises:
        ValueError: `level` outside (0, 1].

    Source: Rockafellar and Uryasev 2000.
    """
    if not 0 < level <= 1:
        raise ValueError(f"cvar: level={level} must lie in (0, 1]; 0.1 is the worst tenth.")
    worst_first = stack_terms(r, "cvar").movedim(dim, -1).sort(dim=-1).values
    n = worst_first.shape[-1]
    rank = torch.arange(n, device=worst_first.device, dtype=worst_first.dtype)
    share = (level * n - rank).clamp(0, 1) / (level * n)
    return (worst_first * share).sum(dim=-1)


def explicit_value(score: Tensor, total: Tensor | float) -> Tensor:
    """Human value of a prompt as its share of a total: v = score / total, in [0, 1].

    E.g. the marks of an exam question over the marks of its exam.

    Raises:
        ValueError: a share lies outside [0, 1] or a total is not positive.

    Source: RLEV, arXiv 2510.20187.
    """
    total = torch.as_tensor(total, dtype=score.dtype, device=score.device)
    v = score / total
    if not ((total > 0).all() and (v >= 0).all() and (v <= 1).all()):
        raise ValueError(
            "explicit_value: shares must lie in [0, 1] of a positive total; got scores from "
            f"{score.min():.3g} to {score.max():.3g} for totals from {total.min():.3g}."
        )
    return v


def value_weighted(correct: Tensor, value: Tensor, alpha: float = 10.0) -> Tensor:
    """Reward that says how much a prompt matters: (1 + min(alpha · v, 1)) · 1[correct].

    Args:
        correct: 1 or True where the reply is right, (prompts, replies).
        value: v(x) in [0, 1], broadcastable, e.g. (prompts, 1).
        alpha: how soon a prompt counts double: at v = 1 / alpha.

    Returns:
        Rewards between 0 and 2. Dividing by each prompt's standard deviation cancels the factor
        exactly: see `standardise`.

    Source: RLEV, arXiv 2510.20187 (surrogate form; alpha = 10 quoted from memory).
    """
    value = torch.as_tensor(value)
    return (1 + (alpha * value).clamp(max=1)) * correct.to(value.dtype)


def value_weighted_accuracy(correct: Tensor, value: Tensor) -> Tensor:
    """Share of the value at stake that was earned: Σ v · correct / Σ v (H-Acc of RLEV)."""
    value = torch.as_tensor(value)
    weight = value.expand(correct.shape)
    return (weight * correct.to(value.dtype)).sum() / weight.sum()


def centre(r: Tensor, dim: int = -1) -> Tensor:
    """Subtract the mean along an axis: advantages that keep the size of the reward."""
    return r - r.mean(dim=dim, keepdim=True)


def standardise(r: Tensor, dim: int = -1, eps: float = 1e-4) -> Tensor:
    """Group-scaled advantages, (r - mean) / (std + eps), as GRPO does by default.

    It destroys whatever tells prompts apart: a factor per prompt (explicit value weights)
    cancels, and a prompt whose replies are all fine (log-sigmoid terms between -0.001 and 0)
    gets advantages as large as a prompt where everything is at stake. Constant rewards give
    zeros. Use `centre` to keep what the transform put in.

    Args:
        r: rewards, (..., replies).
        dim: the group: the replies to one prompt.
        eps: added to the standard deviation (n - 1 in the denominator).

    Raises:
        ValueError: only one reply in the group, which has no standard deviation.

    Source: GRPO, arXiv 2402.03300; `scale_rewards="group"` in TRL.
    """
    if r.shape[dim] < 2:
        raise ValueError(
            f"standardise: axis {dim} of shape {tuple(r.shape)} holds one reply, which has no "
            "spread. Sample at least 2 replies per prompt, or standardise over the batch."
        )
    return centre(r, dim) / (r.std(dim=dim, keepdim=True) + eps)


def stack_terms(terms: Terms, name: str = "stack_terms") -> Tensor:
    """(k, ...) tensor from a list of k tensors of one shape; `name` is who complains otherwise."""
    if not isinstance(terms, Tensor):
        terms = [torch.as_tensor(t) for t in terms]
        if len({t.shape for t in terms}) > 1:
            shapes = ", ".join(str(tuple(t.shape)) for t in terms)
            raise ValueError(
                f"{name}: the terms have different shapes: {shapes}. Score the same replies with "
                "every reward model, in the same order."
            )
        terms = torch.stack(terms) if terms else torch.empty(0)
    if terms.ndim == 0 or len(terms) == 0:
        raise ValueError(f"{name}: no terms given. Pass a list of tensors or a (k, ...) tensor.")
    return terms


def _log_probabilities(terms: Terms, name: str) -> Tensor:
    terms = stack_terms(terms, name)
    if (terms > 0).any():
        raise ValueError(
            f"{name}: found {terms.max():.3g}, but log-probabilities are at most 0. Pass "
            "log_sigmoid_centered(r, r_ref), not the raw reward r."
        )
    return terms


def _weights(weights: Sequence[float] | Tensor, terms: Tensor, name: str) -> Tensor:
    w = torch.as_tensor(weights, dtype=terms.dtype, device=terms.device)
    if w.shape != (len(terms),):
        raise ValueError(
            f"{name}: {len(terms)} terms but weights of shape {tuple(w.shape)}; give one each."
        )
    return w


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - e^x) for x <= 0, exact at both ends; x = 0 is held off by the smallest float."""
    x = x.clamp(max=-torch.finfo(x.dtype).tiny)
    near = x > -math.log(2)  # 1 - e^x cancels here, e^x underflows there (Mächler 2012)
    return torch.where(
        near,
        torch.log(-torch.expm1(torch.where(near, x, -torch.ones_like(x)))),
        torch.log1p(-torch.exp(torch.where(near, -torch.ones_like(x), x))),
    )
