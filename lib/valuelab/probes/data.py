"""Checks and splits that every estimator and every validation shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Unreadable(ValueError):
    """Nothing to read: states that are not finite, or that do not differ between for and against."""


def stack_pairs(
    positive: Tensor, negative: Tensor, groups: Any = None
) -> tuple[Tensor, Tensor, np.ndarray]:
    """Contrast pairs as one table: X (2n, d_model), y (2n,) booleans, groups (2n,).

    Row i of both sides is one pair; without `groups`, each pair is a context of its own.
    """
    if len(positive) != len(negative):
        raise ValueError(
            f"stack_pairs: {len(positive)} positive but {len(negative)} negative states; each "
            "positive needs its negative."
        )
    labels = np.arange(len(positive)) if groups is None else np.asarray(groups)
    if len(labels) != len(positive):
        raise ValueError(f"stack_pairs: {len(labels)} groups for {len(positive)} pairs.")
    y = torch.arange(2 * len(positive)) < len(positive)
    return torch.cat([positive, negative]), y, np.concatenate([labels, labels])


def as_labels(y: Any) -> np.ndarray:
    """Labels (n,) as booleans, from booleans or from 1 for and 0 against, in any tensor, array or list.

    Raises:
        ValueError: other labels: of a pole, −1 would be read as True.
    """
    found = np.asarray(y.cpu() if torch.is_tensor(y) else y)
    if found.dtype.kind not in "biufO" or not np.isin(found, (0, 1)).all():
        raise ValueError(
            f"probes: labels {', '.join(np.unique(found.astype(str))[:5])}; give booleans, or 1 for and 0 against "
            "(from a pole column: y = pole > 0, rows with pole 0 left out)."
        )
    return found.astype(bool)


def check_data(
    X: Tensor, y: Any, groups: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """X as float64 (n, d), y as booleans (n,), groups as labels (n,), or a clear ValueError.

    Where the states themselves are at fault it is an `Unreadable`.
    """
    X = np.asarray(torch.as_tensor(X).detach().cpu().double())
    y = as_labels(y)
    if X.ndim != 2 or len(X) != len(y):
        raise ValueError(
            f"probes: X has shape {X.shape} for {len(y)} labels; give one row (d_model,) a label."
        )
    bad = int((~np.isfinite(X)).any(1).sum())
    if bad:
        raise Unreadable(
            f"probes: {bad} of {len(X)} states hold NaN or infinity; read them again in float32, "
            "or leave those texts out."
        )
    if len(np.unique(y)) < 2:
        raise ValueError(
            f"probes: all {len(y)} labels are {bool(y[0]) if len(y) else 'missing'}; a probe needs "
            "examples for and against."
        )
    if (X == X[0]).all():
        raise Unreadable(
            "probes: all features are constant, so nothing can be told apart; read a later layer "
            "or another token."
        )
    if groups is None:
        return X, y, None
    groups = np.asarray(groups)
    if groups.shape != y.shape:
        raise ValueError(f"probes: {groups.shape} groups for {len(y)} labels; one label each.")
    return X, y, groups


def group_folds(groups: Any, folds: int, seed: int = 0) -> np.ndarray:
    """Fold number of each item, (n,): a context lies in one fold only, folds are of like size.

    Contexts are shuffled, then each goes to the fold that is smallest so far.

    Raises:
        ValueError: fewer than two folds, or fewer contexts than folds.
    """
    names, index, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if not 2 <= folds <= len(names):
        raise ValueError(
            f"group_folds: {folds} folds from {len(names)} contexts; use at least 2 folds and at "
            "least as many contexts."
        )
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]  # large contexts first
    fold_of, filled = np.empty(len(names), int), np.zeros(folds)
    for context in order:
        fold_of[context] = filled.argmin()
        filled[fold_of[context]] += sizes[context]
    return fold_of[index.reshape(-1)]
