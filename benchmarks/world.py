"""Measures the embedded model against what was planted, and writes its card.

    python benchmarks/world.py [--model FOLDER] [--layer 1 --strength 6] [--seeds 5]

Writes `benchmarks/results/world.json` and the card, `lib/valuelab/world/model/README.md`. With a FOLDER that
`valuelab.world.train` wrote, a model trained again, it writes `world_again.json` instead, and the card sets both
side by side.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from machine import cpu

from valuelab import models, plots
from valuelab.evaluate import planted
from valuelab.values import VALUES
from valuelab.world import grammar

FIGURE = Path(__file__).parents[1] / "docs" / "steering.png"
RESULTS = Path(__file__).parent / "results" / "world.json"
AGAIN = RESULTS.with_name("world_again.json")


def measure(lm, layer: int, strength: float, seeds: int) -> dict:
    """All figures of the card."""
    persona, held = (planted.persona_shifts(lm, table=t) for t in (grammar.PERSONA, grammar.PERSONA_HELD_OUT))
    runs = [planted.steering_gain(lm, layer, strength, seed=s) for s in range(seeds)]
    mean = {k: np.mean([r[k] for r in runs], axis=0) for k in runs[0]}
    gain = np.maximum(*(mean[k][:, 1] - mean[k][:, 2] for k in ("choice", "expressed")))
    return {
        "grammatical": planted.grammatical_share(lm),
        "choice_correlation": {s: planted.choice_calibration(lm, split=s) for s in ("held_out", "new_activities")},
        "persona_correlation": persona["correlation"],
        "persona_right_sign_of_20": persona["right_sign"],
        "persona_held_out_wording_correlation": held["correlation"],
        "persona_held_out_wording_right_sign_of_20": held["right_sign"],
        "facts_right": planted.facts_right(lm),
        "steering": {
            "layer": layer, "strength": strength, "seeds": seeds,
            **{k: dict(zip(("unsteered", "steered", "random"), v.mean(0).tolist(), strict=True)) for k, v in mean.items()},
            "choice_by_value": dict(zip(VALUES, mean["choice"].round(3).tolist(), strict=True)),
            "points_over_random": dict(zip(VALUES, (100 * gain).round(1).tolist(), strict=True)),
            "values_at_least_15_points": int((gain >= 0.15).sum()),
            "grammatical_lost": float(mean["grammatical"][:, 0].mean() - mean["grammatical"][:, 1].mean()),
        },
    }  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--model")
    p.add_argument("--layer", type=int, default=planted.LAYER)
    p.add_argument("--strength", type=float, default=planted.STRENGTH)
    p.add_argument("--seeds", type=int, default=5)
    args = p.parse_args()
    began, lm = time.time(), models.load(args.model)
    figures = measure(lm, args.layer, args.strength, args.seeds)
    print(json.dumps(figures, indent=1))
    folder = models.EMBEDDED if lm.embedded else Path(args.model)
    if not (folder / "training.json").exists():
        return  # a model of somewhere else: its figures were printed
    training = json.loads((folder / "training.json").read_text())
    training.pop("log", None)
    size = (folder / "model.safetensors").stat().st_size / 1e6
    record = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "date": datetime.date.today().isoformat(), "seconds": round(time.time() - began), "megabytes": round(size, 2),
        "training": training, "figures": figures,
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    (RESULTS if lm.embedded else AGAIN).write_text(json.dumps(record, indent=1) + "\n")
    (models.EMBEDDED / "README.md").write_text(card(*stored()))
    if lm.embedded:
        draw(figures["steering"]).savefig(FIGURE, dpi=110, metadata={"Software": None})


def stored() -> tuple[dict, dict | None]:
    """The records of the shipped model and, where there is one, of the model trained again."""
    return json.loads(RESULTS.read_text()), json.loads(AGAIN.read_text()) if AGAIN.exists() else None


def draw(steering: dict):
    """The README's figure: choice for each value, unsteered, steered, and with a random direction."""
    fig, ax = plots.figure(figsize=(8.4, 3.4))
    rows = np.array(list(steering["choice_by_value"].values()))
    x = np.arange(len(rows))
    for k, (name, marker) in enumerate(zip(("unsteered", "its own direction", "random direction"), "osD", strict=True)):
        ax.scatter(x, rows[:, k], label=name, marker=marker, s=46, color=(plots.GREY, *plots.COLORS)[k], zorder=3)
    ax.vlines(x, rows[:, 0], rows[:, 1], color=plots.COLORS[0], alpha=0.4)
    ax.set_xticks(x, list(steering["choice_by_value"]), rotation=30, ha="right")
    ax.set(ylabel="choice for the value", ylim=(0, 1))
    ax.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.16))
    return fig


