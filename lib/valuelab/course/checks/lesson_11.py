"""Checks of lesson 11: your own model."""

from __future__ import annotations

import math

import numpy as np

from valuelab.course.check import Refused, exercise
from valuelab.evaluate import capstone as c

SHAPES = (
    c.Shape("a", 1_000_003, 6, 2, 64, 5_001),
    c.Shape("b", 7_000_000_001, 32, 8, 128, 32_000),
)


def _number(got, what):
    if got is None:
        raise Refused(f"nothing came back: end with `return`. Wanted {what}")
    if isinstance(got, bool) or not isinstance(got, (int, float, np.number)):
        raise Refused(f"a {type(got).__name__} came back. Wanted {what}")
    return float(got)


@exercise("11.1", reference=c.memory_needed)
def memory_needed(f):
    for shape, batch, tokens, each in ((SHAPES[0], 3, 17, 2), (SHAPES[1], 5, 40, 4)):
        got = _number(f(shape, batch, tokens, each), "the bytes, a number")
        w = shape.parameters * each
        kv = shape.layers * shape.kv_heads * shape.head_dim * batch * tokens * each
        z = batch * tokens * shape.vocabulary
        if math.isclose(got, w + 2 * kv + 4 * z, rel_tol=1e-9):
            continue
        likely = (
            (w, "only the weights are counted: cache and logits are missing"),
            (w + 2 * kv, "the logits are missing: batch · tokens · vocabulary · 4"),
            (w + 4 * z, "the cache is missing: keys and values of every token in every block"),
            (w + kv + 4 * z, "the cache holds keys and values: a factor 2 is missing"),
            (w + 2 * kv + each * z, "the logits are float32: 4 bytes each, whatever the weights are"),
            (shape.parameters + 2 * kv + 4 * z, "the weights were counted one byte each; multiply by bytes_each"),
            (batch * w + 2 * kv + 4 * z, "the weights are held once, not once for each text of the batch"),
            (w + 2 * kv / batch + 4 * z, "the cache grows with the batch; it was counted for one text"),
        )
        for wrong, message in likely:
            if math.isclose(got, wrong, rel_tol=1e-9):
                raise Refused(message)
        raise Refused(f"{got:.6g} bytes came back, {w + 2 * kv + 4 * z:.6g} was wanted for {shape}")


@exercise("11.2", reference=c.largest_batch)
def largest_batch(f):
    for shape, tokens in ((SHAPES[0], 33), (SHAPES[1], 64)):
        for wanted in (1, 8, 64):
            free = int(c.memory_needed(shape, wanted, tokens) / 0.9) + 10
            got = _number(f(shape, tokens, free), "a batch size, a number")
            if got == wanted:
                continue
            if got == 2 * wanted:
                raise Refused(
                    "the batch came back one doubling too large: it no longer fits; ask about the doubled batch first"
                )
            if got == wanted / 2:
                raise Refused("a batch twice as large still fits (exactly nine tenths counts as fitting)")
            if got != 2 ** round(math.log2(max(got, 1))):
                raise Refused(f"{got:g} is no power of two")
            raise Refused(f"batch {got:g} came back, {wanted} was wanted")
        if shape is SHAPES[0] and f(shape, tokens, int(c.memory_needed(shape, 8, tokens) * 1.02)) == 8:
            raise Refused("no tenth was left free: the batch fills more than 0.9 of the free memory")
        if f(shape, tokens, 10**15) != 256:
            raise Refused("`most` is not kept: with endless memory the batch is 256")
        if f(shape, tokens, 10**15, most=32) != 32:
            raise Refused("`most` is not kept: most=32 was asked for")
    try:
        got = f(SHAPES[1], 64, 10**6)
    except MemoryError:
        pass
    else:
        raise Refused(f"a model that does not fit came back with batch {got}: raise MemoryError before the run")
    if f(SHAPES[1], 64, int(c.memory_needed(SHAPES[1], 8, 64, 4) / 0.9) + 10, bytes_each=4) != 8:
        raise Refused("bytes_each was not passed on: float32 takes twice the memory of half precision")


