"""Rankings of values from dilemmas, before and after an intervention, with rank intervals.

Any dilemmas will do whose two actions are known by the values they serve: the planted world's situations
(`world_battles`), or a public set, as two boolean arrays for `measure.ranking`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from valuelab import world as W
from valuelab.measure.intervals import bootstrap_weights, interval_of_draws
from valuelab.measure.ranking import Ranking, battles, rank_values, strengths
from valuelab.values import VALUES
from valuelab.world.oracle import Parsed

__all__ = ["RankChange", "rank_change", "strength_change", "world_battles"]


def strength_change(
    before: np.ndarray, after: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change of each value's Bradley-Terry strength, with a bootstrap in which whole dilemmas are drawn.

    Both models answered the same dilemmas, so each draw of dilemmas is used for both: what makes a dilemma
    favour a value cancels in the difference.

        change = θ(after) − θ(before);   in draw b: θ(Σ_d w_bd after_d) − θ(Σ_d w_bd before_d)

    Args:
        before, after: (dilemmas, V, V), wins[d, a, b] = how often a beat b in dilemma d.
        weights: (draws, dilemmas), how often each dilemma was drawn (`bootstrap_weights`).

    Returns:
        (change, low, high), (V,) each, in logits; low and high are 95 % percentile bounds.
    """
    change = strengths(after.sum(0)) - strengths(before.sum(0))
    drawn = strengths(np.tensordot(weights, after, 1)) - strengths(np.tensordot(weights, before, 1))
    low, high = interval_of_draws(drawn)
    return change, low, high


@dataclass(frozen=True)
class RankChange:
    """Two rankings of the same dilemmas, and the paired change of each strength with its bounds, (V,) each."""

    before: Ranking
    after: Ranking
    change: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def moved(self) -> list[str]:
        """Values whose change excludes zero, largest first."""
        names = [(abs(c), n) for c, lo, hi, n in zip(self.change, self.low, self.high, self.before.names, strict=True)
                 if lo > 0 or hi < 0]  # fmt: skip
        return [n for _, n in sorted(names, reverse=True)]


def wins_by_dilemma(chosen: np.ndarray, neglected: np.ndarray, index: np.ndarray, dilemmas: int) -> np.ndarray:
    """(dilemmas, V, V) tables of battles; `index` (n,) says which dilemma a row answers."""
    winner, loser, row = battles(chosen, neglected)
    tables = np.zeros((dilemmas, chosen.shape[1], chosen.shape[1]))
    np.add.at(tables, (index[row], winner, loser), 1)
    return tables


def rank_change(
    before: tuple[np.ndarray, np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray, np.ndarray],
    dilemmas: Sequence[str], *, names: Sequence[str] = VALUES, draws: int = 500, seed: int = 0,
) -> RankChange:  # fmt: skip
    """Rankings before and after, on the dilemmas that both answered.

    Args:
        before, after: (chosen (n, V), neglected (n, V), answered (n,)), rows in the same order.
        dilemmas: (n,) dilemma of each row.

    Raises:
        ValueError: the rows differ in number, or fewer than two dilemmas were answered by both.
    """
    both = before[2] & after[2]
    labels, index = np.unique(np.asarray(dilemmas)[both], return_inverse=True)
    if len(labels) < 2:
        raise ValueError(
            f"rank_change: {len(labels)} dilemmas were answered before and after; at least two are needed."
        )
    tables = [wins_by_dilemma(c[both], x[both], index, len(labels)) for c, x, _ in (before, after)]
    weights = bootstrap_weights(np.arange(len(labels)), draws=draws, seed=seed)
    options = {"dilemmas": dilemmas, "names": names, "answered": both, "draws": draws, "seed": seed}
    rankings = [rank_values(c, x, **options) for c, x, _ in (before, after)]
    return RankChange(*rankings, *strength_change(*tables, weights))


def world_battles(
    asked: Sequence[W.Situation], read: Sequence[Parsed]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values served by the course chosen and by the other, (n, 10) each, and whether there was a choice, (n,).

    A course serves the values on which its planted weight is positive.
    """
    served = np.array([[np.asarray(a.weights) > 0 for a in s.offered] for s in asked])  # (n, 2, 10)
    answered = np.array([r.choice is not None for r in read])
    took = np.array([int(r.choice == s.second) for s, r in zip(asked, read, strict=True)])
    rows = np.arange(len(asked))
    return served[rows, took], served[rows, 1 - took], answered