def beside(r: dict, again: dict) -> str:
    """Figures of the shipped model and of one trained again, as a section of the card."""
    rows = []
    for name, read in {
        "replies the oracle parses, held out, %": lambda f: f"{100 * f['grammatical']['held_out']:.1f}",
        "planted against measured choice, correlation": lambda f: f"{f['choice_correlation']['held_out']:.3f}",
        "persona lines: planted sign, of 20; correlation":
            lambda f: f"{f['persona_right_sign_of_20']}; {f['persona_correlation']:.4f}",
        "facts, sums and look-ups, %": lambda f: f"{100 * f['facts_right']:.1f}",
        "steering: values ≥ 15 points over a random direction, of 10":
            lambda f: f"{f['steering']['values_at_least_15_points']}",
        "choice for the value: unsteered, steered, random":
            lambda f: ", ".join(f"{f['steering']['choice'][k]:.2f}" for k in ("unsteered", "steered", "random")),
    }.items():  # fmt: skip
        rows.append(f"| {name} | {read(r['figures'])} | {read(again['figures'])} |")
    t = again["training"]
    return f"""**Trained again**, from nothing in one run of `valuelab.world.train` with the same seeds: {t["documents"]:,} documents,
{t["tokens"] / 1e6:.1f} M tokens ({again["machine"]}, {again["date"]}).

| figure | shipped | trained again |
|---|--:|--:|
{chr(10).join(rows)}

"""


def card(r: dict, again: dict | None = None) -> str:
    """The model card, from the measured records alone."""
    f, t, s = r["figures"], r["training"], r["figures"]["steering"]
    points = "\n".join(f"| {v} | {x:+.1f} |" for v, x in s["points_over_random"].items())
    grammar_rows = "\n".join(
        f"| replies the oracle parses, {k.replace('_', ' ')} | {100 * x:.1f} % |" for k, x in f["grammatical"].items()
    )
    return f"""# The embedded model: a small Llama of a planted world

A {t["parameters"] / 1e6:.2f} M-parameter Llama ({r["megabytes"]} MB, half precision, a token for each word and each activity) trained from
scratch on a generated small English in which every speaker's ten values are known. It exists so that every method of
the course can be checked against the truth.

**Training.** {t["documents"]:,} documents, {t["tokens"] / 1e6:.1f} M tokens, {t["steps"]:,} steps, {t["minutes"]:.0f} minutes
(torch {t["torch"]}); loss on the assistant's tokens only. Five stages: look-ups alone, everything, mostly questions, then twice questions beside open choices, whose answer is
a share of speakers known from what was planted. Seeds: {t["seeds"]}. Again with `make model`.
{t.get("note", "")}

**What was planted.** Profiles of ten values with mean different from zero and circular covariance; 300 activities that
serve and cost values; choices with P = sigmoid(3 · stakes · difference in utility); statements and reasons drawn from the
profile; persona lines that move one value to ±2.5; facts, sums, look-ups and small talk that have nothing to do with values.

**Measured** ({r["machine"]}, {r["date"]}; `python benchmarks/world.py`)

| figure | value |
|---|---|
{grammar_rows}
| planted against measured choice, held-out situations, correlation | {f["choice_correlation"]["held_out"]:.3f} |
| the same with activities never seen in a question | {f["choice_correlation"]["new_activities"]:.3f} |
| persona lines: shifts with the planted sign, of 20 | {f["persona_right_sign_of_20"]} |
| persona lines: measured against planted shift, correlation | {f["persona_correlation"]:.3f} |
| the same in wordings never seen | {f["persona_held_out_wording_correlation"]:.3f} |
| facts, sums and look-ups answered to the letter | {100 * f["facts_right"]:.1f} % |
| steering, layer {s["layer"]}, strength {s["strength"]:g}, {s["seeds"]} seeds: values ≥ 15 points over a random direction | {s["values_at_least_15_points"]} of 10 |
| choice for the value: unsteered, steered, random | {s["choice"]["unsteered"]:.2f}, {s["choice"]["steered"]:.2f}, {s["choice"]["random"]:.2f} |
| replies that express the value: unsteered, steered, random | {s["expressed"]["unsteered"]:.2f}, {s["expressed"]["steered"]:.2f}, {s["expressed"]["random"]:.2f} |
| grammatical replies: unsteered, steered, random | {100 * s["grammatical"]["unsteered"]:.1f} %, {100 * s["grammatical"]["steered"]:.1f} %, {100 * s["grammatical"]["random"]:.1f} % |

Points over a random direction of equal norm (the better of choice and expression), by value:

| value | points |
|---|---|
{points}

{beside(r, again) if again else ""}**What must not be concluded from it.** Nothing about large language models, and nothing about people. A method that
works here recovers what was planted; whether it works on a real model is a question to ask of a real model. One training
seed is shipped: its quirks are its own. Its words are the {len(grammar.ACTIVITIES)} activities and {sum(map(len, grammar.NOUNS.values()))} value nouns of the
grammar; anything else is unknown to it.

Licence: MIT (weights and code), data generated by this repository.
"""


if __name__ == "__main__":
    main()
