"""What annotators agree on: shares, entropy and chance-corrected agreement from counts.

Everything starts from one table: items in rows, labels in columns, and in each cell how many
annotators gave that label to that item.
"""
from __future__ import annotations

import numpy as np


def count_table(counts, name: str = "count_table") -> np.ndarray:
    """Counts as a float array (items, labels); ValueError where they are no counts."""
    table = np.asarray(counts, dtype=float)
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"{name}: counts have shape {table.shape}, expected (items, labels).")
    if (table < 0).any() or (table != np.round(table)).any():
        raise ValueError(f"{name}: counts must be whole numbers of annotators, 0 or more.")
    return table


def label_entropy(counts) -> np.ndarray:
    """How divided the annotators of each item are, 0 (one label) to 1 (all labels alike).

        H_i = −Σ_l p_il log p_il / log L,  p_il = counts_il / Σ_l counts_il

    Args:
        counts: annotators per item and label, (items, L) with L ≥ 2; each item has at least one.

    Returns:
        (items,) normalised entropies.
    """
    table = count_table(counts, "label_entropy")
    votes = table.sum(1, keepdims=True)
    if (votes == 0).any():
        empty = int(np.argmin(votes))
        raise ValueError(f"label_entropy: item {empty} has no annotator. Leave it out.")
    p = table / votes
    logs = np.log(np.where(p > 0, p, 1.0))  # 0 · log 0 counts as 0
    return -(p * logs).sum(1) / np.log(table.shape[1])


def krippendorff_alpha(counts) -> float:
    """Agreement corrected for chance, for nominal labels and any number of annotators per item.

        α = 1 − D_o / D_e
        D_o = Σ_i (m_i² − Σ_l c_il²) / (m_i − 1) / M      seen disagreement within items
        D_e = (M² − Σ_l C_l²) / (M (M − 1))               expected if labels were dealt at random

    with m_i votes on item i, C_l votes for label l and M votes in all. Items with a single vote
    say nothing about agreement and are left out of every sum.

    Args:
        counts: annotators per item and label, (items, labels).

    Returns:
        1 for full agreement, about 0 for chance, below 0 for less than chance; nan where only one
        label was ever used, because then nothing could have disagreed.

    Source: Krippendorff, Content Analysis (2004), chapter 11.
    """
    table = count_table(counts, "krippendorff_alpha")
    table = table[table.sum(1) > 1]
    m, C = table.sum(1), table.sum(0)
    M = m.sum()
    if M == 0:
        raise ValueError("krippendorff_alpha: no item has two votes, so agreement is undefined.")
    seen = ((m**2 - (table**2).sum(1)) / (m - 1)).sum() / M
    expected = (M**2 - (C**2).sum()) / (M * (M - 1))
    return float(1 - seen / expected) if expected > 0 else float("nan")
