"""Wrong answers to lesson 11."""

import math
from dataclasses import replace

from scipy import stats

from mistakes.planted import Mistake
from valuelab.evaluate import capstone as c


def bytes_with(weights=1.0, cache=2.0, logits=4.0):
    def answer(shape, batch, tokens, bytes_each=2):
        kv = shape.layers * shape.kv_heads * shape.head_dim * batch * tokens * bytes_each
        return shape.parameters * bytes_each * weights + cache * kv + batch * tokens * shape.vocabulary * logits

    return answer


def logits_in_half(shape, batch, tokens, bytes_each=2):
    return bytes_with(logits=bytes_each)(shape, batch, tokens, bytes_each)


def one_byte_weights(shape, batch, tokens, bytes_each=2):
    return bytes_with(weights=1 / bytes_each)(shape, batch, tokens, bytes_each)


def weights_for_each_text(shape, batch, tokens, bytes_each=2):
    return bytes_with(weights=batch)(shape, batch, tokens, bytes_each)


def batch_with(step=2, reserve=0.9, limit=True, too_far=False, refuse=True, pass_on=True):
    def answer(shape, tokens, free, bytes_each=2, most=256):
        b = bytes_each if pass_on else 2
        if refuse and c.memory_needed(shape, 1, tokens, b) > reserve * free:
            raise MemoryError("does not fit")
        batch = 1
        while (
            (not limit or step * batch <= most)
            and step * batch < 10**6
            and (c.memory_needed(shape, (1 if too_far else step) * batch, tokens, b) <= reserve * free)
        ):
            batch = batch + 1 if step == 1 else step * batch
        return batch

    return answer


def counted_up(shape, tokens, free, bytes_each=2, most=256):
    if c.memory_needed(shape, 1, tokens, bytes_each) > 0.9 * free:
        raise MemoryError
    return max(k for k in range(1, most + 1) if c.memory_needed(shape, k, tokens, bytes_each) <= 0.9 * free) + 2


def gain_with(formula):
    def answer(n, disagreement, power=0.8, level=0.95):
        if n < 1 or not 0 <= disagreement <= 1:
            raise ValueError("n or disagreement")
        two, one, p = stats.norm.ppf(0.5 + level / 2), stats.norm.ppf(level), stats.norm.ppf(power)
        return formula(n, disagreement, two, one, p)

    return answer


def unchecked(n, disagreement, power=0.8, level=0.95):
    z = stats.norm.ppf(0.5 + level / 2) + stats.norm.ppf(power)
    return z * math.sqrt(abs(disagreement) / max(n, 1))


def level_ignored(n, disagreement, power=0.8, level=0.95):
    return c.detectable_gain(n, disagreement, power)


def verdict_with(
    change_plan=lambda p: p, judge=None, keys=("gain", "advantage", "ability_change"), sign=-1.0, advantage_bar=None
):
    def answer(comparison, plan):
        plan = change_plan(plan)
        bars = (plan.smallest_gain, plan.smallest_gain if advantage_bar else 0.0, sign * plan.margin)
        out = []
        for name, key, bar in zip(("control success", "direction", "ability"), keys, bars, strict=True):
            i = c.read_interval(comparison[key])
            out.append(c.Finding(name, (judge or c.decide)(i, bar), i))
        return out

    return answer


def other_order(comparison, plan):
    return c.verdict(comparison, plan)[::-1]


def only_one(comparison, plan):
    return c.verdict(comparison, plan)[:1]


def moved_with(keep=None, key=None, drop_target=True, names=True):
    def answer(row, value, alpha=0.05):
        keep_ = keep or (lambda p, a: p < a)
        found = [u for u, p in row["holm_p"].items() if keep_(p, alpha) and (u != value or not drop_target)]
        found.sort(key=lambda u: (key or (lambda row, u: -abs(row["effects"][u]["estimate"])))(row, u))
        return found if names else [(u, row["effects"][u]["estimate"]) for u in found]

    return answer


