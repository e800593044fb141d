"""Your own model: does it fit, how many items does it take, and what may be said of the result?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from scipy import stats

from valuelab.measure.intervals import Interval


@dataclass(frozen=True)
class Shape:
    """What memory depends on; all of it stands in a model's config.json.

    kv_heads is smaller than the number of heads where heads share keys (grouped-query attention).
    """

    name: str
    parameters: int
    layers: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    gated: bool = False  # its hub page asks for consent and a token


# Counted from the published configurations; a test builds each without weights and counts again.
WELL_KNOWN = (
    Shape("Qwen/Qwen2.5-0.5B-Instruct", 494_032_768, 24, 2, 64, 151_936),
    Shape("meta-llama/Llama-3.2-1B-Instruct", 1_235_814_400, 16, 8, 64, 128_256, gated=True),
    Shape("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1_711_376_384, 24, 32, 64, 49_152),
    Shape("Qwen/Qwen2.5-3B-Instruct", 3_085_938_688, 36, 2, 128, 151_936),
    Shape("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248, 32, 8, 128, 128_256, gated=True),
)


def shape_of(lm: Any) -> Shape:
    """The shape of a loaded model."""
    from valuelab.models import text_config

    config = text_config(lm.model)
    heads = config.num_attention_heads
    return Shape(
        name=lm.name,
        parameters=sum(p.numel() for p in lm.model.parameters()),
        layers=lm.n_layers,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or lm.d_model // heads,
        vocabulary=config.vocab_size,
    )


def memory_needed(shape: Shape, batch: int, tokens: int, bytes_each: int = 2) -> int:
    """Bytes that suffice to score or to write `batch` texts of `tokens` tokens: weights, key-value cache and logits.

        parameters · bytes
        + 2 · layers · kv_heads · head_dim · batch · tokens · bytes
        + batch · tokens · vocabulary · 4

    The 2 stands for keys and values, the 4 for logits in float32, which some models give whatever their weights are.
    `models.token_log_probs` needs less: no cache, and the logits of a half-precision model in two bytes. What a block
    holds while it computes is small beside these and left out.
    """
    weights = shape.parameters * bytes_each
    cache = 2 * shape.layers * shape.kv_heads * shape.head_dim * batch * tokens * bytes_each
    logits = batch * tokens * shape.vocabulary * 4
    return weights + cache + logits


def largest_batch(shape: Shape, tokens: int, free: int, bytes_each: int = 2, most: int = 256) -> int:
    """The largest power of two, at most `most`, for which `memory_needed` stays below nine tenths of `free` bytes.

    Raises:
        MemoryError: not even one text fits; says what would.
    """
    if memory_needed(shape, 1, tokens, bytes_each) > 0.9 * free:
        needed = memory_needed(shape, 1, tokens, bytes_each) / 0.9e9
        raise MemoryError(
            f"{shape.name} needs {needed:.1f} GB for one text of {tokens} tokens and {free / 1e9:.1f} GB are free: "
            "take half precision (dtype bfloat16), shorter texts or a smaller model."
        )
    batch = 1
    while 2 * batch <= most and memory_needed(shape, 2 * batch, tokens, bytes_each) <= 0.9 * free:
        batch *= 2
    return batch


def detectable_gain(n: int, disagreement: float, power: float = 0.8, level: float = 0.95) -> float:
    """The smallest paired gain that `n` independent items are likely to show.

        (z_level + z_power) · sqrt(disagreement / n)

    Args:
        disagreement: share of the items on which the two conditions differ. A paired difference of
            0/1 scores has a variance of at most that.
        power: probability that a true gain of this size ends in an interval above zero.
    Raises:
        ValueError: no items, or a share outside 0 to 1.
    """
    if n < 1 or not 0 <= disagreement <= 1:
        raise ValueError(f"detectable_gain: n={n}, disagreement={disagreement}; wanted n ≥ 1 and a share from 0 to 1.")
    z = stats.norm.ppf(0.5 + level / 2) + stats.norm.ppf(power)
    return float(z * math.sqrt(disagreement / n))


@dataclass(frozen=True)
class Plan:
    """What was decided before looking: kept beside the report, and never changed after it."""

    value: str
    method: str  # "mean difference" or "closed form"
    smallest_gain: float = 0.10  # a gain below this would not matter
    margin: float = 0.05  # a loss of ability below this would not matter


@dataclass(frozen=True)
class Finding:
    """One point of a plan. `holds` is None where the data do not decide."""

    name: str
    holds: bool | None
    interval: Interval


def decide(interval: Interval, bar: float) -> bool | None:
    """True where the whole interval lies above `bar`, False where it lies below, None where it holds the bar."""
    if interval.low > bar:
        return True
    return False if interval.high < bar else None


def verdict(comparison: Mapping[str, Any], plan: Plan) -> list[Finding]:
    """The three points of a plan, held against one method's `comparisons` in a report.

    Control success: the gain lies above `plan.smallest_gain`. Direction: the advantage over the random push
    lies above zero. Ability: its change lies above minus `plan.margin`.

    Args:
        comparison: report["values"][value]["comparisons"][method]; "gain", "advantage" and "ability_change" are
            intervals as dictionaries.
    """
    points = (
        ("control success", "gain", plan.smallest_gain),
        ("direction", "advantage", 0.0),
        ("ability", "ability_change", -plan.margin),
    )
    found = []
    for name, key, bar in points:
        interval = read_interval(comparison[key])
        found.append(Finding(name, decide(interval, bar), interval))
    return found


def read_interval(stored: Mapping[str, Any]) -> Interval:
    """An interval from a report, which may say more than an `Interval` holds; a missing bound is an infinite one."""
    bound = {"low": -math.inf, "high": math.inf, "se": math.inf}
    known = {f.name: stored[f.name] for f in fields(Interval) if f.name in stored}
    return Interval(**{k: bound.get(k) if v is None else v for k, v in known.items()})


def comparison_of(results: Mapping[str, Any], plan: Plan) -> Mapping[str, Any]:
    """The part of a report that a plan is about.

    Raises:
        ValueError: the method could not be run on this model, and why.
    """
    found = results["values"][plan.value]
    if plan.method not in found["comparisons"]:
        why = found.get("not_run", {}).get(plan.method, "the report does not hold it")
        raise ValueError(
            f"{plan.method} was not run for {plan.value} on {results['model']['model']}: {why}. Plan another method, "
            "or take another model."
        )
    return found["comparisons"][plan.method]


def side_effects(row: Mapping[str, Any], value: str, alpha: float = 0.05) -> list[str]:
    """Values other than `value` that moved, after Holm's correction for nine tests, largest effect first.

    Args:
        row: report["values"][value]["leakage"][method]: "effects" {value: interval}, "holm_p" {value: p}.
    """
    moved = [u for u, p in row["holm_p"].items() if u != value and p < alpha]
    return sorted(moved, key=lambda u: -abs(row["effects"][u]["estimate"]))


SAID = {True: "yes", False: "no", None: "not decided by these data"}


def model_card(results: Mapping[str, Any], plan: Plan) -> str:
    """A card in Markdown, from a report's numbers and the plan that was fixed before them."""
    found = results["values"][plan.value]
    rows = "\n".join(
        f"| {f.name} | {100 * f.interval.estimate:+.1f} | {100 * f.interval.low:+.1f} to {100 * f.interval.high:+.1f} "
        f"| {SAID[f.holds]} |"
        for f in verdict(comparison_of(results, plan), plan)
    )
    moved = side_effects(found["leakage"][plan.method], plan.value)
    notes = "".join(f"\n- {note}" for note in results["notes"])
    return f"""# {results["model"]["model"]}, steered towards {plan.value}

**Method.** {plan.method}, layer {found["chosen"][plan.method]["layer"]}, chosen on items of their own.

**Fixed before looking.** A gain below {100 * plan.smallest_gain:g} points would not matter; a loss of ability below
{100 * plan.margin:g} points would not matter. Score: the model {results["score"]}. Ability: {results["ability"]}.

| point | estimate, points | 95 % interval | shown |
|---|---|---|---|
{rows}

**Other values that moved** (Holm, 5 %): {", ".join(moved) if moved else "none shown"}.

**Not shown.** One model, one seed, one kind of prompt. The intervals are over contexts, not over models or trainings.
{notes}

{results["made"]}; seeds {results["seeds"]}; versions {results["versions"]}.
"""
