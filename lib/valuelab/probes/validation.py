"""Accuracy on contexts that the probe has not seen, with the choice of everything inside."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuelab.measure.intervals import Interval, bootstrap_weights, interval_of_draws
from valuelab.probes.calibration import brier, calibrate, expected_calibration_error
from valuelab.probes.data import Unreadable, as_labels, check_data, group_folds
from valuelab.probes.estimators import Fit, estimator, fit
from valuelab.probes.probe import Probe

Scorer = Callable[[np.ndarray], np.ndarray]  # indices -> logits


@dataclass(frozen=True, eq=False)
class Validation:
    """Held-out logits of every item, and what follows from them.

    logits: (n,) each from a probe that saw nothing of the item's context.
    y: (n,) booleans. groups: (n,). fold: (n,). accuracy: Interval, bootstrap over contexts.
    chosen: what was chosen inside each fold (e.g. the layer), if anything.
    """

    logits: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    fold: np.ndarray
    accuracy: Interval
    chosen: tuple = ()

    @property
    def correct(self) -> np.ndarray:
        return hits(self.logits, self.y)

    @property
    def auroc(self) -> float:
        """Chance that a random positive scores above a random negative."""
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(self.y, self.logits))

    @property
    def probabilities(self) -> np.ndarray:
        return np.exp(-np.logaddexp(0, -self.logits))

    @property
    def ece(self) -> float:
        return expected_calibration_error(self.probabilities, self.y)

    @property
    def brier(self) -> float:
        return brier(self.probabilities, self.y)

    def __str__(self) -> str:
        return f"accuracy {self.accuracy} on {self.accuracy.clusters} unseen contexts"


def hits(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """1 where the sign is right, one half at exactly zero, 0 elsewhere."""
    return np.where(logits == 0, 0.5, (logits > 0) == y)


def grouped_accuracy(
    X: Tensor,
    y: Any,
    groups: Any,
    method: str | Fit = "logistic",
    *,
    folds: int = 5,
    seed: int = 0,
    wordings: Any = None,
    draws: int = 2000,
) -> Validation:
    """Cross-validated accuracy of a probe on contexts it was not trained on.

    Every context lies wholly in one fold. The estimator sees the other folds only, with their
    groups, so a penalty chosen inside is chosen on them alone. The sign of the logit decides.

    Args:
        X: hidden states (n, d_model).
        y: (n,) booleans.
        groups: (n,) context of each state.
        method: a name in `ESTIMATORS`, or a function (X, y, groups) -> Probe.
        folds, seed: number of folds, and how contexts are dealt to them.
        wordings: (n,) wording of each state; if given, the tested wording is unseen too.
        draws: for the bootstrap interval; 0 leaves it out, where only the estimate is needed.

    Raises:
        ValueError: one class, constant or non-finite features, fewer contexts than folds.
    """
    check_data(X, y, groups)
    X, y, groups = torch.as_tensor(X), as_labels(y), np.asarray(groups)
    fitted = estimator(method)

    def train(rows: np.ndarray) -> Scorer:
        probe = fitted(X[rows], torch.as_tensor(y[rows]), groups[rows])
        return lambda held: probe(X[held]).double().cpu().numpy()

    options = {"folds": folds, "seed": seed, "wordings": wordings, "draws": draws}
    return cross_validate(train, y, groups, **options)


def cross_validate(
    train: Callable[[np.ndarray], Scorer],
    y: Any,
    groups: Any,
    *,
    folds: int = 5,
    seed: int = 0,
    draws: int = 2000,
    wordings: Any = None,
) -> Validation:
    """Out-of-fold logits of any classifier, `train(row indices) -> (row indices -> logits)`.

    With `wordings` (n,), each wording in turn is held out within each fold of contexts: what is
    tested shares neither its context nor its wording with anything trained on.
    """
    y, groups = as_labels(y), np.asarray(groups)
    fold = group_folds(groups, folds, seed)
    logits = np.full(len(y), np.nan)
    for k, rows, held in held_out(fold, len(y), wordings):
        if len(np.unique(y[rows])) < 2:
            raise ValueError(
                f"cross_validate: without fold {k} all labels are alike; use fewer folds, or "
                "contexts that hold both labels."
            )
        logits[held] = train(rows)(held)
    return Validation(logits, y, groups, fold, bootstrap_accuracy(logits, y, groups, draws, seed))


def held_out(fold: np.ndarray, n: int, wordings: Any = None):
    """(fold, rows to train on, rows to test on), for every fold and, if given, every wording."""
    same = np.zeros(n, int)
    if wordings is not None:
        names, same = np.unique(np.asarray(wordings), return_inverse=True)
        if same.shape != (n,) or len(names) < 2:
            raise ValueError(
                f"cross_validate: {same.size} wordings, {len(names)} different, for {n} items; "
                "give one for each item and at least two in all."
            )
    for k in np.unique(fold):
        for j in np.unique(same):
            held = (fold == k) & (same == j)
            apart = (fold != k) if wordings is None else (fold != k) & (same != j)
            if held.any():
                yield k, np.flatnonzero(apart), np.flatnonzero(held)


def bootstrap_accuracy(
    logits: np.ndarray, y: np.ndarray, groups: np.ndarray, draws: int = 2000, seed: int = 0
) -> Interval:
    """Accuracy with a 95 % interval from drawing whole contexts with replacement."""
    right = hits(logits, y)
    if not draws:
        n, clusters, none = len(y), len(np.unique(groups)), "no interval: no draws"
        return Interval(float(right.mean()), -np.inf, np.inf, np.inf, n, clusters, None, none)
    weights = bootstrap_weights(groups, draws=draws, seed=seed)
    drawn = weights @ right / weights.sum(1)
    low, high = interval_of_draws(drawn)
    clusters = len(np.unique(groups))
    spread = float(drawn.std(ddof=1))
    return Interval(float(right.mean()), float(low), float(high), spread, len(y), clusters)


def nested_accuracy(
    states: Mapping[int, Tensor],
    y: Any,
    groups: Any,
    method: str | Fit = "logistic",
    *,
    folds: int = 5,
    inner: int = 4,
    seed: int = 0,
    wordings: Any = None,
) -> Validation:
    """Accuracy when the layer is chosen too: inside each fold, by grouped folds of the rest.

    Args:
        states: {layer: (n, d_model)}, as `capture` returns them.
        wordings: (n,); if given, wordings are held out as well, in the choice and in the test.

    Returns:
        Validation whose `chosen` holds the layer taken in each outer fold.
    """
    y, groups, layers = as_labels(y), np.asarray(groups), sorted(states)
    states = {layer: torch.as_tensor(X) for layer, X in states.items()}
    fitted, chosen = estimator(method), []
    wordings = None if wordings is None else np.asarray(wordings)
    for layer in layers:
        check_data(states[layer], y, groups)

    def train(rows: np.ndarray) -> Scorer:
        options = {"folds": min(inner, len(np.unique(groups[rows]))), "seed": seed, "draws": 0}
        if wordings is not None and len(np.unique(wordings[rows])) > 1:
            options["wordings"] = wordings[rows]
        scores = [
            grouped_accuracy(
                states[layer][rows], y[rows], groups[rows], method, **options
            ).accuracy.estimate
            for layer in layers
        ]
        best = layers[int(np.argmax(scores))]
        chosen.append(best)
        probe = fitted(states[best][rows], torch.as_tensor(y[rows]), groups[rows])
        return lambda held: probe(states[best][held]).double().cpu().numpy()

    found = cross_validate(train, y, groups, folds=folds, seed=seed, wordings=wordings)
    return Validation(
        found.logits, found.y, found.groups, found.fold, found.accuracy, tuple(chosen)
    )


def validated_probe(
    X: Tensor,
    y: Any,
    groups: Any,
    *,
    method: str | Fit = "logistic",
    layer: int | None = None,
    value: str = "",
    folds: int = 5,
    seed: int = 0,
) -> tuple[Probe, Validation]:
    """A probe from all the data, calibrated and described by its out-of-fold logits.

    The temperature is fitted to held-out logits, so that a target probability means one; see
    `temperature` for what it means where they separate the labels. `meta` notes accuracy, its
    interval, ECE before calibration and the number of contexts.

    Warns:
        UserWarning: the accuracy's interval reaches down to one half.

    Raises:
        Unreadable: the states do not differ between for and against, or are not finite.
        ValueError: as `grouped_accuracy`.
    """
    X = torch.as_tensor(X)
    found = grouped_accuracy(X, y, groups, method, folds=folds, seed=seed)
    probe = fit(X, y, groups, method=method, layer=layer, value=value)
    if not probe.weight.any():
        raise Unreadable(
            "validated_probe: the weight is all zeros, so the states for and against do not differ; read another layer "
            "or token."
        )
    if found.accuracy.low <= 0.5:
        warnings.warn(
            f"validated_probe: accuracy {found.accuracy} is no better than chance on unseen contexts; a minimal step "
            "along this probe can exceed the state itself: do not steer with it, or set cap.",
            stacklevel=2,
        )
    notes = {
        "accuracy": found.accuracy.estimate,
        "low": found.accuracy.low,
        "high": found.accuracy.high,
        "contexts": found.accuracy.clusters,
        "ece_before": found.ece,
    }
    return calibrate(probe, found.logits, found.y).with_(meta=notes), found
