"""Estimators of KL(policy ‖ reference) from samples of the policy: pure functions on tensors.

With y drawn from the policy and rho = log π(y) - log π_ref(y):

    k1 = rho                    unbiased; high variance, can be negative
    k2 = rho² / 2               biased; never negative
    k3 = exp(-rho) - 1 + rho    unbiased; never negative, low variance near the reference

What they are worth *as a loss*, differentiated through log π without a score-function term, is
another matter: the mean gradient of k1 is zero, that of k2 is the gradient of KL(π ‖ ref), that
of k3 is the gradient of the *forward* KL(ref ‖ π). `tests/rewards/test_kl.py` shows all three
on a categorical policy where every expectation is a finite sum.

Source: Schulman 2020, Approximating KL divergence; gradients: derived and tested here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["ESTIMATORS", "exact_kl", "gradient_as_loss", "k1", "k2", "k3"]


def k1(log_p: Tensor, log_ref: Tensor) -> Tensor:
    """log π - log π_ref of samples y ~ π, in nats; any shape. Use it inside the reward."""
    return log_p - log_ref


def k2(log_p: Tensor, log_ref: Tensor) -> Tensor:
    """Half the squared log-ratio. Biased as a value, but its gradient is that of KL(π ‖ ref)."""
    return (log_p - log_ref).square() / 2


def k3(log_p: Tensor, log_ref: Tensor) -> Tensor:
    """exp(-rho) - 1 + rho, written with expm1: near rho = 0 the plain form cancels to noise."""
    rho = log_p - log_ref
    return torch.expm1(-rho) + rho


def exact_kl(log_p: Tensor, log_ref: Tensor) -> Tensor:
    """KL(p ‖ ref) = Σ p (log p - log ref) over the last axis, in nats.

    Args:
        log_p: log-probabilities that sum to one in probability, (..., n).
        log_ref: the same for the reference.

    Returns:
        (...). Outcomes with p = 0 add nothing; p > 0 where ref = 0 gives infinity.
    """
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p - log_ref), torch.zeros_like(p)).sum(dim=-1)


def gradient_as_loss(estimator: Callable[[Tensor, Tensor], Tensor], logits: Tensor, log_ref: Tensor) -> Tensor:
    """Mean gradient of an estimator used *as a loss*: what a trainer would follow on average.

    Replies are drawn from π, and only then is the estimate of the drawn ones differentiated:

        Σ_y π(y) · ∇ estimate(log π(y), log π_ref(y)),     π(y) a number here, not differentiated

    For k1 that is Σ π ∇ log π = ∇ Σ π = ∇ 1 = 0, whatever the reference says.

    Args:
        estimator: k1, k2, k3 or another function of log π and log π_ref, element by element.
        logits: of π, (n,); copied, so that no gradient is left behind.
        log_ref: log-probabilities of the reference, (n,).

    Returns:
        Gradient for the logits, (n,).
    """
    logits = logits.detach().clone().requires_grad_()
    log_p = torch.log_softmax(logits, dim=-1)
    drawn_how_often = log_p.detach().exp()
    loss = (drawn_how_often * estimator(log_p, log_ref)).sum()
    return torch.autograd.grad(loss, logits)[0]


ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}
