"""Stance and validity by how hard the question forces an answer (Spinning Arrow).

A stance among valid answers means little when most answers are invalid, or when the push that made
them valid also chose them. So validity and stance are always shown in one table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuelab.measure.intervals import Interval, mean_interval, paired_difference

__all__ = ["OUTCOMES", "StanceRow", "flip_rate", "open_agreement", "stance_table"]

OUTCOMES = ("support", "oppose", "neutral", "refusal", "invalid")


@dataclass(frozen=True)
class StanceRow:
    """One level of forcing.

    valid: share of answers that take a side or say neutral. stance: mean of +1 / 0 / -1 among the
    valid. bounds: what the mean stance of ALL answers could be, had every refusal or invalid
    answer been against, or for. shift: change of validity against the first level, paired by item.
    """

    level: str
    n: int
    shares: dict[str, float]
    valid: Interval
    stance: Interval | None
    bounds: tuple[float, float]
    shift: Interval | None

    def __str__(self) -> str:
        low, high = self.bounds
        stance = "no valid answer" if self.stance is None else str(self.stance)
        bounds = f"bounds {low:+.2f}..{high:+.2f}"
        return f"{self.level:12s} valid {self.valid}  stance {stance}  {bounds}"


def _codes(answers) -> np.ndarray:
    a = np.asarray(answers).reshape(-1)
    unknown = sorted(set(a.tolist()) - set(OUTCOMES))
    if unknown:
        raise ValueError(f"stance: unknown outcomes {unknown}. Use {', '.join(OUTCOMES)}.")
    return a


def _sign(answers: np.ndarray) -> np.ndarray:
    return (answers == "support").astype(float) - (answers == "oppose")


def stance_table(answers, levels, items, *, order=None, level: float = 0.95) -> list[StanceRow]:
    """Validity x stance for each level of forcing.

    Args:
        answers: (n,) one of OUTCOMES each.
        levels: (n,) how the question was forced, for instance "free", "please", "must".
        items: (n,) proposition: the cluster.
        order: the levels in order of force; default, order of first appearance.

    Returns:
        One StanceRow per level. Intervals clustered by item.
    """
    a, lv, it = _codes(answers), np.asarray(levels).reshape(-1), np.asarray(items).reshape(-1)
    if not a.shape == lv.shape == it.shape:
        raise ValueError(f"stance_table: {a.size} answers, {lv.size} levels, {it.size} items.")
    valid, rows, names = np.isin(a, OUTCOMES[:3]), [], list(dict.fromkeys(lv.tolist()))
    names = names if order is None else list(order)
    by_item = {n: _by_item(valid[lv == n].astype(float), it[lv == n]) for n in names}
    for name in names:
        here = lv == name
        if not here.any():
            raise ValueError(f"stance_table: no answer at level {name!r}.")
        ok = here & valid
        taken = _sign(a[here]).sum()
        lost = int((here & ~valid).sum())
        rows.append(
            StanceRow(
                name,
                int(here.sum()),
                {o: float((a[here] == o).mean()) for o in OUTCOMES},
                mean_interval(valid[here], it[here], level=level),
                mean_interval(_sign(a[ok]), it[ok], level=level) if ok.any() else None,
                (float((taken - lost) / here.sum()), float((taken + lost) / here.sum())),
                None if name == names[0] else _paired(by_item[name], by_item[names[0]], level),
            )
        )
    return rows


def _by_item(scores: np.ndarray, items: np.ndarray) -> dict:
    return {i: float(scores[items == i].mean()) for i in dict.fromkeys(items.tolist())}


def _paired(a: dict, b: dict, level: float) -> Interval | None:
    shared = [i for i in a if i in b]
    if not shared:
        return None
    return paired_difference([a[i] for i in shared], [b[i] for i in shared], level=level)


def flip_rate(first, second, items, *, level: float = 0.95) -> Interval | None:
    """Share of items whose sign turns between two ways of asking, among those valid both times.

    first, second (n,) of OUTCOMES for the same items (n,). Neutral to a side is no flip. None when
    no answer is valid both times. A model that tosses a coin flips half of the time.
    """
    a, b, it = _codes(first), _codes(second), np.asarray(items).reshape(-1)
    both = np.isin(a, OUTCOMES[:2]) & np.isin(b, OUTCOMES[:2])
    if not both.any():
        return None
    return mean_interval((a != b)[both], it[both], level=level)


def open_agreement(forced, opened, items, *, level: float = 0.95) -> Interval | None:
    """Agreement of forced answers with open-ended ones above chance, on -1..1.

        mean over items of sign(forced) * sign(opened), less the product of their mean signs

    Zero when forced and open answers are unrelated however lopsided both are. None when no item is
    valid both times.
    """
    a, b, it = _codes(forced), _codes(opened), np.asarray(items).reshape(-1)
    both = np.isin(a, OUTCOMES[:3]) & np.isin(b, OUTCOMES[:3])
    if not both.any():
        return None
    x, y = _sign(a[both]), _sign(b[both])
    return mean_interval((x - x.mean()) * (y - y.mean()), it[both], level=level)
