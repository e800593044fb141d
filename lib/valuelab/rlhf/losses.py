"""Advantages and losses of policy optimisation: pure functions on tensors, a few lines each.

Shapes. Rewards and advantages of a batch are (prompts, replies): a row is a *group*, the replies to
one prompt. What is known of each token is (n, t) with n = prompts · replies rows in the same order,
and `mask` (n, t) is 1 on the tokens of the reply, its end token included, and 0 behind it. KL and
entropy are in nats. A loss is what an optimiser lowers, a scalar.

NaN goes in and comes out; `rlhf.loop` refuses rewards that are not finite before they get here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from valuelab.rewards.transforms import centre, standardise
from valuelab.rlhf.kl import ESTIMATORS, k1

__all__ = [
    "Selection",
    "clip_cov",
    "clipped_loss",
    "entropy_bonus",
    "gae",
    "group_normalised",
    "group_policy_loss",
    "hl_gauss_targets",
    "hl_gauss_value",
    "kl_cov",
    "kl_cov_loss",
    "kl_in_loss",
    "kl_in_reward",
    "leave_one_out",
    "masked_mean",
    "reinforce_loss",
    "sequence_policy_loss",
    "token_covariance",
    "value_bins",
]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of the entries that count, a scalar; 0 where none does."""
    mask = mask.to(x.dtype)
    return (x * mask).sum() / mask.sum().clamp(min=1)


# ------------------------------------------------------------------------------ advantages


def leave_one_out(rewards: Tensor) -> Tensor:
    """Advantage of each reply over the other replies to its prompt.

        A_i = R_i - mean of R_j over j ≠ i  =  K / (K - 1) · (R_i - mean R)

    The other replies do not depend on reply i, so as a baseline they leave the gradient unbiased;
    the mean of all K does depend on it, and shrinks the gradient by (K - 1) / K.

    Args:
        rewards: (prompts, replies).

    Returns:
        (prompts, replies); each row sums to 0. Equal rewards give exact zeros: nothing is learnt.

    Raises:
        ValueError: fewer than two replies to a prompt.

    Source: RLOO, Kool and others 2019; Ahmadian and others, arXiv 2402.14740.
    """
    k = rewards.shape[-1]
    if k < 2:
        raise ValueError(
            f"leave_one_out: rewards of shape {tuple(rewards.shape)} hold {k} reply a prompt, and there "
            "is no other to compare it with. Sample 2 replies or more."
        )
    others = (rewards.sum(dim=-1, keepdim=True) - rewards) / (k - 1)
    return rewards - others


