"""Log-probabilities of several choices after one prompt, with the prompt read once.

The tokens that all choices of a prompt share are run once and kept as keys and values; each choice
then costs only its own tokens. The result equals valuelab.models.log_probs up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from valuelab import models
from valuelab.models import LM

__all__ = ["Scores", "score_choices"]


@dataclass(frozen=True)
class Scores:
    """log_prob[i][k]: summed log-probability (nats) of choice k after prompt i; tokens alike."""

    log_prob: list[np.ndarray]
    tokens: list[np.ndarray]

    def per_token(self) -> list[np.ndarray]:
        """Length-normalised: log-probability per token."""
        return [lp / n for lp, n in zip(self.log_prob, self.tokens, strict=True)]


@dataclass(frozen=True)
class _Job:
    """One prompt: ids shared by all choices, where counting starts, what is left of each."""

    index: int
    prefix: list[int]
    start: int
    tails: list[list[int]]


@torch.no_grad()
def score_choices(
    lm: LM,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    *,
    batch_size: int = 64,
    shared: bool = True,
) -> Scores:
    """Score every choice of every prompt.

    Args:
        prompts: (n,) texts, for instance from models.chat.
        choices: (n,) lists of continuations, written as they follow the prompt (mind the space).
        batch_size: prompts in one forward pass.
        shared: False scores choice by choice without a cache (for comparison, and for models that
            keep none).

    Returns:
        Scores in the order given.

    Raises:
        ValueError: lists of different length, a prompt without choices, an empty choice, a text
            longer than the model's context.
    """
    if len(prompts) != len(choices) or any(not len(c) for c in choices):
        raise ValueError(
            f"score_choices: {len(prompts)} prompts, {len(choices)} lists of choices; "
            "give each prompt at least one choice."
        )
    flat = [(i, c) for i, options in enumerate(choices) for c in options]
    whole, starts = models.join(lm, [prompts[i] for i, _ in flat], [c for _, c in flat])
    models.check_length(lm, whole)
    ends = np.cumsum([len(c) for c in choices])
    tokens = np.split(np.array([len(w) - s for w, s in zip(whole, starts, strict=True)]), ends[:-1])
    if not shared or not models.accepts(lm.model, "past_key_values"):
        lp = models.log_probs(
            lm, [prompts[i] for i, _ in flat], [c for _, c in flat], batch_size=batch_size
        ).numpy()
        return Scores(np.split(lp.astype(float), ends[:-1]), tokens)
    jobs = [
        _job(i, whole[e - len(c) : e], starts[e - len(c) : e])
        for i, (c, e) in enumerate(zip(choices, ends, strict=True))
    ]
    found: list[np.ndarray] = [np.zeros(0)] * len(prompts)
    for batch in models.length_batches([j.prefix for j in jobs], batch_size):
        scores = _score_batch(lm, [jobs[i] for i in batch], len(jobs)).cpu().double().numpy()
        sizes = np.cumsum([len(jobs[i].tails) for i in batch])
        for i, row in zip(batch, np.split(scores, sizes[:-1]), strict=True):
            found[i] = row
    return Scores(found, tokens)


def _job(index: int, rows: list[list[int]], starts: list[int]) -> _Job:
    shared = rows[0]
    for row in rows[1:]:
        shared = shared[: models.shared_prefix(shared, row)]
    # every choice keeps at least one token of its own, so that it has a tail to score
    size = min(len(shared), min(len(r) for r in rows) - 1)
    start = min(starts)
    if size < start:  # a seam that differs between choices: count from where they part
        size = start
        shared = rows[0]
    return _Job(index, list(shared[:size]), start, [list(r[size:]) for r in rows])


def _score_batch(lm: LM, jobs: list[_Job], count: int) -> Tensor:
    """(choices of all jobs,) summed log-probabilities; `count` jobs are there in all batches."""
    from transformers import DynamicCache

    ids, mask = models.pad(lm, [j.prefix for j in jobs], "left")
    rows = torch.tensor([j.index for j in jobs], device=lm.device)
    starts = torch.tensor([j.start for j in jobs], device=lm.device)
    keep = max(len(j.prefix) - j.start for j in jobs) + 1
    cache = DynamicCache(config=models.plain(lm.model).config)
    with lm.announcing(rows, starts, count):
        logits = _forward(lm, ids, mask, cache, keep)  # (jobs, keep, V)
    before = _shared_part(logits, ids, jobs)  # (jobs,)
    owner = torch.tensor([k for k, j in enumerate(jobs) for _ in j.tails], device=lm.device)
    last = torch.log_softmax(logits[:, -1], -1)
    tails = [t for j in jobs for t in j.tails]
    first = torch.tensor([t[0] for t in tails], device=lm.device)
    total = before[owner] + last[owner, first]
    longer = [k for k, t in enumerate(tails) if len(t) > 1]
    if longer:
        some = torch.tensor(longer, device=lm.device)
        longer_tails = [tails[k] for k in longer]
        more = _score_tails(lm, longer_tails, owner[some], mask, cache, rows, starts, count)
        total = total.index_add(0, some, more)
    return total


def _shared_part(logits: Tensor, ids: Tensor, jobs: list[_Job]) -> Tensor:
    """Log-probability of the counted tokens that all choices share, (jobs,)."""
    if logits.shape[1] == 1:
        return logits.new_zeros(len(jobs))
    width = logits.shape[1] - 1
    lp = torch.log_softmax(logits[:, :-1], -1).gather(-1, ids[:, -width:, None])[..., 0]
    counted = torch.tensor([len(j.prefix) - j.start for j in jobs], device=ids.device)
    place = torch.arange(width, device=ids.device)
    return lp.masked_fill(place < width - counted[:, None], 0).sum(1)


def _score_tails(lm, tails, owner, mask, cache, rows, starts, count) -> Tensor:
    """Log-probability of tokens 1.. of each tail, given its job's cache."""
    cache.batch_select_indices(owner)
    ids, real = models.pad(lm, tails, "right")
    # the last token of a tail predicts nothing that is wanted, so it is never run
    with lm.announcing(rows[owner], starts[owner], count):
        logits = _forward(
            lm, ids[:, :-1], torch.cat([mask[owner], real[:, :-1]], 1), cache, ids.shape[1] - 1
        )
    lp = torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]
    return lp.masked_fill(real[:, 1:] == 0, 0).sum(1)


def _forward(lm: LM, ids: Tensor, mask: Tensor, cache, keep: int) -> Tensor:
    options = {"past_key_values": cache, "use_cache": True}
    if models.accepts(lm.model, "logits_to_keep"):
        options["logits_to_keep"] = keep
    if models.accepts(lm.model, "position_ids"):
        options["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    logits = lm.model(input_ids=ids, attention_mask=mask, **options).logits[:, -keep:]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