MISTAKES = {
    "11.1": [
        Mistake("weights alone", bytes_with(cache=0, logits=0), "only the weights are counted"),
        Mistake("no logits", bytes_with(logits=0), "the logits are missing"),
        Mistake("no cache", bytes_with(cache=0), "the cache is missing"),
        Mistake("keys without values", bytes_with(cache=1), "a factor 2 is missing"),
        Mistake("logits in half precision", logits_in_half, "the logits are float32"),
        Mistake("weights of one byte", one_byte_weights, "counted one byte each"),
        Mistake("weights once a text", weights_for_each_text, "held once, not once for each text"),
        Mistake("no return", lambda *a, **k: None, "nothing came back"),
    ],
    "11.2": [
        Mistake("doubles once too often", batch_with(too_far=True), "one doubling too large"),
        Mistake("no reserve", batch_with(reserve=1.0), "no tenth was left free"),
        Mistake("no limit", batch_with(limit=False), "`most` is not kept: with endless memory"),
        Mistake("never refuses", batch_with(refuse=False), "raise MemoryError before the run"),
        Mistake("always half precision", batch_with(pass_on=False), "bytes_each was not passed on"),
        Mistake("any number", counted_up, "is no power of two"),
        Mistake(
            "too careful",
            lambda shape, tokens, free, bytes_each=2, most=256: max(
                1, c.largest_batch(shape, tokens, free, bytes_each, most) // 2
            ),
            "a batch twice as large still fits",
        ),
    ],
    "11.3": [
        Mistake(
            "one-sided interval",
            gain_with(lambda n, q, two, one, p: (one + p) * math.sqrt(q / n)),
            "the interval has two sides",
        ),
        Mistake("no power", gain_with(lambda n, q, two, one, p: two * math.sqrt(q / n)), "the power is missing"),
        Mistake(
            "root of n alone",
            gain_with(lambda n, q, two, one, p: (two + p) * q / math.sqrt(n)),
            "covers the disagreement too",
        ),
        Mistake("no root", gain_with(lambda n, q, two, one, p: (two + p) ** 2 * q / n), "the square of the gain"),
        Mistake(
            "no disagreement",
            gain_with(lambda n, q, two, one, p: (two + p) / math.sqrt(n)),
            "the disagreement is missing",
        ),
        Mistake(
            "variance of a share",
            gain_with(lambda n, q, two, one, p: (two + p) * math.sqrt(q * (1 - q) / n)),
            "the variance of one share",
        ),
        Mistake(
            "no items", gain_with(lambda n, q, two, one, p: (two + p) * math.sqrt(q)), "the number of items is missing"
        ),
        Mistake("level ignored", level_ignored, "`level` is not used"),
        Mistake("bad input passes", unchecked, "was not refused"),
    ],
    "11.4": [
        Mistake(
            "estimates decide",
            verdict_with(judge=lambda i, bar: i.estimate > bar),
            "the estimate was held against the bar",
        ),
        Mistake(
            "gain against zero",
            verdict_with(change_plan=lambda p: replace(p, smallest_gain=0.0)),
            "the gain was held against zero",
        ),
        Mistake("margin with the wrong sign", verdict_with(sign=1.0), "a loss is negative"),
        Mistake(
            "direction against the bar of the gain", verdict_with(advantage_bar=True), "anything above zero counts"
        ),
        Mistake(
            "undecided is refuted",
            verdict_with(judge=lambda i, bar: i.low > bar),
            "an undecided point came back as refuted",
        ),
        Mistake(
            "random gain read", verdict_with(keys=("gain", "random_gain", "ability_change")), "read from random_gain"
        ),
        Mistake("other order", other_order, "in this order"),
        Mistake("one finding", only_one, "three Findings were wanted"),
    ],
    "11.5": [
        Mistake("the target stays in", moved_with(drop_target=False), "itself is no side effect"),
        Mistake(
            "signed order", moved_with(key=lambda row, u: -row["effects"][u]["estimate"]), "sorted by the signed effect"
        ),
        Mistake(
            "ascending", moved_with(key=lambda row, u: abs(row["effects"][u]["estimate"])), "smallest effect first"
        ),
        Mistake("by p", moved_with(key=lambda row, u: row["holm_p"][u]), "sorted by p"),
        Mistake("large p kept", moved_with(keep=lambda p, a: p >= a), "these are the values that did not move"),
        Mistake("no test", moved_with(keep=lambda p, a: True), "all other values came back"),
        Mistake("alpha fixed", moved_with(keep=lambda p, a: p < 0.05), "`alpha` is not used"),
        Mistake("pairs, not names", moved_with(names=False), "names were wanted"),
    ],
}
