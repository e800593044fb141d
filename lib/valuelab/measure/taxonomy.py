"""Which values show up in free replies, and where more than elsewhere (Values in the Wild)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from valuelab.measure.profile import Profile, value_profile

__all__ = [
    "Association",
    "adjusted_residuals",
    "expressed_profile",
    "stance_shares",
    "value_by_context",
]


def expressed_profile(
    expressed, values, clusters=None, *, signed: bool = False, level: float = 0.95
) -> Profile:
    """Share of replies that express each value; a value counts once however often it is named.

    Args:
        expressed: (n, k) signed mentions: +1 for, -1 against, 0 not. A whole row of nan is a reply
            that could not be parsed: counted as invalid, scored nowhere.
        values: k names.
        clusters: (n,) prompt of each reply.
        signed: True scores +1 / -1 (net support) instead of the share that mentions the value.

    Returns:
        Profile with null 0.
    """
    e = np.atleast_2d(np.asarray(expressed, float))
    if e.shape[1] != len(values):
        raise ValueError(f"expressed_profile: {e.shape[1]} columns but {len(values)} values.")
    score = np.sign(e) if signed else np.where(np.isnan(e), np.nan, (e != 0).astype(float))
    who = np.arange(len(e)) if clusters is None else np.asarray(clusters).reshape(-1)
    profile = value_profile(
        score.T.reshape(-1),
        np.repeat(list(values), len(e)),
        np.tile(who, len(values)),
        names=values,
        level=level,
    )
    invalid = int(np.isnan(e).all(1).sum())
    return Profile(
        profile.values,
        profile.intervals,
        profile.p_holm,
        0.0,
        invalid,
        profile.outcome,
        profile.flags,
    )


def adjusted_residuals(table: np.ndarray) -> np.ndarray:
    """How far each cell of a table of counts lies from independence, in standard errors.

        E_ij = row_i column_j / N
        z_ij = (O_ij - E_ij) / sqrt( E_ij (1 - row_i / N) (1 - column_j / N) )

    Args:
        table: (rows, columns) counts, rows contexts, columns values.

    Returns:
        (rows, columns) z, standard normal without association. 0 where a row or column is empty or
        holds everything: such a cell cannot deviate.

    Raises:
        ValueError: a negative count, or an empty table.

    Source: Haberman 1973; used by Values in the Wild, arXiv 2504.15236.
    """
    o = np.asarray(table, float)
    if (o < 0).any() or o.sum() == 0:
        raise ValueError("adjusted_residuals: the table must hold counts and not be empty.")
    total, row, col = o.sum(), o.sum(1, keepdims=True), o.sum(0, keepdims=True)
    expected = row * col / total
    var = expected * (1 - row / total) * (1 - col / total)
    return np.divide(o - expected, np.sqrt(var), out=np.zeros_like(o), where=var > 1e-12)


@dataclass(frozen=True)
class Association:
    """z (contexts, values): clustered deviations in standard errors; p_bonferroni alike; share
    (contexts, values): how often a value shows in replies of a context; naive_z: adjusted
    residuals that take every mention for independent evidence, to be compared with."""

    contexts: tuple
    values: tuple[str, ...]
    share: np.ndarray
    z: np.ndarray
    p_bonferroni: np.ndarray
    naive_z: np.ndarray
    difference: np.ndarray
    se: np.ndarray
    outcome: str = "ok"


def value_by_context(expressed, contexts, values, clusters=None) -> Association:
    """Which values show up more in one kind of context than in the others.

    For context c and value v: difference = share within c - share outside c; its standard error is
    clustered by prompt. Bonferroni over all cells.

    Args:
        expressed: (n, k) as in expressed_profile, rows of nan are dropped.
        contexts: (n,) kind of context. clusters (n,): prompt (each inside one context).
    """
    e, c = np.atleast_2d(np.asarray(expressed, float)), np.asarray(contexts).reshape(-1)
    u = np.arange(len(e)) if clusters is None else np.asarray(clusters).reshape(-1)
    ok = ~np.isnan(e).any(1)
    e, c, u = (e[ok] != 0).astype(float), c[ok], u[ok]
    kinds = tuple(dict.fromkeys(c.tolist()))
    if len(kinds) < 2:
        blank = np.zeros((len(kinds), len(values)))
        return Association(
            kinds,
            tuple(values),
            blank,
            blank,
            blank + 1,
            blank,
            blank,
            blank + np.inf,
            "one kind of context: nothing to compare",
        )
    inside = np.stack([c == k for k in kinds]).astype(float)  # (C, n)
    _, unit = np.unique(u, return_inverse=True)
    groups = int(unit.max()) + 1
    share = inside @ e / inside.sum(1, keepdims=True)
    others = (1 - inside) @ e / (1 - inside).sum(1, keepdims=True)
    difference, se = share - others, np.full(share.shape, np.inf)
    for k, mask in enumerate(inside):
        mean = np.where(mask[:, None] > 0, share[k], others[k])
        weight = np.where(mask > 0, 1 / mask.sum(), -1 / (1 - mask).sum())
        influence = np.zeros((groups, len(values)))
        np.add.at(influence, unit, (e - mean) * weight[:, None])
        se[k] = np.sqrt((influence**2).sum(0) * groups / max(groups - 1, 1))
    z = np.divide(difference, se, out=np.zeros_like(difference), where=se > 1e-12)
    p = np.minimum(2 * norm.sf(np.abs(z)) * z.size, 1.0)
    table = inside @ e
    naive = adjusted_residuals(table) if table.sum() else np.zeros_like(table)
    return Association(kinds, tuple(values), share, z, p, naive, difference, se)


def stance_shares(support, resist) -> dict[str, float]:
    """Shares of replies that support, resist or leave alone the asker's values.

    support, resist (n,) bool; both is "mixed".
    """
    s, r = np.asarray(support, bool), np.asarray(resist, bool)
    if not s.size:
        return {"support": 0.0, "resist": 0.0, "mixed": 0.0, "neither": 0.0, "n": 0}
    return {
        "support": float((s & ~r).mean()),
        "resist": float((r & ~s).mean()),
        "mixed": float((s & r).mean()),
        "neither": float((~s & ~r).mean()),
        "n": int(s.size),
    }
