"""Control success of steering on the embedded model, beside a persona prompt and a random direction.

    python benchmarks/steering_control.py [--items 60] [--tuning 40] [--seed 0]

Every method answers the same held-out situations of each of the ten values, sampled at temperature 1, and the oracle
reads the replies: success is a reply that takes the value's side or speaks for it. Directions, blocks and strengths
come from situations of the training kind alone, by this rule: of the settings in `GRID` that leave at least 98 % as
many replies grammatical as without steering (the bar is 97), take the one with the largest gain; where none does, the
one with the most grammatical replies. The best method is what the same rule finds among all settings of all methods.
All settings that were tried stand in `curve`. Intervals resample situations (95 %, 2000 draws). Writes
`benchmarks/results/steering_control.json`; bars that are not met say so there.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from machine import cpu

from valuelab import models
from valuelab import world as W
from valuelab.activations import capture
from valuelab.evaluate import planted
from valuelab.evaluate.methods import Kit
from valuelab.measure.intervals import cluster_bootstrap, interval_of_draws
from valuelab.steering import (
    add,
    distil,
    gain_kept,
    joint_shift,
    level_probe,
    logit,
    minimal,
    sequential_shift,
    steer,
)
from valuelab.values import VALUES

RESULTS = Path(__file__).parent / "results" / "steering_control.json"
GRAMMATICAL = 0.98  # of unsteered, on the situations that settings are chosen on
EXIT_MIX = (0.8, 0.7)  # of the differences at "I would" and where the reply begins
GRID = {
    # block after which each direction is added, and how much of it
    "two blocks": [
        {"entry": entry, "exit": exit_, "entry_strength": a, "exit_strength": b}
        for entry in (0, 1) for exit_ in (2, 3)
        for a, b in ((1.0, 0.5), (1.0, 1.0), (1.5, 0.75), (2.0, 0.5), (2.0, 1.0))
    ],
    "additive, two blocks": [
        {"before": 2, "exit": 3, "before_strength": a, "strength": b} for a in (0.5, 1.0, 1.5) for b in (0.5, 0.65, 0.8)
    ],
    "additive, one block": [{"exit": exit_, "strength": a} for exit_ in (2, 3) for a in (0.5, 0.8, 1.1, 1.4)],
    "minimal, one block": [{"exit": exit_, "target": p} for exit_ in (2, 3) for p in (0.9, 0.99, 0.999)],
    "learnt, every block": [{"strength": a} for a in (0.8, 1.0, 1.2)],
}  # fmt: skip


# ---------------------------------------------------------------------------------- directions


def attended(lm, prompts: list[str], block: int) -> torch.Tensor:
    """What stands in the residual stream between attention and MLP of `block`, mean over the tokens of the question."""
    seen = {}
    handle = lm.blocks[block].post_attention_layernorm.register_forward_pre_hook(lambda m, x: seen.update(h=x[0]))
    ids = models.encode(lm, prompts)
    heads = [len(x) for x in models.encode(lm, [p.split("<|user|>")[0] for p in prompts])]
    with torch.no_grad():
        padded, mask = models.pad(lm, ids, "right")
        lm.model(input_ids=padded, attention_mask=mask)
    handle.remove()
    return torch.stack([seen["h"][i, heads[i] + 1 : len(ids[i]) - 1].mean(0) for i in range(len(ids))])


def learnt(lm, seed: int, situations: int = 64) -> dict[tuple[str, int], torch.Tensor]:
    """{("learnt", block): (10, d)}: with them added, questions are answered as after a persona line for the value.

    Learnt by gradient on situations of the training kind, from replies that the model itself gives after such lines.
    """
    found = {("learnt", block): [] for block in range(lm.n_layers)}
    for value in VALUES:
        asked = W.situations("train", situations, 1000 + seed, value=value)
        lines = [high for high, _ in planted.persona_pairs(value, situations, seed)]
        plain = [models.chat(lm, s.text) for s in asked]
        told = [models.chat(lm, s.text, system=line) for s, line in zip(asked, lines, strict=True)]
        replies = models.generate(lm, told, max_new_tokens=40, seed=seed)
        vectors = distil(lm, plain, told, [f" {r}" for r in replies], range(lm.n_layers), seed=seed)
        for block, vector in vectors.items():
            found["learnt", block].append(vector)
    return {place: torch.stack(rows) for place, rows in found.items()}


def directions(lm, seed: int, pairs: int = 40) -> tuple[dict, dict]:
    """Directions {(place, block): (10, d)}, and {block: {value: states at "I would"}} under low and high persona lines.

    entry: what a persona line brings to the question's tokens by way of attention. It is added to the prompt one
    block earlier, so that the next MLP meets value and activity together (patching states from one run into the other
    shows that this is where a persona line acts). would, reply: differences after a late block, at "I would" and
    where the reply begins.
    """
    asked = W.situations("train", pairs, 1000 + seed)
    entries = sorted({x["entry"] for x in GRID["two blocks"]})
    exits = sorted({x["exit"] for settings in GRID.values() for x in settings if "exit" in x})
    found, states = {}, {block: {} for block in exits}
    for value in VALUES:
        lines = planted.persona_pairs(value, pairs, seed)
        chats = [[models.chat(lm, s.text, system=x[k]) for s, x in zip(asked, lines, strict=True)] for k in (1, 0)]
        for block in entries:
            low, high = (attended(lm, c, block + 1) for c in chats)
            found.setdefault(("entry", block), []).append((high - low).mean(0))
        would, reply = (
            [capture(lm, [c + end for c in side], exits) for side in chats] for end in (" I would", "")
        )
        for block in exits:
            states[block][value] = [side[block] for side in would]
            for name, (low, high) in (("would", would), ("reply", reply)):
                found.setdefault((name, block), []).append((high[block] - low[block]).mean(0))
    stacked = {place: torch.stack(rows) for place, rows in found.items()}
    return {place: x - x.mean(0) for place, x in stacked.items()}, states


def level_probes(found: dict, states: dict, block: int) -> dict:
    """{value: probe of its level after a block, at "I would"}."""
    return {
        v: level_probe(*states[block][v], layer=block, value=v, direction=found["would", block][k])
        for k, v in enumerate(VALUES)
    }


def plans(method: str, setting: dict, found: dict, states: dict, noise: int | None = None) -> dict:
    """{value: [(plan, scope), ...]} of a method; with `noise`, a seed, random vectors of the same lengths."""
    block = setting.get("exit")
    if method == "minimal, one block":
        levels = level_probes(found, states, block)
        return {v: [(minimal(levels[v], setting["target"]), "all")] for v in VALUES}
    if method == "additive, one block":
        parts = [(block, setting["strength"] * found["would", block], "all")]
    elif method == "additive, two blocks":
        first = setting["before_strength"] * found["would", setting["before"]]
        parts = [(setting["before"], first, "all"), (block, setting["strength"] * found["would", block], "all")]
    elif method == "learnt, every block":
        parts = [(k, setting["strength"] * x, "all") for (kind, k), x in found.items() if kind == "learnt"]
    else:
        mixed = EXIT_MIX[0] * found["would", block] + EXIT_MIX[1] * found["reply", block]
        entry = setting["entry_strength"] * found["entry", setting["entry"]]
        parts = [(setting["entry"], entry, "prompt"), (block, setting["exit_strength"] * mixed, "all")]
    if noise is not None:
        draw = torch.Generator().manual_seed(noise)
        parts = [(k, alike(x, draw), scope) for k, x, scope in parts]
    return {v: [(add({k: x[i]}), scope) for k, x, scope in parts] for i, v in enumerate(VALUES)}


def alike(x: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Random rows, each as long as the row of `x` that it stands for."""
    drawn = torch.randn(x.shape, generator=draw)
    return drawn / drawn.norm(dim=1, keepdim=True) * x.norm(dim=1, keepdim=True)


