"""Fine-tuning written out small: supervised on replies, and DPO on comparisons.

Both train a copy, on the tokens of the reply and its end token alone, with the model in eval mode (no
dropout), so that a run depends on its data and its seed and on nothing else.

    DPO   L = -log σ( β [ (log π(y⁺) - log π_ref(y⁺)) - (log π(y⁻) - log π_ref(y⁻)) ] )

A low-rank run (`lora_rank` in the settings) trains an adapter beside frozen weights (see `lora`) and folds
it in at the end, so what comes back is a model like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from valuelab import models
from valuelab.models import LM
from valuelab.rewards.preferences import Comparison
from valuelab.weights.arithmetic import Vector, apply, preference_and_drift
from valuelab.weights.editing import clone, weights_of, write
from valuelab.weights.lora import Lora

__all__ = [
    "Pairs",
    "TuneConfig",
    "dpo_loss",
    "prepare_pairs",
    "reply_log_probs",
    "preference_vector",
    "train_dpo",
    "train_replies",
]


@dataclass(frozen=True)
class TuneConfig:
    """Settings of a short run. The defaults suit the embedded model.

    Attributes:
        steps: optimiser steps; the data is gone through again where it is too short.
        batch_size: comparisons (or replies) a step.
        lr: peak learning rate of AdamW; warms up over a tenth of the steps, then falls to zero.
        beta: of DPO, how firmly the reference holds: small values let the model go far.
        clip: largest norm of the gradient.
        seed: of the order of the data.
        lora_rank: 0 trains all weights; above, an adapter of that rank, which wants a higher lr.
    """

    steps: int = 24
    batch_size: int = 16
    lr: float = 1e-3
    beta: float = 0.1
    clip: float = 1.0
    seed: int = 0
    lora_rank: int = 0


def dpo_loss(
    policy_won: Tensor, policy_lost: Tensor, ref_won: Tensor, ref_lost: Tensor, beta: float = 0.1
) -> Tensor:
    """Direct preference optimisation, mean over comparisons.

        -log σ( β [ (log π(y⁺) - log π_ref(y⁺)) - (log π(y⁻) - log π_ref(y⁻)) ] )

    The bracket is a reward margin: the model's own log-ratio to the reference, times β, is the reward
    that Bradley and Terry would need to explain the comparisons.

    Args:
        policy_won, policy_lost: summed log-probability of the preferred and the other reply, (n,).
        ref_won, ref_lost: the same under the frozen reference, (n,).
        beta: strength of the tie to the reference.

    Returns:
        A scalar; log 2 where the policy is the reference.

    Raises:
        ValueError: shapes differ.

    Source: Rafailov and others, arXiv 2305.18290, equation 7.
    """
    if not policy_won.shape == policy_lost.shape == ref_won.shape == ref_lost.shape:
        raise ValueError(
            f"dpo_loss: shapes {tuple(policy_won.shape)}, {tuple(policy_lost.shape)}, {tuple(ref_won.shape)}, "
            f"{tuple(ref_lost.shape)}. Pass four tensors (n,), one number for each reply."
        )
    margin = (policy_won - ref_won) - (policy_lost - ref_lost)
    return -F.logsigmoid(beta * margin).mean()


# ------------------------------------------------------------------------------ tokens


Row = tuple[list[int], int]  # token ids, and where the reply starts


def reply_rows(lm: LM, prompts: Sequence[str], replies: Sequence[str]) -> list[Row]:
    """Ids of each user prompt and its reply, through the chat template, with the end token."""
    asked = [models.chat(lm, p) for p in prompts]
    ids, starts = models.join(lm, asked, models.as_replies(lm, asked, replies))
    end = lm.tokenizer.eos_token_id
    ids = [row + [end] if end is not None and row[-1] != end else row for row in ids]
    models.check_length(lm, ids)
    return list(zip(ids, starts, strict=True))


def reply_log_probs(lm: LM, rows: Sequence[Row]) -> Tensor:
    """Summed log-probability of each reply, (n,) in float32 or wider; differentiable."""
    ids, mask = models.pad(lm, [row for row, _ in rows], "right")
    starts = torch.tensor([start for _, start in rows], device=ids.device)
    first = int(min(start for _, start in rows))
    scores = models.token_log_probs(lm, ids, mask, first)
    place = torch.arange(first, ids.shape[1], device=ids.device)
    counted = (place >= starts[:, None]) & mask[:, first:].bool()
    return scores.masked_fill(~counted, 0).sum(1)


@dataclass(frozen=True)
class Pairs:
    """Comparisons made ready for DPO: tokens, and what the reference says of them.

    Attributes:
        won, lost: token rows of the preferred and the other replies.
        ref_won, ref_lost: their summed log-probability under the reference, (n,).
    """

    won: list[Row]
    lost: list[Row]
    ref_won: Tensor
    ref_lost: Tensor

    def __len__(self) -> int:
        return len(self.won)

    def flipped(self) -> Pairs:
        """The same comparisons with winner and loser exchanged."""
        return Pairs(self.lost, self.won, self.ref_lost, self.ref_won)


@torch.no_grad()
def prepare_pairs(lm: LM, comparisons: Sequence[Comparison], batch_size: int = 64) -> Pairs:
    """Tokens and reference log-probabilities of comparisons, `lm` as it is now being the reference.

    Raises:
        ValueError: no comparisons, or a text that is too long.
    """
    if not comparisons:
        raise ValueError("prepare_pairs: no comparisons given.")
    prompts = [c.prompt for c in comparisons]
    won = reply_rows(lm, prompts, [c.chosen for c in comparisons])
    lost = reply_rows(lm, prompts, [c.rejected for c in comparisons])
    rows, found = won + lost, torch.empty(2 * len(won), device=lm.device)
    for batch in models.length_batches([row for row, _ in rows], batch_size):
        found[batch] = reply_log_probs(lm, [rows[i] for i in batch]).float()
    return Pairs(won, lost, *found.chunk(2))


# ------------------------------------------------------------------------------ training


def train_dpo(
    lm: LM,
    comparisons: Sequence[Comparison] | Pairs,
    config: TuneConfig | None = None,
    *,
    on_step: Callable[[int, LM], None] | None = None,
) -> LM:
    """A copy of the model, tuned by DPO with the model itself as reference.

    Args:
        lm: start and reference; not changed.
        comparisons: pairs of replies, or what `prepare_pairs` made of them.
        config: settings.
        on_step: called after each step with the number of steps done and the model in training. With `lora_rank` the
            model answers as trained so far, but its weights are those of the start: only at the end is the adapter
            folded in.

    Returns:
        The tuned model, in float32, with `.history`, the loss of each step.

    Raises:
        ValueError: no comparisons, or a loss that is not finite.
    """
    config = config or TuneConfig()
    pairs = comparisons if isinstance(comparisons, Pairs) else prepare_pairs(lm, comparisons)

    def loss(model: LM, batch: list[int]) -> Tensor:
        both = reply_log_probs(model, [pairs.won[i] for i in batch] + [pairs.lost[i] for i in batch])
        return dpo_loss(*both.chunk(2), pairs.ref_won[batch], pairs.ref_lost[batch], config.beta)

    sizes = [max(len(a[0]), len(b[0])) for a, b in zip(pairs.won, pairs.lost, strict=True)]
    return _tune(lm, loss, sizes, config, on_step)


def train_replies(
    lm: LM,
    prompts: Sequence[str],
    replies: Sequence[str],
    config: TuneConfig | None = None,
    *,
    on_step: Callable[[int, LM], None] | None = None,
) -> LM:
    """A copy of the model, fine-tuned on replies to user prompts (mean loss a token of the reply).

    Args and result as `train_dpo`.
    """
    config = config or TuneConfig()
    rows = reply_rows(lm, prompts, replies)
    if not rows:
        raise ValueError("train_replies: no prompts given.")

    def loss(model: LM, batch: list[int]) -> Tensor:
        chosen = [rows[i] for i in batch]
        return -reply_log_probs(model, chosen).sum() / sum(len(row) - start for row, start in chosen)

    return _tune(lm, loss, [len(row) for row, _ in rows], config, on_step)


def _tune(lm: LM, loss_of: Callable, sizes: list[int], config: TuneConfig, on_step: Callable | None) -> LM:
    tuned = clone(lm, torch.float32)
    lora = Lora(tuned, config.lora_rank) if config.lora_rank else None
    trained = lora.parameters() if lora else [p for p in tuned.model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=config.lr, betas=(0.9, 0.98), weight_decay=0.0)
    history = []
    with lora or nullcontext():
        for step, batch in enumerate(_batches(sizes, config)):
            for group in optimiser.param_groups:
                group["lr"] = config.lr * _rate(step, config.steps)
            loss = loss_of(tuned, batch)
            if not torch.isfinite(loss):
                raise ValueError(f"training: loss {loss.item()} at step {step}; lower lr={config.lr}.")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, config.clip)
            optimiser.step()
            history.append(float(loss.detach()))
            if on_step is not None:
                on_step(step + 1, tuned)
    if lora:
        write(tuned, apply(weights_of(tuned), [lora.vector()], [1.0]))
    for p in tuned.model.parameters():
        p.grad = None
    tuned.history = history
    return tuned


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 10)
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def _batches(sizes: list[int], config: TuneConfig) -> list[list[int]]:
    """Indices for each step: every example once before any comes again, like lengths together."""
    generator = torch.Generator().manual_seed(config.seed)
    out: list[list[int]] = []
    while len(out) < config.steps:
        order = torch.randperm(len(sizes), generator=generator).tolist()
        for start in range(0, len(order), 8 * config.batch_size):
            chunk = sorted(order[start : start + 8 * config.batch_size], key=lambda i: sizes[i])
            groups = [chunk[k : k + config.batch_size] for k in range(0, len(chunk), config.batch_size)]
            out += [groups[k] for k in torch.randperm(len(groups), generator=generator).tolist()]
    return out[: config.steps]


def preference_vector(
    lm: LM, comparisons: Sequence[Comparison], config: TuneConfig | None = None
) -> tuple[Vector, Vector]:
    """Preference vector of comparisons: DPO on them, DPO on them flipped, and the difference.

    Both runs start from `lm`, see the same batches in the same order and share one reference.

    Args:
        lm: base model; not changed.
        comparisons: pairs about one value or one quality.
        config: settings of both runs.

    Returns:
        (φ, δ): the preference vector θ⁺ - θ⁻, and the drift that both runs share. θ⁺ itself is
        base + δ + φ/2, so φ at a scale of one half is as strong as plain DPO.

    Source: arXiv 2504.20106.
    """
    pairs = prepare_pairs(lm, comparisons)
    both = [weights_of(train_dpo(lm, p, config)) for p in (pairs, pairs.flipped())]
    return preference_and_drift(*both, weights_of(lm))