@exercise("11.3", reference=c.detectable_gain)
def detectable_gain(f):
    z = {0.975: 1.959963984540054, 0.95: 1.6448536269514722, 0.8: 0.8416212335729143, 0.9: 1.2815515655446004}
    for n, q, power in ((100, 0.4, 0.8), (37, 0.9, 0.9)):
        got = _number(f(n, q, power), "the gain, a number")
        root = math.sqrt(q / n)
        if math.isclose(got, (z[0.975] + z[power]) * root, rel_tol=1e-4):
            continue
        likely = (
            ((z[0.95] + z[power]) * root, "the interval has two sides: its z is that of 0.5 + level / 2"),
            (
                z[0.975] * root,
                "the power is missing: a gain as long as half the interval is seen only half of the time",
            ),
            ((z[0.975] + z[power]) * q / math.sqrt(n), "the square root covers the disagreement too: sqrt(q / n)"),
            ((z[0.975] + z[power]) ** 2 * q / n, "this is the square of the gain"),
            ((z[0.975] + z[power]) / math.sqrt(n), "the disagreement is missing"),
            (
                (z[0.975] + z[power]) * math.sqrt(q * (1 - q) / n),
                "q(1 − q) is the variance of one share; a paired difference of 0/1 scores has at most q",
            ),
            ((z[0.975] + z[power]) * math.sqrt(q), "the number of items is missing"),
        )
        for wrong, message in likely:
            if math.isclose(got, wrong, rel_tol=1e-4):
                raise Refused(message)
        raise Refused(
            f"{got:.4f} came back, {(z[0.975] + z[power]) * root:.4f} was wanted for n={n}, q={q}, power={power}"
        )
    if math.isclose(f(100, 0.4, 0.8, 0.9), f(100, 0.4, 0.8, 0.95)):
        raise Refused("`level` is not used")
    for bad in ((0, 0.4), (10, 1.4)):
        try:
            f(*bad)
        except (ValueError, ZeroDivisionError) as error:
            if isinstance(error, ValueError) and "math domain" not in str(error):
                continue
        raise Refused(f"n={bad[0]}, disagreement={bad[1]} was not refused: raise a ValueError that says what is wanted")


def _stored(estimate, low, high):
    return {
        "estimate": estimate,
        "low": low,
        "high": high,
        "se": 0.01,
        "n": 50,
        "clusters": 50,
        "p": None,
        "outcome": "ok",
    }


def _comparison(gain, advantage, ability):
    other = _stored(0.9, 0.85, 0.95)
    return {"gain": _stored(*gain), "advantage": _stored(*advantage), "ability_change": _stored(*ability),
            "random_gain": other, "adverse_share": other}  # fmt: skip


