"""A rival without any preference: replies that are long enough, on the subject, not repetitive.

Rewards built from length, relevance and repetition alone come surprisingly far (R3); a reward
model that cannot beat this one has learnt nothing about values.

Source: Kim et al., Rethinking the Role of Proxy Rewards, arXiv 2402.03469 (open-ended form).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from valuelab import activations
from valuelab.models import LM

__all__ = ["cosine_relevance", "distinct_trigrams", "relevance_reward"]


def distinct_trigrams(text: str) -> float:
    """Unique over all word trigrams, in (0, 1]; 1 for texts of fewer than three words."""
    words = text.lower().split()
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(trigrams)) / len(trigrams) if trigrams else 1.0


def cosine_relevance(lm: LM, layer: int | None = None) -> Callable[..., Tensor]:
    """Relevance of replies to prompts: cosine of mean hidden states, centred on the batch, (n,).

    Stands in for the retrieval encoder of the paper. What all replies of a batch share is subtracted, so
    replies that are to be compared belong into one batch.

    Args:
        lm: any causal language model.
        layer: the middle block if None.

    Returns:
        relevance(prompts, replies) -> (n,). It raises ValueError for fewer than two pairs: the mean
        over the batch would leave nothing of a single one.
    """
    layer = lm.n_layers // 2 if layer is None else layer

    def relevance(prompts: Sequence[str], replies: Sequence[str]) -> Tensor:
        if len(prompts) < 2:
            raise ValueError(
                f"cosine_relevance: {len(prompts)} pair given, and its states are centred on the mean of the batch. "
                "Score two pairs or more in one call."
            )
        both = activations.capture(lm, [*prompts, *replies], layer, position="mean")[layer]
        asked, said = both.chunk(2)
        asked, said = asked - asked.mean(0), said - said.mean(0)  # a shared offset hides the rest
        return F.cosine_similarity(asked, said, dim=1)

    return relevance


def relevance_reward(
    prompts: Sequence[str],
    replies: Sequence[str],
    relevance: Callable[[Sequence[str], Sequence[str]], Tensor],
) -> Tensor:
    """(words / 100) · relevance(prompt, reply) · share of distinct trigrams, (n,).

    Raises:
        ValueError: numbers of prompts and replies differ.
    """
    if len(prompts) != len(replies):
        raise ValueError(f"relevance_reward: {len(prompts)} prompts, {len(replies)} replies.")
    words = torch.tensor([len(r.split()) / 100 for r in replies])
    distinct = torch.tensor([distinct_trigrams(r) for r in replies])
    return words * relevance(prompts, replies) * distinct
