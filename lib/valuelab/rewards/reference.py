"""Reference rewards: what "good" is measured against, per prompt, cached, predicted for new ones.

A Bradley-Terry reward is only defined up to a function of the prompt, so the reference must come
from the same reward model, prompt by prompt. Three choices: a quantile of the rewards of sampled
replies (default 0.85 of 64), their mean, or the reward of one canned reply ("I cannot answer
that"). Draw the samples once from the model *before* training and freeze them: a reference taken
from training rollouts rises with the policy and the goal runs away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

__all__ = [
    "QuantileModel",
    "ReferenceRewards",
    "check_rewards",
    "fit_quantile_model",
    "pinball_loss",
    "reference_reward",
]

MIN_SAMPLES = 16  # fewer leave the 0.85 quantile to two or three replies


def check_rewards(rewards: Tensor, *, where: str = "rewards") -> Tensor:
    """Refuse rewards that no transform can repair; return them unchanged.

    Args:
        rewards: (prompts, replies).
        where: name used in the message.

    Raises:
        ValueError: not 2-D, empty, or NaN or infinite anywhere (the first place is named).
    """
    if rewards.ndim != 2 or rewards.numel() == 0:
        raise ValueError(
            f"{where}: expected (prompts, replies), got shape {tuple(rewards.shape)}. "
            "Reshape to one row per prompt."
        )
    bad = ~torch.isfinite(rewards)
    if bad.any():
        prompt, reply = bad.nonzero()[0].tolist()
        raise ValueError(
            f"{where}: {int(bad.sum())} rewards are not finite, first at prompt {prompt}, reply "
            f"{reply} ({rewards[prompt, reply]}). Drop these replies or mend the scorer."
        )
    return rewards


def reference_reward(rewards: Tensor, how: str = "quantile", q: float = 0.85) -> Tensor:
    """Reference reward of each prompt from the rewards of sampled replies.

    Args:
        rewards: (prompts, samples) from the model before training, same reward model.
        how: "quantile" or "mean". (A canned reply needs no samples: its reward is the reference.)
        q: quantile, strictly between 0 and 1. Towards 1 the transform turns linear (the raw
            reward); low quantiles saturate early.

    Returns:
        (prompts,).

    Raises:
        ValueError: unknown `how`, `q` outside (0, 1), fewer than 2 samples, non-finite rewards.

    Source: the reference of arXiv 2402.00742; 0.85 is the default of this course.
    """
    check_rewards(rewards, where="reference_reward")
    if rewards.shape[1] < 2:
        raise ValueError(
            "reference_reward: one sample per prompt says nothing about the others. Sample 16 "
            "replies per prompt or more, or use the reward of a canned reply."
        )
    if how == "mean":
        return rewards.mean(dim=1)
    if how != "quantile":
        raise ValueError(f"reference_reward: how={how!r}; choose 'quantile' or 'mean'.")
    if not 0 < q < 1:
        raise ValueError(f"reference_reward: q={q} must lie strictly between 0 and 1, e.g. 0.85.")
    return torch.quantile(rewards, q, dim=1)


def pinball_loss(residual: Tensor, q: float) -> Tensor:
    """Loss whose minimiser is the q-quantile: q · e for e > 0, (q - 1) · e for e < 0; e = y - fit.

    Source: Koenker and Bassett 1978.
    """
    return torch.maximum(q * residual, (q - 1) * residual)


@dataclass(frozen=True)
class QuantileModel:
    """Linear quantile regression: r_ref(x) = features(x) · weight + bias."""

    weight: Tensor  # (d,)
    bias: float
    q: float

    def __call__(self, features: Tensor) -> Tensor:
        """Predicted reference, (prompts,), from features (prompts, d)."""
        if features.shape[-1:] != self.weight.shape:
            raise ValueError(
                f"QuantileModel: features have width {features.shape[-1]}, the model was fitted "
                f"on {len(self.weight)}. Read them from the same layer of the same model."
            )
        return features.to(self.weight) @ self.weight + self.bias


def fit_quantile_model(
    features: Tensor, rewards: Tensor, q: float = 0.85, ridge: float = 1e-3
) -> QuantileModel:
    """Pinball regression of reference rewards on prompt features, for prompts without samples.

    Every sampled reward is one observation, so prompts need not have been reduced first:
    min over (w, b) of mean pinball_q(r_xj - w·φ(x) - b) + ridge · |w|². The kink is rounded by
    a softplus whose width shrinks to a thousandth of the spread (L-BFGS, warm started).

    Args:
        features: (prompts, d), e.g. the last hidden state of the prompt.
        rewards: (prompts, samples).
        q: the quantile wanted.
        ridge: penalty on the weights of standardised features.

    Raises:
        ValueError: numbers of prompts differ, or rewards are not finite.
    """
    check_rewards(rewards, where="fit_quantile_model")
    if features.ndim != 2 or len(features) != len(rewards):
        raise ValueError(
            f"fit_quantile_model: features {tuple(features.shape)} and rewards "
            f"{tuple(rewards.shape)} must have one row per prompt each."
        )
    x = features.double().numpy(force=True)
    y = rewards.double().numpy(force=True)
    mean, scale = x.mean(0), x.std(0) + 1e-8
    design = np.column_stack([(x - mean) / scale, np.ones(len(x))])
    theta = np.append(np.zeros(x.shape[1]), np.quantile(y, q))
    spread = max(float(y.std()), 1e-8)
    for width in (0.3, 0.1, 0.03, 0.01, 0.003, 0.001):
        args = (design, y, q, width * spread, ridge)
        theta = minimize(_smooth_pinball, theta, args=args, jac=True, method="L-BFGS-B").x
    weight = theta[:-1] / scale
    return QuantileModel(torch.from_numpy(weight), float(theta[-1] - weight @ mean), q)


def _smooth_pinball(theta, design, y, q, width, ridge):
    residual = y - (design @ theta)[:, None]
    z = -residual / width
    loss = (q * residual + width * np.logaddexp(0, z)).mean()
    slope = q - np.exp(-np.logaddexp(0, -z))  # q - sigmoid(z): d loss / d residual
    gradient = -design.T @ slope.mean(axis=1) / len(design)
    penalty = np.append(theta[:-1], 0.0)
    return loss + ridge * penalty @ penalty, gradient + 2 * ridge * penalty


@dataclass
class ReferenceRewards:
    """Reference rewards by prompt, saved as JSON; prompts without one are predicted or refused.

    Attributes:
        table: prompt -> reference reward.
        how: "quantile", "mean" or "canned", for the record.
        q: the quantile, where one was used.
        model: optional prediction for prompts outside the table.
    """

    table: dict[str, float] = field(default_factory=dict)
    how: str = "quantile"
    q: float = 0.85
    model: QuantileModel | None = None

    @classmethod
    def from_samples(
        cls,
        prompts: Sequence[str],
        rewards: Tensor,
        how: str = "quantile",
        q: float = 0.85,
        features: Tensor | None = None,
    ) -> ReferenceRewards:
        """Cache from (prompts, samples) rewards; with `features` also fit the prediction.

        Raises:
            ValueError: numbers of prompts differ, fewer samples than 16 for a quantile, or `features`
                with how="mean": what is predicted from them is a quantile.
        """
        if len(prompts) != len(rewards):
            raise ValueError(
                f"ReferenceRewards: {len(prompts)} prompts but {len(rewards)} rows of rewards."
            )
        if how == "quantile" and rewards.shape[-1] < MIN_SAMPLES:
            raise ValueError(
                f"ReferenceRewards: {rewards.shape[-1]} samples per prompt are too few for a "
                f"quantile. Sample {MIN_SAMPLES} or more (64 by default), or use how='mean'."
            )
        values = reference_reward(rewards, how, q)
        if features is not None and how != "quantile":
            raise ValueError(
                f"ReferenceRewards: what features predict is a quantile, and the samples' references are how={how!r}. "
                "Leave features out, or use how='quantile'."
            )
        model = None if features is None else fit_quantile_model(features, rewards, q)
        return cls(dict(zip(prompts, values.tolist(), strict=True)), how, q, model)

    @classmethod
    def from_canned(cls, rewards_of_canned_reply: Mapping[str, float]) -> ReferenceRewards:
        """Cache from the reward that one fixed reply gets under each prompt."""
        return cls(dict(rewards_of_canned_reply), how="canned")

    def __call__(self, prompts: Sequence[str], features: Tensor | None = None) -> Tensor:
        """References (prompts,): cached where known, predicted from `features` where not.

        Raises:
            KeyError: a prompt is neither cached nor predictable; says which, and what to do.
        """
        missing = [i for i, prompt in enumerate(prompts) if prompt not in self.table]
        if missing and (self.model is None or features is None):
            raise KeyError(
                f"no reference reward for {len(missing)} of {len(prompts)} prompts, first "
                f"{prompts[missing[0]]!r}. Sample replies to them and use from_samples, or fit "
                "with features= and pass their features here."
            )
        values = [self.table.get(prompt, 0.0) for prompt in prompts]
        result = torch.tensor(values, dtype=torch.float64)
        if missing:
            result[missing] = self.model(features[missing]).double()
        return result

    def save(self, path: str | Path) -> None:
        """Write JSON (never pickle)."""
        record = {"how": self.how, "q": self.q, "table": self.table, "model": None}
        if self.model is not None:
            weight = self.model.weight.tolist()
            record["model"] = {"weight": weight, "bias": self.model.bias, "q": self.model.q}
        Path(path).write_text(json.dumps(record, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> ReferenceRewards:
        """Read what `save` wrote."""
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        model = record["model"]
        if model is not None:
            weight = torch.tensor(model["weight"], dtype=torch.float64)
            model = QuantileModel(weight, model["bias"], model["q"])
        return cls(record["table"], record["how"], record["q"], model)
