"""Hand-made features of replies, and what is known about them: rewards that do not start from nothing.

    text_features   length, repetition and words of given lists, one column each
    fit_linear_reward(z, prior=...)   in reward_model.py: weights are pulled to what is known, not to zero

A prior is worth some comparisons: it decides while there are few, and many overrule it, right or
wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from valuelab.rewards.relevance import distinct_trigrams

__all__ = ["text_features"]


def text_features(texts: Sequence[str], words: Mapping[str, Iterable[str]] | None = None) -> Tensor:
    """Length in hundreds of words, share of distinct trigrams, occurrences of each list, (n, 2 + lists).

    Args:
        texts: replies.
        words: name -> words or phrases of a list, for instance of a value (`valuelab.data` reads
            pyvalues' lists). Whole words count, capital letters do not.

    Raises:
        ValueError: a list is empty.
    """
    finders = []
    for name, listed in (words or {}).items():
        alternatives = "|".join(sorted(map(re.escape, listed), key=len, reverse=True))
        if not alternatives:
            raise ValueError(f"text_features: the list {name!r} holds no word; leave it out.")
        finders.append(re.compile(rf"\b(?:{alternatives})\b", re.IGNORECASE))
    rows = [
        [len(t.split()) / 100, distinct_trigrams(t), *(len(f.findall(t)) for f in finders)]
        for t in texts
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(texts), 2 + len(finders))