# ---------------------------------------------------------------------------------- choosing


def choose(rows: list[dict]) -> dict:
    """The row with the largest gain among those grammatical enough; where none is, the most grammatical one."""
    fit = [x for x in rows if x["grammatical_over_unsteered"] >= GRAMMATICAL]
    if fit:
        return max(fit, key=lambda x: x["gain_points"])
    return max(rows, key=lambda x: x["grammatical_over_unsteered"])


def tune(lm, found: dict, states: dict, items: int, seed: int) -> tuple[dict, dict]:
    """({method: chosen setting}, {method: every setting with what it did on situations of the training kind})."""
    bench, curve = Bench(lm, items, 300 + seed, "train"), {}
    plain = bench()
    for method, settings in GRID.items():
        curve[method] = []
        for setting in settings:
            run = bench(plans(method, setting, found, states))
            curve[method].append({
                "setting": setting,
                "gain_points": round(100 * float((run["success"] - plain["success"]).mean()), 2),
                "grammatical_over_unsteered": round(float(run["grammatical"].mean() / plain["grammatical"].mean()), 4),
            })  # fmt: skip
    return {method: choose(rows)["setting"] for method, rows in curve.items()}, curve


# ------------------------------------------------------------------------------------- measuring


class Bench:
    """The same situations for every method; rows of one value share its plan."""

    def __init__(self, lm, items: int, seed: int, split: str):
        self.lm, self.seed = lm, seed
        self.asked = [s for v in VALUES for s in W.situations(split, items, 600 + seed, value=v)]
        self.owner = np.repeat(VALUES, items)
        rng = np.random.default_rng(seed)
        self.high, self.low = ([W.persona_line(v, k, rng) for v in self.owner] for k in (1, -1))

    def __call__(self, plans: dict | None = None, lines: list | None = None) -> dict[str, np.ndarray]:
        """success and grammatical, (n,) each, of one sampled reply a situation."""
        prompts = [
            models.chat(self.lm, s.text, system=line)
            for s, line in zip(self.asked, lines or [None] * len(self.asked), strict=True)
        ]
        with contextlib.ExitStack() as stack:
            for value, parts in (plans or {}).items():
                for plan, scope in parts:
                    stack.enter_context(steer(self.lm, plan, scope=scope, gate=torch.tensor(self.owner == value)))
            said = models.generate(self.lm, prompts, max_new_tokens=70, seed=self.seed, batch_size=256)
        read = [W.parse(t, s.offered) for t, s in zip(said, self.asked, strict=True)]
        won = [
            r.expressed.get(v, 0) > 0 or (r.choice is not None and r.choice.value == v)
            for r, v in zip(read, self.owner, strict=True)
        ]
        return {"success": np.array(won, float), "grammatical": np.array([r.grammatical for r in read], float)}


