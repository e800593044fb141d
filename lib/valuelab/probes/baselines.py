"""What a probe must beat before its accuracy says anything about the value.

Words alone, length alone, and labels shuffled inside each context. Two more need only other
states: the embedding layer (`capture(..., layers=EMBEDDING)`) and `models.untrained(lm)`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuelab.measure.intervals import Interval
from valuelab.probes.data import check_data
from valuelab.probes.estimators import Fit, logistic
from valuelab.probes.validation import Validation, as_labels, cross_validate, grouped_accuracy

WORD = re.compile(r"\w+|[^\w\s]")


def bag_of_words(
    texts: Sequence[str],
    y: Any,
    groups: Any,
    *,
    n: int = 2,
    min_count: int = 2,
    folds: int = 5,
    seed: int = 0,
    wordings: Any = None,
) -> Validation:
    """Held-out accuracy of logistic regression on which words (and runs of n words) occur.

    Vocabulary, penalty and weights come from the training folds alone.

    Args:
        texts: what the probe's states were read from.
        n: longest run of words counted.
        min_count: texts a run must occur in to be counted.
        wordings: as for `grouped_accuracy`.
    """
    y, groups = as_labels(y), np.asarray(groups)
    bags = [ngrams(text, n) for text in texts]

    def train(rows):
        seen = Counter(gram for i in rows for gram in bags[i])
        place = {g: k for k, g in enumerate(g for g, c in seen.items() if c >= min_count)}

        def table(which):
            X = torch.zeros(len(which), max(1, len(place)))
            for row, i in enumerate(which):
                X[row, [place[g] for g in bags[i] if g in place]] = 1.0
            return X

        X = table(rows)
        if not place or (X == X[0]).all():
            return lambda held: np.zeros(len(held))  # no word tells anything apart
        probe = logistic(X, y[rows], groups[rows], seed=seed)
        return lambda held: probe(table(held)).double().numpy()

    return cross_validate(train, y, groups, folds=folds, seed=seed, wordings=wordings)


def ngrams(text: str, n: int) -> set[str]:
    """Runs of 1 to n words and punctuation marks, lower case."""
    words = WORD.findall(text.lower())
    return {" ".join(words[i : i + k]) for k in range(1, n + 1) for i in range(len(words) - k + 1)}


def length(
    texts: Sequence[str],
    y: Any,
    groups: Any,
    *,
    folds: int = 5,
    seed: int = 0,
    wordings: Any = None,
) -> Validation:
    """Held-out accuracy from the number of characters and of words alone."""
    X = torch.tensor([[len(t), len(WORD.findall(t))] for t in texts], dtype=torch.float32)
    y, groups = as_labels(y), np.asarray(groups)

    def train(rows):
        if (X[rows] == X[rows[0]]).all():
            return lambda held: np.zeros(len(held))  # all of one length: nothing to tell apart
        probe = logistic(X[rows], y[rows], groups[rows], seed=seed)
        return lambda held: probe(X[held]).double().numpy()

    return cross_validate(train, y, groups, folds=folds, seed=seed, wordings=wordings)


def shuffle_within(y: Any, groups: Any, seed: int = 0) -> np.ndarray:
    """Labels (n,) permuted inside each context: for pairs, a coin flip a pair."""
    y, groups = as_labels(y).copy(), np.asarray(groups)
    rng = np.random.default_rng(seed)
    for name in np.unique(groups):
        rows = np.flatnonzero(groups == name)
        y[rows] = rng.permutation(y[rows])
    return y


def permuted_labels(y: Any, groups: Any, seed: int = 0) -> np.ndarray:
    """Labels (n,) shuffled inside each context; contexts of one label exchange theirs among themselves."""
    y, groups = shuffle_within(y, groups, seed), np.asarray(groups)
    _, index = np.unique(groups, return_inverse=True)
    share = np.bincount(index, y) / np.bincount(index)
    whole = np.flatnonzero((share == 0) | (share == 1))
    share[whole] = np.random.default_rng([seed, 1]).permutation(share[whole])
    return np.where(np.isin(index, whole), share[index] == 1, y)


def shuffled_labels(
    X: Tensor,
    y: Any,
    groups: Any,
    method: str | Fit = "mean difference",
    *,
    draws: int = 20,
    folds: int = 5,
    seed: int = 0,
) -> Interval:
    """Held-out accuracy when labels are shuffled inside contexts: mean, and the middle 95 %.

    Contexts that hold one label only exchange theirs among themselves. An estimator that finds more
    than chance here reads something that leaks across the folds.
    """
    check_data(X, y, groups)
    options = {"folds": folds, "seed": seed, "draws": 0}
    scores = [
        grouped_accuracy(
            X, permuted_labels(y, groups, seed + k), groups, method, **options
        ).accuracy.estimate
        for k in range(draws)
    ]
    low, high = np.quantile(scores, [0.025, 0.975])
    spread = float(np.std(scores, ddof=1)) if draws > 1 else float("inf")
    contexts = len(np.unique(np.asarray(groups)))
    return Interval(float(np.mean(scores)), float(low), float(high), spread, draws, contexts)


def compare(
    X: Tensor,
    texts: Sequence[str],
    y: Any,
    groups: Any,
    method: str | Fit = "logistic",
    *,
    folds: int = 5,
    seed: int = 0,
) -> dict[str, Interval]:
    """The probe beside its baselines; claim only what lies above the best of them."""
    options = {"folds": folds, "seed": seed}
    return {
        "probe": grouped_accuracy(X, y, groups, method, **options).accuracy,
        "bag of words": bag_of_words(texts, y, groups, **options).accuracy,
        "length": length(texts, y, groups, **options).accuracy,
        "shuffled labels": shuffled_labels(X, y, groups, **options),
    }