@exercise("11.4", reference=c.verdict)
def verdict(f):
    cases = (
        (((0.3, 0.2, 0.4), (0.25, 0.1, 0.4), (-0.01, -0.04, 0.02)), c.Plan("power", "x"), [True, True, True]),
        (((0.12, 0.04, 0.2), (0.1, -0.02, 0.22), (-0.03, -0.08, 0.02)), c.Plan("power", "x"), [None, None, None]),
        (((0.03, 0.01, 0.05), (-0.1, -0.2, -0.05), (-0.2, -0.3, -0.1)), c.Plan("power", "x"), [False, False, False]),
        (
            ((0.3, 0.2, 0.4), (0.02, 0.01, 0.03), (-0.1, -0.15, -0.06)),
            c.Plan("power", "x", 0.25, 0.2),
            [None, True, True],
        ),
    )
    for numbers, plan, wanted in cases:
        comparison = _comparison(*numbers)
        got = f(comparison, plan)
        if got is None:
            raise Refused("nothing came back: end with `return`")
        got = list(got)
        if len(got) != 3 or not all(isinstance(x, c.Finding) for x in got):
            raise Refused("three Findings were wanted: control success, direction, ability")
        if [x.name for x in got] != ["control success", "direction", "ability"]:
            raise Refused(
                f"the names are {[x.name for x in got]}; wanted control success, direction, ability, in this order"
            )
        intervals = [c.read_interval(comparison[k]) for k in ("gain", "advantage", "ability_change")]
        held = [x.holds for x in got]
        if held == wanted and [x.interval for x in got] == intervals:
            continue
        if [x.interval for x in got][1:2] == [c.read_interval(comparison["random_gain"])]:
            raise Refused(
                "the direction was read from random_gain, which is what the random push gained; wanted `advantage`"
            )
        bars = (plan.smallest_gain, 0.0, -plan.margin)
        if held == [i.estimate > b for i, b in zip(intervals, bars, strict=True)]:
            raise Refused("the estimate was held against the bar; the whole interval has to lie on one side of it")
        if held == [c.decide(i, b) for i, b in zip(intervals, (0.0, 0.0, -plan.margin), strict=True)]:
            raise Refused("the gain was held against zero; the plan asks for plan.smallest_gain")
        if held == [c.decide(i, b) for i, b in zip(intervals, (plan.smallest_gain, 0.0, plan.margin), strict=True)]:
            raise Refused(
                "the ability was held against plus the margin; a loss is negative, its bar is minus the margin"
            )
        if held == [
            c.decide(i, b)
            for i, b in zip(intervals, (plan.smallest_gain, plan.smallest_gain, -plan.margin), strict=True)
        ]:
            raise Refused(
                "the advantage was held against plan.smallest_gain; for the direction anything above zero counts"
            )
        if held == [bool(x) for x in wanted]:
            raise Refused("an undecided point came back as refuted: None says that the bar lies inside the interval")
        if held == wanted:
            raise Refused(
                "the verdicts are right, the intervals beside them are not those of gain, advantage and ability_change"
            )
        raise Refused(f"{held} came back for {numbers}, {wanted} was wanted")


@exercise("11.5", reference=c.side_effects)
def side_effects(f):
    effects = {"power": 0.4, "security": -0.3, "tradition": 0.1, "hedonism": 0.2, "conformity": -0.05}
    row = {"effects": {u: _stored(e, e - 0.1, e + 0.1) for u, e in effects.items()},
           "holm_p": {"power": 0.0, "security": 0.001, "tradition": 0.049, "hedonism": 0.2, "conformity": 0.03},
           }  # fmt: skip
    for alpha, wanted in ((0.05, ["security", "tradition", "conformity"]), (0.01, ["security"])):
        got = f(row, "power", alpha)
        if got is None:
            raise Refused("nothing came back: end with `return`")
        got = list(got)
        if got == wanted:
            continue
        if "power" in got:
            raise Refused("the steered value itself is no side effect: leave it out")
        if not all(isinstance(u, str) for u in got):
            raise Refused("names were wanted, a list of text")
        if got == wanted[::-1]:
            raise Refused("smallest effect first came back; wanted the largest first")
        if got == sorted(wanted, key=lambda u: -effects[u]):
            raise Refused("sorted by the signed effect: −0.3 is a larger side effect than 0.1")
        if got == sorted(wanted, key=lambda u: row["holm_p"][u]):
            raise Refused("sorted by p; wanted the largest effect first")
        if set(got) == {u for u in effects if u != "power" and row["holm_p"][u] >= alpha}:
            raise Refused("these are the values that did not move: a small p speaks for a change")
        if len(got) == 4:
            raise Refused("all other values came back: keep those whose corrected p is below alpha")
        if set(got) == set(wanted):
            raise Refused(f"the names are right, the order is not: {got}")
        if alpha != 0.05:
            raise Refused("`alpha` is not used")
        raise Refused(f"{got} came back, {wanted} was wanted")
    quiet = {**row, "holm_p": dict.fromkeys(effects, 1.0)}
    if list(f(quiet, "power")) != []:
        raise Refused("where nothing moved an empty list is wanted")
