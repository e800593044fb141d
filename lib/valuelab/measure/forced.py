"""Forced choices pooled over both orders, with slot bias and order consistency beside the value.

Pure arithmetic on recorded masses; `readout` obtains them from a language model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logit

from valuelab.measure.floors import order_consistency_floor
from valuelab.measure.intervals import Interval, mean_interval

__all__ = ["ForcedChoice", "OrderPooled", "pool_orders", "summarise_orders"]


@dataclass(frozen=True)
class OrderPooled:
    """Per item, (n,) each: pooled P(A), its slot-free version, slot bias in log-odds, P(same
    content in both orders)."""

    pooled: np.ndarray
    debiased: np.ndarray
    slot_bias: np.ndarray
    consistency: np.ndarray


def pool_orders(a_first: np.ndarray, a_second: np.ndarray) -> OrderPooled:
    """Combine the two orders of one question about contents A and B.

        pooled      = (a_first + a_second) / 2
        debiased    = sigmoid( (logit a_first + logit a_second) / 2 )
        slot_bias   = (logit a_first - logit a_second) / 2      > 0: whatever stands first gains
        consistency = a_first a_second + (1 - a_first)(1 - a_second)

    Pooling alone turns slot bias into fake indifference: .98 and .30 average to .64. Where the
    bias adds to the log-odds, `debiased` is exact.

    Args:
        a_first: (n,) P(A is chosen | A stands first), among valid mass.
        a_second: (n,) P(A is chosen | A stands second), among valid mass.

    Returns:
        OrderPooled of (n,) arrays.

    Raises:
        ValueError: shapes differ or a probability lies outside [0, 1].

    Source: Zheng et al. 2024, arXiv 2309.03882 (slot bias as a prior on positions).
    """
    x, y = np.asarray(a_first, float), np.asarray(a_second, float)
    if x.shape != y.shape:
        raise ValueError(f"pool_orders: {x.shape} against {y.shape}. Ask every item both ways.")
    if not ((x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)).all():
        raise ValueError(
            "pool_orders: probabilities must lie in [0, 1] and not be nan. Items "
            "without valid mass in one order are invalid: leave them out."
        )
    lx, ly = (logit(np.clip(p, 1e-9, 1 - 1e-9)) for p in (x, y))
    return OrderPooled(
        (x + y) / 2, 1 / (1 + np.exp(-(lx + ly) / 2)), (lx - ly) / 2, x * y + (1 - x) * (1 - y)
    )


@dataclass(frozen=True)
class ForcedChoice:
    """Summary over items. pooled, debiased, slot_bias, consistency: Intervals clustered by context.

    consistency_floor: what the same slot habit gives when content does not matter at all.
    valid, refusal, invalid: mean mass on the two choices, on refusals, and the rest (sum 1).
    unscored: items without valid mass in one of the orders. outcome: "ok" or why nothing shows.
    """

    pooled: Interval | None
    debiased: Interval | None
    slot_bias: Interval | None
    consistency: Interval | None
    consistency_floor: float | None
    valid: float
    refusal: float
    invalid: float
    items: int
    unscored: int
    outcome: str = "ok"

    def __str__(self) -> str:
        mass = (
            f"valid {self.valid:.2f}, refusal {self.refusal:.2f}, invalid {self.invalid:.2f}; "
            f"{self.items} items, {self.unscored} unscored"
        )
        if self.pooled is None:
            return f"{self.outcome}\n{mass}"
        head = "" if self.outcome == "ok" else f"{self.outcome}\n"
        return (
            f"{head}pooled {self.pooled}  slot bias {self.slot_bias} logits\n"
            f"same content in both orders {self.consistency} (floor "
            f"{self.consistency_floor:.2f})\n{mass}"
        )


def summarise_orders(
    mass,
    clusters=None,
    *,
    refusal=None,
    fewest_mass: float = 1e-30,
    least_valid: float = 0.05,
    level: float = 0.95,
) -> ForcedChoice:
    """Summary of two-choice items asked in both orders.

    Args:
        mass: (n, 2, 2) probability mass [item, order, content]; order 0 shows content A first.
            What is missing to 1 went elsewhere.
        clusters: (n,) context of each item.
        refusal: (n, 2) mass on refusals, or None for "not looked for" (0).
        fewest_mass: items with less valid mass than this in an order are unscored.
        least_valid: below this mean valid mass the outcome warns that hardly anything was valid.

    Returns:
        ForcedChoice.
    """
    m = np.asarray(mass, float)
    if m.ndim != 3 or m.shape[1:] != (2, 2) or not np.isfinite(m).all() or (m < 0).any():
        raise ValueError(
            f"summarise_orders: mass has shape {m.shape}; wanted finite (n, 2, 2): "
            "item, order, content."
        )
    if not len(m):
        return ForcedChoice(None, None, None, None, None, 0.0, 0.0, 0.0, 0, 0, "no items")
    total = m.sum(2)  # (n, 2)
    refused = 0.0 if refusal is None else float(np.mean(refusal))
    valid = min(float(total.mean()), 1.0)
    rest = max(0.0, 1 - valid - refused)
    ok = (total > fewest_mass).all(1)
    tail = (valid, refused, rest, len(m), int((~ok).sum()))
    if not ok.any():
        return ForcedChoice(
            None,
            None,
            None,
            None,
            None,
            *tail,
            "no valid answer: the model put no mass on either choice",
        )
    c = np.arange(len(m)) if clusters is None else np.asarray(clusters).reshape(-1)
    share = m[ok, :, 0] / total[ok]
    item = pool_orders(share[:, 0], share[:, 1])
    slot = float((share[:, 0] + 1 - share[:, 1]).mean() / 2)  # chance of the first slot
    spread = [
        mean_interval(x, c[ok], level=level, null=null)
        for x, null in (
            (item.pooled, 0.5),
            (item.debiased, 0.5),
            (item.slot_bias, 0.0),
            (item.consistency, 0.5),
        )
    ]
    outcome = "ok"
    if valid < least_valid:
        outcome = f"hardly any valid answer: only {valid:.3f} of the mass is on the two choices"
    elif np.abs(share - 0.5).max() < 1e-9:
        outcome = "ties everywhere: both choices always got the same mass"
    elif (np.abs(item.slot_bias) > 6).all() and slot in (0.0, 1.0):
        outcome = "always the same slot: the content was not read"
    return ForcedChoice(*spread, order_consistency_floor(slot), *tail, outcome)