def boot(function, n: int) -> dict:
    """Estimate and 95 % bounds of a function of item weights."""
    low, high = interval_of_draws(cluster_bootstrap(function, np.arange(n), draws=2000))
    bounds = {"estimate": function(np.ones(n)), "low": low, "high": high}
    return {name: round(float(x), 4) for name, x in bounds.items()}


def gain(after: np.ndarray, before: np.ndarray) -> dict:
    """Percentage points gained over the same situations."""
    return boot(lambda w: 100 * np.average(after - before, weights=w), len(after))


def ratio(after: np.ndarray, before: np.ndarray) -> dict:
    """Share grammatical as a part of the share without steering, over the same situations."""

    def of(w):
        whole = np.average(before, weights=w)
        return np.average(after, weights=w) / whole if whole else 0.0

    return boot(of, len(after))


def facts(lm, plans: dict | None, gate=None, n: int = 60) -> float:
    """Share of facts, sums and look-ups answered to the letter, mean over three steered values."""
    table = W.facts(n, 5)
    shares = []
    for value in ("security", "power", "universalism") if plans else (None,):
        with contextlib.ExitStack() as stack:
            for plan, scope in plans[value] if plans else ():
                stack.enter_context(steer(lm, plan, scope=scope, gate=gate))
            said = models.generate(lm, [models.chat(lm, q) for q, _ in table], max_new_tokens=16, temperature=0.0)
        shares.append(np.mean([W.fact_is_right(x, a) for x, (_, a) in zip(said, table, strict=True)]))
    return round(100 * float(np.mean(shares)), 2)


def joint_against_sequential(states: dict, levels: dict, names: tuple, sides: list, targets: list) -> dict:
    """Worst missed target in logits on states of the model; the joint solution in float32, with the default ridge."""
    h = torch.cat([x for pair in states.values() for x in pair]).double()
    w = torch.stack([levels[v].weight for v in names]).double()
    b = torch.tensor([levels[v].bias for v in names], dtype=torch.float64)
    sign = torch.tensor([{"at least": 1.0, "at most": -1.0}[s] for s in sides], dtype=torch.float64)
    goal = torch.tensor([logit(p) for p in targets], dtype=torch.float64)

    def missed(d):
        return float((sign * (goal - ((h + d.double()) @ w.T + b))).clamp(min=0).max())

    single = joint_shift(h.float(), w.float(), b.float(), targets, sides)
    best = joint_shift(h, w, b, targets, sides, ridge=0.0)
    unit = torch.nn.functional.normalize(w)
    return {
        "demand": ", ".join(f"{v} {s} {p:g}" for v, s, p in zip(names, sides, targets, strict=True)),
        "states": len(h), "least_eigenvalue_of_cosines": float(torch.linalg.eigvalsh(unit @ unit.T)[0]),
        "joint_missed_logits": missed(single), "joint_missed_without_ridge_float64": missed(best),
        "sequential_missed_logits": missed(sequential_shift(h, w, b, targets, sides)),
        "joint_step_against_optimum": float((single.double() - best).norm(dim=-1).max() / best.norm(dim=-1).max()),
    }  # fmt: skip


