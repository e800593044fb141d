"""Controls without which a probe's accuracy means nothing, and the table that says what may be claimed.

Could the probe have learnt anything at all (control task)? Would an untrained model, or the words
themselves, have told the same? Does one of many layers look good by chance? Does the direction hold
for wordings and kinds of text that it was not made from?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuelab.activations import EMBEDDING, capture
from valuelab.measure.intervals import Interval, mean_interval, paired_difference
from valuelab.models import LM, untrained
from valuelab.probes.baselines import bag_of_words, length, shuffle_within, shuffled_labels
from valuelab.probes.data import check_data, group_folds
from valuelab.probes.estimators import Fit, estimator
from valuelab.probes.validation import (
    Validation,
    as_labels,
    bootstrap_accuracy,
    cross_validate,
    grouped_accuracy,
    nested_accuracy,
)

# ------------------------------------------------------------------------ control tasks


def control_labels(types: Any, share: float = 0.5, seed: int = 0) -> np.ndarray:
    """Labels without meaning for a control task: a coin for each *type*, the same wherever it occurs.

    The types are shuffled and stand in a row, each as long as its items are many; those whose
    middle lies in the first `share` of the row get True. So about that share of the items is True,
    and nothing but memory of the types can tell which.

    Args:
        types: (n,) of any labels, e.g. the thing a sentence is about.
        share: wanted share of True among the items, as in the real task.
        seed: another seed deals other labels.

    Returns:
        (n,) booleans.

    Raises:
        ValueError: fewer than two types.

    Source: control tasks, Hewitt & Liang, arXiv 1909.03368.
    """
    names, index, sizes = np.unique(np.asarray(types), return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError("control_labels: all items are of one type; give at least two types.")
    order = np.random.default_rng(seed).permutation(len(names))
    middle = np.cumsum(sizes[order]) - sizes[order] / 2
    label = np.zeros(len(names), bool)
    label[order] = middle < share * sizes.sum()
    return label[index.reshape(-1)]


@dataclass(frozen=True)
class Selectivity:
    """Accuracy on the task, on control tasks, and their difference, each an Interval over contexts."""

    task: Interval
    control: Interval
    difference: Interval

    def __str__(self) -> str:
        return f"task {self.task}, control {self.control}, selectivity {self.difference}"


def selectivity(
    X: Tensor,
    y: Any,
    groups: Any,
    types: Any,
    method: str | Fit = "logistic",
    *,
    draws: int = 5,
    folds: int = 5,
    seed: int = 0,
) -> Selectivity:
    """How much better a probe does its task than it memorises labels dealt by coin.

        selectivity = accuracy(task) − mean accuracy(control tasks)

    Both are scored on the same folds of contexts. The types must recur across contexts, or nobody
    could do the control task and selectivity would flatter.

    Args:
        X, y, groups, method, folds, seed: as for `grouped_accuracy`.
        types: (n,) what the control labels hang on; a word, a place, a name.
        draws: control tasks to average.

    Raises:
        ValueError: more than half of the items have a type that training never saw.
    """
    check_data(X, y, groups)
    y, types = as_labels(y), np.asarray(types)
    fold = group_folds(groups, folds, seed)
    known = np.mean([np.isin(types[fold == k], types[fold != k]).mean() for k in range(folds)])
    if known < 0.5:
        raise ValueError(
            f"selectivity: only {known:.0%} of the items have a type that occurs in other folds, so "
            "the control task cannot be learnt; use types that recur across contexts."
        )
    options = {"folds": folds, "seed": seed, "draws": 0}
    task = grouped_accuracy(X, y, groups, method, **options)
    right = [
        grouped_accuracy(X, control_labels(types, y.mean(), seed + k), groups, method, **options)
        for k in range(draws)
    ]
    memory = np.mean([c.correct for c in right], axis=0)
    return Selectivity(
        mean_interval(task.correct, groups),
        mean_interval(memory, groups),
        paired_difference(task.correct, memory, groups),
    )


# ----------------------------------------------------------------------- other models


def embedding_baseline(
    lm: LM,
    texts: Sequence[str],
    y: Any,
    groups: Any,
    method: str | Fit = "logistic",
    *,
    prompts: Sequence[str] | None = None,
    wordings: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> Validation:
    """Accuracy from the mean of the token embeddings: what words tell without any block.

    States that are alike for all texts (the same words in another order) give exactly one half.
    """
    X = capture(lm, texts, EMBEDDING, "mean", prompts=prompts)[EMBEDDING]
    return constant_is_chance(X, y, groups, method, wordings=wordings, folds=folds, seed=seed)


def constant_is_chance(X: Tensor, y: Any, groups: Any, method: str | Fit, **options) -> Validation:
    """`grouped_accuracy`, or one half where training sees only states that are all alike."""
    y, groups, fitted = as_labels(y), np.asarray(groups), estimator(method)
    slack = 1e-5 * X.norm(dim=1).mean()

    def train(rows):
        # the same words summed in another order differ by rounding alone, which is no signal
        gap = X[rows][y[rows]].mean(0) - X[rows][~y[rows]].mean(0)
        if gap.norm() <= slack:
            return lambda held: np.zeros(len(held))
        probe = fitted(X[rows], torch.as_tensor(y[rows]), groups[rows])
        return lambda held: probe(X[held]).double().numpy()

    return cross_validate(train, y, groups, **options)


def untrained_baseline(
    lm: LM,
    texts: Sequence[str],
    y: Any,
    groups: Any,
    method: str | Fit = "logistic",
    *,
    layers: Any = None,
    position: Any = "last",
    prompts: Sequence[str] | None = None,
    wordings: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> Validation:
    """Accuracy from the same architecture with random weights, its layer chosen inside the folds."""
    states = capture(untrained(lm, seed), texts, layers, position, prompts=prompts)
    options = {"folds": folds, "seed": seed, "wordings": wordings}
    return nested_accuracy(states, y, groups, method, **options)


# ------------------------------------------------------------------- many layers at once


def family_wise_p(observed: Any, null: Any) -> np.ndarray:
    """p of each of several statistics, counted against the *largest* of them under the null.

        p_l = (1 + #{draws whose maximum over all layers ≥ observed_l}) / (1 + draws)

    The best of many layers looks good by chance; its rivals under the null are therefore the best
    layers too. The chance of any false alarm, whatever the dependence, is then at most p.

    Args:
        observed: (layers,) statistics, larger is stronger evidence.
        null: (draws, layers) the same under permuted labels, one permutation a row.

    Returns:
        (layers,) p-values; never zero.

    Source: max-statistic permutation test, Westfall & Young 1993.
    """
    observed, null = np.asarray(observed, float), np.asarray(null, float)
    best = null.max(axis=1)  # (draws,)
    reached = (best[:, None] >= observed[None, :]).sum(axis=0)
    return (1 + reached) / (1 + len(best))


@dataclass(frozen=True, eq=False)
class LayerTest:
    """Accuracy of each layer, under permuted labels too, and p with and without the family's price."""

    layers: tuple[int, ...]
    observed: np.ndarray  # (layers,)
    null: np.ndarray  # (draws, layers)

    @property
    def p(self) -> np.ndarray:
        """Family-wise p of each layer, (layers,)."""
        return family_wise_p(self.observed, self.null)

    @property
    def p_alone(self) -> np.ndarray:
        """p of each layer as if it had been the only one looked at, (layers,)."""
        reached = (self.null >= self.observed).sum(0)
        return (1 + reached) / (1 + len(self.null))

    @property
    def best(self) -> int:
        return self.layers[int(self.observed.argmax())]


def layer_test(
    states: Mapping[int, Tensor],
    y: Any,
    groups: Any,
    method: str | Fit = "mean difference",
    *,
    draws: int = 99,
    folds: int = 5,
    seed: int = 0,
) -> LayerTest:
    """Permutation test of all layers at once: labels are shuffled inside contexts, alike for all layers.

    Raises:
        ValueError: every context holds one label only, so there is nothing to shuffle inside.
    """
    y, groups, layers = as_labels(y), np.asarray(groups), sorted(states)
    mixed = [len(np.unique(y[groups == g])) > 1 for g in np.unique(groups)]
    if sum(mixed) < 2:
        raise ValueError(
            f"layer_test: {sum(mixed)} of {len(mixed)} contexts hold both labels; shuffling inside "
            "contexts needs contrast pairs. Group by what pairs have in common."
        )

    options = {"folds": folds, "seed": seed, "draws": 0}

    def accuracies(labels):
        return [
            grouped_accuracy(states[k], labels, groups, method, **options).correct.mean()
            for k in layers
        ]

    null = [accuracies(shuffle_within(y, groups, seed + 1 + k)) for k in range(draws)]
    return LayerTest(tuple(layers), np.array(accuracies(y)), np.array(null))


# ----------------------------------------------------------------------------- transfer


def transfer(
    train: tuple[Tensor, Any, Any],
    test: tuple[Tensor, Any, Any],
    method: str | Fit = "logistic",
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Validation:
    """Train on one kind of text, test on another; contexts that occur in both are left out of training.

    Args:
        train, test: (X, y, groups) each. Groups with the same name are the same context.

    Returns:
        Validation of the test items (all of one fold), interval over the test's contexts.

    Raises:
        ValueError: too little is left to train on.
    """
    X, y, groups = train[0], as_labels(train[1]), np.asarray(train[2])
    X_test, y_test, groups_test = test[0], as_labels(test[1]), np.asarray(test[2])
    own = ~np.isin(groups, np.unique(groups_test))
    if len(np.unique(y[own])) < 2:
        raise ValueError(
            f"transfer: {int(own.sum())} of {len(own)} training items lie in contexts that the test "
            "does not hold, and not with both labels; use other contexts for the two sides."
        )
    check_data(X[own], y[own], groups[own])
    probe = estimator(method)(X[own], torch.as_tensor(y[own]), groups[own])
    logits = probe(X_test).double().cpu().numpy()
    found = bootstrap_accuracy(logits, y_test, groups_test, draws, seed)
    return Validation(logits, y_test, groups_test, np.zeros(len(y_test), int), found)


def transfer_matrix(
    kinds: Mapping[str, tuple[Tensor, Any, Any]], method: str | Fit = "logistic", *, seed: int = 0
) -> dict[str, dict[str, Interval]]:
    """{trained on: {tested on: accuracy}} over several kinds of text; the diagonal is grouped folds."""
    return {
        a: {
            b: grouped_accuracy(*kinds[a], method, seed=seed).accuracy
            if a == b
            else transfer(kinds[a], kinds[b], method, seed=seed).accuracy
            for b in kinds
        }
        for a in kinds
    }


# ------------------------------------------------------------------------------- report


@dataclass(frozen=True)
class Row:
    """One line of a report: what was measured, its accuracy, and what kind of line it is."""

    name: str
    accuracy: Interval
    kind: str  # "probe", "baseline" or "check"


@dataclass(frozen=True)
class Report:
    """The probe, its baselines and its checks, and what follows. `print(report)` shows the table."""

    rows: tuple[Row, ...]
    margin: Interval  # probe minus best baseline, over contexts
    best_baseline: str
    p: float | None = None  # family-wise over layers, where it was asked for

    @property
    def claims(self) -> bool:
        """Whether the probe is above its best baseline beyond chance."""
        return self.margin.low > 0 and (self.p is None or self.p <= 0.05)

    @property
    def verdict(self) -> str:
        points = f"{100 * self.margin.estimate:+.0f} [{100 * self.margin.low:+.0f}, {100 * self.margin.high:+.0f}]"
        told = f"{points} points against {self.best_baseline}"
        if self.p is not None:
            told += f", p = {self.p:.3f} over all layers"
        if self.claims:
            return f"May be claimed: {told}, on unseen contexts."
        return f"Nothing may be claimed: {told}."

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'on unseen contexts'.ljust(width)}  mean   95 % interval   kind"]
        lines += [
            f"{r.name.ljust(width)}  {r.accuracy.estimate:.3f}  "
            f"{f'[{r.accuracy.low:.3f}, {r.accuracy.high:.3f}]':<16}{r.kind}"
            for r in self.rows
        ]
        return "\n".join([*lines, self.verdict])

    def as_dict(self) -> dict:
        """For JSON."""
        return {
            "rows": {r.name: {"kind": r.kind, **r.accuracy.as_dict()} for r in self.rows},
            "margin": self.margin.as_dict(),
            "best_baseline": self.best_baseline,
            "p": self.p,
            "claims": self.claims,
        }


def probe_report(
    lm: LM,
    texts: Sequence[str],
    y: Any,
    groups: Any,
    *,
    layers: Any = None,
    position: Any = "last",
    prompts: Sequence[str] | None = None,
    types: Any = None,
    wordings: Any = None,
    others: Mapping[str, tuple[Sequence[str], Any, Any]] | None = None,
    method: str | Fit = "mean difference",
    permutations: int = 0,
    folds: int = 5,
    seed: int = 0,
) -> Report:
    """Everything that must stand beside a probe's accuracy, in one table.

    The probe's layer is chosen inside the folds. Baselines: words and word pairs, length, mean
    embedding, untrained model. Checks: shuffled labels, control task (with `types`), transfer to
    `others`. What may be claimed is the distance to the best baseline, paired by item.

    Args:
        texts, y, groups: (n,) each; groups are contexts, tested on contexts never trained on.
        layers, position, prompts: as for `capture`.
        types: (n,) for the control task; see `selectivity`.
        wordings: (n,); if given, the tested wording is unseen as well, for probe and baselines.
        others: name -> (texts, y, groups) of another kind of text, read in the same way with the
            first prompt.
        permutations: draws of the family-wise test over layers; 0 leaves it out.
    """
    y, groups = as_labels(y), np.asarray(groups)
    states = capture(lm, texts, layers, position, prompts=prompts)
    same = {"folds": folds, "seed": seed}
    both = {**same, "wordings": wordings}
    probe = nested_accuracy(states, y, groups, method, **both)
    baselines = {
        "words and word pairs": bag_of_words(texts, y, groups, **both),
        "length": length(texts, y, groups, **both),
        "mean embedding": embedding_baseline(lm, texts, y, groups, method, prompts=prompts, **both),
        "untrained model": untrained_baseline(
            lm, texts, y, groups, method, layers=layers, position=position, prompts=prompts, **both
        ),
    }
    best = max(baselines, key=lambda name: baselines[name].correct.mean())
    margin = paired_difference(probe.correct, baselines[best].correct, groups)
    layer = max(set(probe.chosen), key=probe.chosen.count)
    rows = [Row("probe, layer chosen inside", probe.accuracy, "probe")]
    rows += [Row(name, found.accuracy, "baseline") for name, found in baselines.items()]
    X = states[layer]
    rows.append(Row("shuffled labels", shuffled_labels(X, y, groups, method, **same), "check"))
    if types is not None:
        found = selectivity(X, y, groups, types, method, **same)
        rows.append(Row("control task", found.control, "check"))
    for name, (more, y_more, groups_more) in (others or {}).items():
        heads = None if prompts is None else [prompts[0]] * len(more)
        there = capture(lm, more, layer, position, prompts=heads)[layer]
        moved = transfer((X, y, groups), (there, y_more, groups_more), method, seed=seed)
        rows.append(Row(f"transfer to {name}", moved.accuracy, "check"))
    p = None
    if permutations:
        p = float(layer_test(states, y, groups, method, draws=permutations, **same).p.min())
    return Report(tuple(rows), margin, best, p)


__all__ = [
    "LayerTest",
    "Report",
    "Row",
    "Selectivity",
    "control_labels",
    "embedding_baseline",
    "family_wise_p",
    "layer_test",
    "probe_report",
    "selectivity",
    "transfer",
    "transfer_matrix",
    "untrained_baseline",
]