def group_normalised(rewards: Tensor, scale: str = "group", eps: float = 1e-4) -> Tensor:
    """Advantages as GRPO takes them: minus the mean of the group, over a standard deviation.

        A_i = (R_i - mean R) / (std + eps)

    Args:
        rewards: (prompts, replies).
        scale: whose standard deviation: "group" (each prompt its own, the usual default), "batch"
            (one for all) or "none" (no division).
        eps: added to the standard deviation, which divides by n - 1.

    Returns:
        (prompts, replies). Equal rewards give zeros.

    Raises:
        ValueError: unknown `scale`, or fewer than two replies to a prompt.

    Source: GRPO, arXiv 2402.03300; "none": Dr. GRPO, arXiv 2503.20783.
    """
    if rewards.shape[-1] < 2:
        raise ValueError(
            f"group_normalised: rewards of shape {tuple(rewards.shape)} hold one reply a prompt, which "
            "has no spread. Sample 2 replies or more."
        )
    if scale not in ("group", "batch", "none"):
        raise ValueError(f"group_normalised: scale={scale!r}; choose 'group', 'batch' or 'none'.")
    if scale == "group":
        return standardise(rewards, eps=eps)
    centred = centre(rewards)
    return centred if scale == "none" else centred / (rewards.std() + eps)


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float = 1.0, lam: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates for each token, and the returns a critic should predict.

        δ_t = r_t + γ V_{t+1} - V_t,      A_t = δ_t + γ λ A_{t+1},      return_t = A_t + V_t

    Args:
        rewards: per token, (n, t); usually -β·k1 on each token and the score on the last.
        values: the critic's V before each token, (n, t).
        mask: (n, t); beyond the last token V is 0.
        gamma: discount.
        lam: 1 gives the Monte-Carlo return minus V, 0 one step of bootstrapping.

    Returns:
        advantages and returns, each (n, t), zero outside the mask.

    Source: Schulman and others, arXiv 1506.02438.
    """
    mask = mask.to(rewards.dtype)
    rewards, values = rewards * mask, values * mask
    after = torch.zeros_like(rewards[:, 0])
    found = torch.zeros_like(rewards)
    for t in reversed(range(rewards.shape[1])):
        following = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(after)
        after = rewards[:, t] + gamma * following - values[:, t] + gamma * lam * after
        found[:, t] = after
    return found * mask, (found + values) * mask


# ---------------------------------------------------------------------------------- losses


def reinforce_loss(log_p: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """REINFORCE: a loss whose gradient is minus the gradient of the expected reward.

        ∇ E[R] = E[(R - b) ∇ log π(y|x)],      loss = -mean_i A_i Σ_t log π(y_it)

    The loss's *value* means nothing; only its gradient does. The advantage is a constant to it.

    Args:
        log_p: log-probability of each sampled token, (n, t), with gradient.
        advantage: reward minus a baseline that does not depend on the reply, (n,).
        mask: (n, t).

    Source: Williams 1992.
    """
    of_reply = (log_p * mask).sum(dim=1)  # log π of the whole reply, (n,)
    return -(advantage.detach() * of_reply).mean()


def clipped_loss(log_ratio: Tensor, advantage: Tensor, low: float = 0.2, high: float = 0.2) -> Tensor:
    """PPO's surrogate, element by element: no reward for moving further than the clip allows.

        ratio = exp(log π - log π_old),      loss = -min(ratio · A, clip(ratio, 1 - low, 1 + high) · A)

    min() makes it pessimistic: a clipped gain earns nothing more, while a loss is never cut short.

    Args:
        log_ratio: log π - log π_old, of tokens or of whole replies, any shape.
        advantage: broadcast against `log_ratio`.
        low: how far below 1 the ratio may go at a profit.
        high: how far above 1.

    Returns:
        Losses, shape of `log_ratio` broadcast with `advantage`.

    Source: PPO, arXiv 1707.06347; two sides: DAPO, arXiv 2503.14476.
    """
    ratio = log_ratio.exp()
    kept = ratio.clamp(1 - low, 1 + high)
    return -torch.minimum(ratio * advantage, kept * advantage)


def sequence_policy_loss(
    log_p: Tensor, log_old: Tensor, advantage: Tensor, mask: Tensor, low: float = 0.2, high: float = 0.2
) -> Tensor:
    """RLOO's loss: the reply is one action, its ratio that of the whole sequence. A scalar.

    log_p, log_old, mask: (n, t); advantage: (n,). Equals TRL's RLOOTrainer on the same batch.
    """
    log_ratio = ((log_p - log_old) * mask).sum(dim=1)
    return clipped_loss(log_ratio, advantage, low, high).mean()


def group_policy_loss(
    log_p: Tensor,
    log_old: Tensor,
    advantage: Tensor,
    mask: Tensor,
    low: float = 0.2,
    high: float = 0.2,
    average: str = "token",
    penalty: Tensor | None = None,
) -> Tensor:
    """GRPO's loss: every token is an action and carries its reply's advantage. A scalar.

    Args:
        log_p, log_old, mask: (n, t).
        advantage: (n,) of replies or (n, t) of tokens.
        average: "token": all tokens of the batch count alike (DAPO, TRL's default); "reply": the mean
            over the tokens of each reply first (the paper, which favours long bad replies and short
            good ones); "constant": the sum over n · t, whatever the lengths (Dr. GRPO; t is then the
            longest reply allowed).
        penalty: added to each token's loss before averaging, (n, t), e.g. `kl_in_loss`.

    Raises:
        ValueError: unknown `average`.

    Source: arXiv 2402.03300, 2503.14476, 2503.20783; equals TRL's GRPOTrainer on the same batch.
    """
    advantage = advantage[:, None] if advantage.ndim == 1 else advantage
    losses = clipped_loss(log_p - log_old, advantage, low, high)
    losses = losses if penalty is None else losses + penalty
    counts = mask.to(losses.dtype)
    if average == "token":
        return masked_mean(losses, mask)
    if average == "reply":
        return ((losses * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)).mean()
    if average == "constant":
        return (losses * counts).sum() / counts.numel()
    raise ValueError(f"group_policy_loss: average={average!r}; choose 'token', 'reply' or 'constant'.")


def kl_in_reward(rewards: Tensor, log_old: Tensor, log_ref: Tensor, mask: Tensor, beta: float) -> Tensor:
    """Rewards minus β times each reply's k1, with no gradient: the KL is part of what is earned.

        R_i = r_i - β Σ_t (log π_old(y_it) - log π_ref(y_it))

    Placed here, the score function multiplies it, and the mean gradient is that of -β·KL(π ‖ ref).

    Args:
        rewards: (n,).
        log_old, log_ref, mask: (n, t).
        beta: at least 0.

    Raises:
        ValueError: beta is negative.
    """
    if beta < 0:
        raise ValueError(f"kl_in_reward: beta={beta} would pay for distance; use 0 or more.")
    return rewards - beta * (k1(log_old, log_ref) * mask).sum(dim=1).detach()


def kl_in_loss(
    log_p: Tensor, log_ref: Tensor, beta: float, estimator: str = "k3", log_old: Tensor | None = None
) -> Tensor:
    """β times a KL estimate of each token, (n, t), differentiated through log π: GRPO's way.

    As such k1 does nothing on average, k2 pulls towards KL(π ‖ ref), k3 towards KL(ref ‖ π): see
    `kl.gradient_as_loss`. With `log_old` the estimate is multiplied by π / π_old, which puts the
    missing score function back: then k1 and k3 have the gradient of KL(π ‖ ref), token by token.

    Args:
        log_p, log_ref: (n, t).
        beta: weight.
        estimator: "k1", "k2" or "k3".
        log_old: log-probabilities at sampling, (n, t), or None. TRL's `use_bias_correction_kl`.

    Raises:
        ValueError: unknown estimator.
    """
    if estimator not in ESTIMATORS:
        raise ValueError(f"kl_in_loss: estimator={estimator!r}; choose {', '.join(ESTIMATORS)}.")
    ratio = 1.0 if log_old is None else (log_p - log_old).exp()
    return beta * ratio * ESTIMATORS[estimator](log_p, log_ref)


def entropy_bonus(entropy: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    """What to add to a loss so that entropy pays: -coefficient · mean entropy of the tokens."""
    return -coefficient * masked_mean(entropy, mask)


# ----------------------------------------------------------- entropy: which tokens cost it


class Selection(NamedTuple):
    """Tokens picked out: `tokens` (n, t) bool, `count` how many, `of` out of how many."""

    tokens: Tensor
    count: int
    of: int


def token_covariance(log_p: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """Each token's part in the covariance of log-probability and advantage.

        Cov_i = (A_i - mean A) · (log π_i - mean log π),     means over the tokens of replies

    A token that is likely already and rewarded has a large one; making it likelier still costs
    entropy. After a natural-gradient step of size η, ΔH ≈ -η · mean Cov to first order; after a plain
    gradient step the advantage carries a factor π.

    Args:
        log_p, mask: (n, t).
        advantage: (n,) of replies or (n, t) of tokens.

    Returns:
        (n, t), zero outside the mask, without gradient.

    Source: Cui and others, arXiv 2505.22617.
    """
    advantage = (advantage[:, None] if advantage.ndim == 1 else advantage).expand_as(log_p).detach()
    log_p = log_p.detach()
    product = (advantage - masked_mean(advantage, mask)) * (log_p - masked_mean(log_p, mask))
    return product * mask


def clip_cov(
    covariance: Tensor, mask: Tensor, share: float = 2e-4, low: float = 1.0, high: float = 5.0,
    generator: torch.Generator | None = None,
) -> Selection:
    """Clip-Cov: random tokens among those with low < Cov < high; their loss is to be left out.

    Args:
        covariance, mask: (n, t), as `token_covariance` gives them.
        share: of all tokens of replies, at least one token; never more than lie in the band.
        low, high: the band. The paper's 1 to 5 is for large vocabularies; a small model may have no
            token there (count 0): take quantiles of its own covariances instead.
        generator: for the draw.

    Source: arXiv 2505.22617.
    """
    of = int(mask.sum())
    inside = ((covariance > low) & (covariance < high) & mask.bool()).flatten().nonzero()[:, 0]
    k = min(len(inside), max(1, round(share * of)))
    order = torch.randperm(len(inside), generator=generator)[:k].to(inside.device)
    tokens = torch.zeros_like(covariance, dtype=torch.bool).flatten()
    tokens[inside[order]] = True
    return Selection(tokens.view_as(covariance), k, of)


def kl_cov(covariance: Tensor, mask: Tensor, share: float = 2e-3) -> Selection:
    """KL-Cov: the tokens with the largest covariances; their change is to be penalised.

    Args:
        covariance, mask: (n, t), as `token_covariance` gives them.
        share: of all tokens of replies, rounded to the nearest whole number, at least one token.
            (Published settings say it in per cent: 0.2 is 2e-3.)

    Raises:
        ValueError: share is outside (0, 1].

    Source: arXiv 2505.22617.
    """
    if not 0 < share <= 1:
        raise ValueError(f"kl_cov: share={share} must lie in (0, 1]; 0.002 picks one token in 500.")
    of = int(mask.sum())
    k = min(of, max(1, round(share * of)))
    ranked = covariance.masked_fill(~mask.bool(), -torch.inf).flatten().topk(k).indices
    tokens = torch.zeros_like(covariance, dtype=torch.bool).flatten()
    tokens[ranked] = True
    return Selection(tokens.view_as(covariance), k, of)


def kl_cov_loss(
    log_p: Tensor, log_old: Tensor, advantage: Tensor, mask: Tensor, chosen: Tensor, coefficient: float = 1.0
) -> Tensor:
    """Policy loss without a clip, plus |log π - log π_old| on the chosen tokens. A scalar.

    On the first step after sampling π = π_old, and the penalty has neither value nor gradient: it
    needs several updates for each batch of replies.

    log_p, log_old, mask, chosen: (n, t); advantage: (n,) or (n, t).

    Source: arXiv 2505.22617.
    """
    advantage = advantage[:, None] if advantage.ndim == 1 else advantage
    change = log_p - log_old
    losses = -change.exp() * advantage + coefficient * change.abs() * chosen
    return masked_mean(losses, mask)


# ------------------------------------------------------------------- a critic by classes


def value_bins(low: float, high: float, bins: int) -> Tensor:
    """Edges of `bins` equal bins from `low` to `high`, (bins + 1,). Cover the returns and 3 σ more.

    Raises:
        ValueError: no bins, or high is not above low.
    """
    if bins < 2 or not high > low:
        raise ValueError(f"value_bins: low={low}, high={high}, bins={bins}; need high > low and 2 bins.")
    return torch.linspace(low, high, bins + 1)


def hl_gauss_targets(values: Tensor, edges: Tensor, sigma: float | None = None) -> Tensor:
    """A number as a histogram: the share of a bell curve around it that falls into each bin.

        p_i = Φ((b_{i+1} - y) / σ) - Φ((b_i - y) / σ),     divided by their sum

    Args:
        values: returns y, (...); those outside the edges count as the nearest edge.
        edges: ascending, (bins + 1,).
        sigma: width of the curve; None takes 0.75 of a bin.

    Returns:
        (..., bins), each summing to 1: targets for a cross-entropy.

    Source: Farebrother and others, arXiv 2403.03950.
    """
    sigma = 0.75 * float(edges[1] - edges[0]) if sigma is None else sigma
    y = values.clamp(float(edges[0]), float(edges[-1]))
    below = torch.special.ndtr((edges.to(y) - y[..., None]) / sigma)
    p = below.diff(dim=-1)
    return p / p.sum(dim=-1, keepdim=True)


def hl_gauss_value(logits: Tensor, edges: Tensor) -> Tensor:
    """The number that a histogram stands for: Σ p_i · centre_i, (..., bins) to (...)."""
    centres = (edges[1:] + edges[:-1]).to(logits) / 2
    return F.softmax(logits, dim=-1) @ centres