def measure(lm, items: int, tuning: int, seed: int) -> dict:
    found, states = directions(lm, seed)
    found |= learnt(lm, seed)
    chosen, curve = tune(lm, found, states, tuning, seed)
    methods = {name: plans(name, setting, found, states) for name, setting in chosen.items()}
    for name in ("two blocks", "additive, two blocks", "additive, one block", "learnt, every block"):
        methods[f"random, {name}"] = plans(name, chosen[name], found, states, noise=seed)
    bench, gate = Bench(lm, items, seed, "held_out"), Kit(lm, VALUES[0]).gate()  # one gate serves every value
    runs = {"unsteered": bench(), "persona prompt": bench(lines=bench.high)}
    runs |= {name: bench(way) for name, way in methods.items()}
    plain = runs["unsteered"]
    rows = {}
    for name, run in runs.items():
        rows[name] = {
            "success": round(float(run["success"].mean()), 4),
            "gain_points": gain(run["success"], plain["success"]),
            "gain_by_value": dict(zip(VALUES, (100 * (run["success"] - plain["success"]).reshape(10, -1).mean(1)).round(1).tolist(), strict=True)),  # noqa: E501
            "grammatical": round(float(run["grammatical"].mean()), 4),
            "grammatical_over_unsteered": ratio(run["grammatical"], plain["grammatical"]),
        }
    # which method is best is settled on the situations of the training kind, too
    best = choose([{"method": m, **x} for m, tried in curve.items() for x in tried])["method"]
    random = f"random, {best}" if f"random, {best}" in rows else "random, additive, one block"
    hard, hard_steered = bench(lines=bench.low), bench(methods[best], bench.low)
    pairs = [(plain["success"], runs[best]["success"]), (hard["success"], hard_steered["success"])]
    kept = round(gain_kept(*pairs), 4) if rows[best]["gain_points"]["estimate"] > 0 else None  # of no gain, no share
    opposed = {
        "unsteered": float(hard["success"].mean()), "steered": float(hard_steered["success"].mean()),
        "gain_points": gain(hard_steered["success"], hard["success"]), "share_kept": kept,
    }  # fmt: skip
    shares = {"unsteered": facts(lm, None), "steered, no gate": facts(lm, methods[best]), "steered, gate": facts(lm, methods[best], gate)}  # noqa: E501
    block = chosen["minimal, one block"]["exit"]
    levels = level_probes(found, states, block)
    solved = joint_against_sequential(
        states[block], levels, ("security", "conformity"), ["at least", "at most"], [0.95, 0.3]
    )
    # on a circle three values are nearly dependent: demands that all but contradict each other
    contradiction = joint_against_sequential(
        states[block], levels, ("security", "conformity", "tradition"), ["at least", "at most", "at least"],
        [0.95, 0.3, 0.8],
    )  # fmt: skip
    bars = {
        "best method gains at least 25 points": rows[best]["gain_points"]["estimate"] >= 25,
        "a random direction gains at most 5 points": rows[random]["gain_points"]["estimate"] <= 5,
        "grammatical at least 97 % of unsteered": rows[best]["grammatical_over_unsteered"]["estimate"] >= 0.97,
        "facts with the gate lose at most 1 point": shares["steered, gate"] >= shares["unsteered"] - 1,
        "at least 80 % of the neutral gain kept": kept is not None and kept >= 0.8,
        "joint misses no target by more than 1e-3": solved["joint_missed_logits"] <= 1e-3,
        "best method beats the persona prompt": rows[best]["success"] > rows["persona prompt"]["success"],
    }
    return {"settings": chosen, "rule": {"grammatical_over_unsteered": GRAMMATICAL, "situations": 10 * tuning},
            "curve": curve, "situations": len(plain["success"]), "best": best, "bars": bars, "methods": rows,
            "opposed": opposed, "facts_percent": shares, "joint": solved,
            "joint_near_contradiction": contradiction}  # fmt: skip


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--items", type=int, default=60, help="situations for each value")
    p.add_argument("--tuning", type=int, default=40, help="situations of the training kind for each value")
    p.add_argument("--seed", type=int, default=0)
    args = p.parse_args()
    began, lm = time.time(), models.load(models.EMBEDDED)
    figures = measure(lm, args.items, args.tuning, args.seed)
    record = {
        "machine": f"{cpu()}, {torch.get_num_threads()} thread(s)",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "date": datetime.date.today().isoformat(), "seconds": round(time.time() - began),
        "model": models.card(lm), **figures,
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    shown = ("settings", "best", "bars", "opposed", "facts_percent", "joint", "seconds")
    print(json.dumps({k: record[k] for k in shown}, indent=1))
    for name, row in figures["methods"].items():
        print(f"{name:28s} {row['success']:.3f} {row['gain_points']} grammatical {row['grammatical']:.3f}")


if __name__ == "__main__":
    main()
