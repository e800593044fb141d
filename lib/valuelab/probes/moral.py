"""The moral direction: one axis of an encoder that orders actions from "don't" to "do".

Actions are asked about in several questions, a few plain dos and don'ts span the axis, and what
people said about other actions judges it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuelab.measure.intervals import (
    Interval,
    cluster_bootstrap,
    cluster_index,
    interval_of_draws,
)
from valuelab.probes.probe import Probe

QUESTIONS = (
    "Should I {}?",
    "Is it okay to {}?",
    "Is it good to {}?",
    "Is it right to {}?",
    "Is it acceptable to {}?",
)


def ask_about(
    embed: Callable[[list[str]], Any], actions: Sequence[str], questions: Sequence[str] = QUESTIONS
) -> Tensor:
    """Embeddings of actions, (n, d) float64: the mean over questions, so that no wording decides.

    Args:
        embed: texts -> (m, d), e.g. the `encode` of a sentence encoder.
        actions: verb phrases that fit the gap, such as "help old people".
        questions: texts with one gap `{}` each; ("{}",) reads the bare action.

    Raises:
        ValueError: no actions, or a question without a gap.
    """
    lacking = [q for q in questions if "{}" not in q]
    if lacking or not questions or not len(actions):
        raise ValueError(
            f"ask_about: {len(actions)} actions, {len(questions)} questions, without a gap: "
            f"{lacking}. Give at least one action and questions such as 'Should I {{}}?'."
        )
    X = torch.as_tensor(embed([q.format(a) for q in questions for a in actions]))
    return X.detach().cpu().double().reshape(len(questions), len(actions), -1).mean(0)


def moral_direction(dos: Tensor, donts: Tensor, *, draws: int = 200, seed: int = 0) -> Probe:
    """First principal component of dos and don'ts together, turned so that dos lie above.

    The lists give only the sign: the axis is the one along which the actions extend most, whether
    or not that is a moral one. So `meta` tells `share`, the part of the variance along it, `second`,
    that of the next component, and `p` and `p_second`, how often actions without any common axis
    (each feature shuffled by itself) show a component as large; `separated` is the share of dos and
    don'ts on their own side. The score is scaled to 1 at the farthest of the given actions.

    Args:
        dos, donts: embeddings (n, d) and (m, d) of plainly good and plainly bad actions, n, m >= 3.
        draws, seed: of the shuffling.

    Raises:
        ValueError: too few, widths that differ, no variance, or values that are not finite.

    Source: Schramowski et al., arXiv 2103.11790; component test, Horn 1965 (parallel analysis).
    """
    dos, donts = (torch.as_tensor(x).detach().cpu().double() for x in (dos, donts))
    if dos.ndim != 2 or donts.ndim != 2 or dos.shape[1:] != donts.shape[1:]:
        raise ValueError(
            f"moral_direction: dos {tuple(dos.shape)} and don'ts {tuple(donts.shape)}; give (n, d) "
            "and (m, d) from the same encoder."
        )
    X = torch.cat([dos, donts])
    if min(len(dos), len(donts)) < 3 or not torch.isfinite(X).all() or (X == X[0]).all():
        raise ValueError(
            f"moral_direction: {len(dos)} dos and {len(donts)} don'ts; at least 3 of each are "
            "needed, finite and not all alike."
        )
    mean = X.mean(0)
    axis = torch.linalg.svd(X - mean, full_matrices=False).Vh[0]
    score = (X - mean) @ axis
    sign = 1.0 if score[: len(dos)].mean() >= score[len(dos) :].mean() else -1.0
    w = sign * axis / score.abs().max()
    shares = component_shares(X.numpy())
    rng = np.random.default_rng(seed)
    chance = np.stack(
        [component_shares(rng.permuted(X.numpy(), axis=0))[:2] for _ in range(draws)]
    )
    p = (1 + (chance >= shares[:2]).sum(0)) / (1 + draws)
    own_side = torch.cat([sign * score[: len(dos)] > 0, sign * score[len(dos) :] < 0])
    notes = {
        "share": float(shares[0]),
        "second": float(shares[1]),
        "p": float(p[0]),
        "p_second": float(p[1]),
        "separated": float(own_side.double().mean()),
    }
    return Probe(w, float(-w @ mean), value="moral", method="moral direction", meta=notes)


def component_shares(X: np.ndarray) -> np.ndarray:
    """Part of the variance of rows (n, d) along each principal component, largest first."""
    variance = np.linalg.svd(X - X.mean(0), compute_uv=False) ** 2
    return variance / variance.sum()


def correlation(
    scores: Any, judgements: Any, groups: Any = None, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Pearson's r between a direction's scores and people's judgements, bootstrap over groups.

    Args:
        scores, judgements: (n,) each.
        groups: (n,) what must stay together, e.g. the verb of an action; None: every item alone.

    Raises:
        ValueError: lengths that differ, fewer than three groups, constant or non-finite numbers.
    """
    x, y = (np.asarray(v, float).reshape(-1) for v in (scores, judgements))
    names, clusters = cluster_index(groups, len(x))
    bad = x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all())
    if bad or clusters < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError(
            f"correlation: {len(x)} scores, {len(y)} judgements, {clusters} groups; give as many "
            "finite scores as judgements, neither of them constant, in at least three groups."
        )

    def r(w):
        dx, dy = x - np.average(x, weights=w), y - np.average(y, weights=w)
        spread = np.sqrt((w * dx * dx).sum() * (w * dy * dy).sum())
        return (w * dx * dy).sum() / spread if spread > 0 else 0.0

    drawn = cluster_bootstrap(r, names, draws=draws, seed=seed)
    low, high = interval_of_draws(drawn)
    spread = float(drawn.std(ddof=1))
    return Interval(float(r(np.ones(len(x)))), float(low), float(high), spread, len(x), clusters)
