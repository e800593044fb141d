"""Over-optimisation where the truth is known: gold against proxy over measured KL.

The gold reward is the planted one (`rewards.preferences.gold_reward`): what a reply chooses and says,
-2 where it falls apart. Training never sees it. The proxy is a judge who counts: how often a reply
mentions the value, by a noun or by one of its activities, whatever it says of it and however often.
The two agree well enough at first, and the proxy can be gamed; both facts are measured.

Every run is looked at on held-out questions every few steps. Compare runs at the same measured KL
(`at_kl`), never at the same β. `python -m valuelab sweep` makes all runs (see `rlhf.sweep`); the
outcome of the committed sweep is `stored()`, and `stored(STEPS)` has the training steps of its runs.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from valuelab import models, world
from valuelab.models import LM
from valuelab.rewards.combination import Palette, relax_palette
from valuelab.rewards.exact import best_of_n, kl_from_base
from valuelab.rewards.preferences import gold_reward
from valuelab.rewards.reference import reference_reward
from valuelab.rewards.transforms import all_of, log_sigmoid_centered, weighted_sum
from valuelab.rlhf.kl import k1
from valuelab.rlhf.loop import Config, Trainer, reread, sample_groups
from valuelab.steering.vectors import write_whole
from valuelab.world import NOUNS, Situation
from valuelab.world.grammar import ACTIVITIES

VALUES = ("security", "benevolence")  # the value of the single-reward runs, and the second one
SCALE = 2.0  # logits a mention is worth, for the transform: the sharpness of the planted judges
STORED = Path(__file__).with_name("rlhf_sweep.csv")  # evaluations, every EVERY steps
STEPS = Path(__file__).with_name("rlhf_steps.csv")  # training steps, every one
TOKENS = 28
BASE = Config(prompts=8, replies=8, max_new_tokens=TOKENS, lr=2e-4, steps=20, beta=0.02)
EVERY = 2
# Entropy: three updates a batch, for on the first one π = π_old and there is no change to penalise. All
# four arms have KL-Cov's loss, which has no clip (Clip-Cov's as good as none), so that only the control differs.
UPDATES = replace(BASE, steps=10, updates=3, control="kl_cov", control_weight=0.0, share=0.1)
ENTROPY = {
    "updates": UPDATES,
    "kl-cov": replace(UPDATES, control_weight=5.0),
    "clip-cov": replace(UPDATES, control="clip_cov", band=(0.8, 0.999)),
    "bonus": replace(UPDATES, entropy_bonus=0.1),
}


# ------------------------------------------------------------------------ questions and rewards


@cache
def situations(split: str, n: int, seed: int) -> tuple[Situation, ...]:
    """Half of the questions offer a course of action for the first value, half for the second."""
    halves = [world.situations(split, n // 2, seed, value=v) for v in VALUES]
    return tuple(s for pair in zip(*halves, strict=True) for s in pair)


@cache
def _mention(value: str) -> re.Pattern:
    words = [*NOUNS[value], *(x for a in ACTIVITIES if a.value == value for x in (a.base, a.gerund))]
    return re.compile(r"\b(" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + r")\b", re.I)


def mentions(reply: str, value: str) -> int:
    """How often a reply names a value or one of its activities: all that the proxy sees."""
    return len(_mention(value).findall(reply))


def proxies(replies: Sequence[str]) -> Tensor:
    """Proxy rewards for both values, (2, n), in logits."""
    return SCALE * torch.tensor([[mentions(r, v) for r in replies] for v in VALUES], dtype=torch.float32)


def golds(asked: Sequence[Situation], replies: Sequence[str]) -> Tensor:
    """Planted rewards for both values, (2, n)."""
    return torch.tensor([[gold_reward(r, s, v) for r, s in zip(replies, asked, strict=True)] for v in VALUES])


def base_proxies(lm: LM, asked: Sequence[Situation], samples: int = 16, seed: int = 0) -> Tensor:
    """Proxies of base replies, (2, questions, samples): drawn once, then frozen."""
    g = torch.Generator().manual_seed(seed)
    prompts = [models.chat(lm, s.text) for s in asked]
    texts = sample_groups(lm, prompts, samples, max_new_tokens=TOKENS, generator=g).texts
    return proxies(texts).view(2, len(asked), samples)


def references(base: Tensor) -> Tensor:
    """0.85 quantile of each question's proxies, (2, questions, samples) to (2, questions)."""
    return torch.stack([reference_reward(p) for p in base])


def palette(base: Tensor) -> Palette:
    """MAP's weights for both values: the nearest policy that lifts each half-way to its reference.

    Args:
        base: proxies of base replies, (2, questions, samples).

    Returns:
        The solved palette; where the wish is out of reach, that of the largest share of it.
    """
    start = base.mean((1, 2))
    wish = start + (references(base).mean(1) - start) / 2
    return relax_palette(base.permute(1, 2, 0), wish)[1]


def utility(method: str, proxy: Tensor, reference: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
    """One number for each reply from its two proxy rewards, (2, n) to (n,).

    Args:
        method: "one" (the first value alone), "w0.25" (weighted sum with that weight on the first
            value; "w0.5" is the raw sum), "map" (weighted sum with a palette's weights, brought to
            the same total), or "and" (sum of log-sigmoid-centred terms).
        proxy: (2, n).
        reference: (2, n), for "and".
        weights: (2,), for "map".

    Raises:
        ValueError: unknown method, "and" without references, or "map" without weights.
    """
    if method == "one":
        return proxy[0]
    if method == "and" and reference is not None:
        return all_of(log_sigmoid_centered(proxy, reference))
    if method == "map" and weights is not None:
        return 2 * weighted_sum(proxy, weights / weights.sum())
    if re.fullmatch(r"w0?\.\d+", method):
        w = float(method[1:])
        return 2 * weighted_sum(proxy, [w, 1 - w])
    raise ValueError(
        f"utility: method={method!r}; choose 'one', 'w0.5' (any weight), 'and' with references, or 'map' with weights."
    )


# --------------------------------------------------------------------------------- one run

TRAINING = ("step", "reward", "kl", "entropy", "length", "selected", "tokens")  # columns of the steps


@dataclass(frozen=True)
class Cell:
    """One run of the sweep: an arm (what it is compared as), the reward's method, and the settings."""

    arm: str
    method: str
    config: Config

    @property
    def name(self) -> str:
        return f"{self.arm}-b{self.config.beta:g}-s{self.config.seed}"


SEEDS = 3  # of each kind: as many as the stored sweep has


def sweep(seeds: int = SEEDS) -> list[Cell]:
    """All runs, seed after seed: one reward at three KL strengths, two rewards put together five ways,
    entropy controls, and noise.
    """
    cells = []
    for base in (replace(BASE, seed=s) for s in range(seeds)):
        cells += [Cell(m, m, base) for m in ("one", "and", "map", "w0.5", "w0.33", "w0.67")]
        cells += [Cell("one", "one", replace(base, beta=b, steps=16)) for b in (0.1, 0.4)]
        cells += [Cell(arm, "one", replace(c, seed=base.seed)) for arm, c in ENTROPY.items()]
        cells += [Cell("noise", "noise", replace(base, steps=10))]
    return cells


def evaluate(policy: LM, base: LM, asked: Sequence[Situation], replies: int = 8, seed: int = 99) -> dict[str, float]:
    """Fresh samples on held-out questions, judged by proxy and gold.

    Returns:
        kl: mean log-ratio of whole replies to the base, in nats; proxy_a, proxy_b, gold_a, gold_b:
        means; proxies in mentions; both_good: share of replies with both golds above 0; good_a;
        tail: 10th percentile over questions of the mean gold of their replies (gold_a); tail_both:
        the same of the mean of both golds; length in tokens; distinct: share of different word pairs
        among all; entropy of a token; coherent: share that the oracle can make sense of.
    """
    g = torch.Generator().manual_seed(seed)
    batch = sample_groups(
        policy, [models.chat(base, s.text) for s in asked], replies, max_new_tokens=TOKENS, generator=g
    )
    with torch.no_grad():
        log_p, entropy, _ = reread(policy, batch)
        log_ref = reread(base, batch)[0]
    every = [s for s in asked for _ in range(replies)]
    gold, proxy = golds(every, batch.texts), proxies(batch.texts) / SCALE
    by_question = gold.view(2, len(asked), replies).mean(-1)
    pairs = [p for text in batch.texts for p in pairwise(text.lower().split())]
    good = gold > 0
    coherent = [world.parse(t, s.offered).coherent for t, s in zip(batch.texts, every, strict=True)]
    return {
        "kl": float((k1(log_p, log_ref) * batch.mask).sum(1).mean()),
        "proxy_a": float(proxy[0].mean()), "proxy_b": float(proxy[1].mean()),
        "gold_a": float(gold[0].mean()), "gold_b": float(gold[1].mean()),
        "good_a": float(good[0].float().mean()), "both_good": float(good.all(0).float().mean()),
        "tail": float(by_question[0].quantile(0.1)), "tail_both": float(by_question.mean(0).quantile(0.1)),
        "length": float(batch.mask.sum(1).float().mean()), "distinct": len(set(pairs)) / max(1, len(pairs)),
        "entropy": float((entropy * batch.mask).sum() / batch.mask.sum()),
        "coherent": float(np.mean(coherent)),
    }  # fmt: skip


def run_cell(
    lm: LM, cell: Cell, *, folder: str | Path | None = None, held_out: int = 24, every: int = EVERY,
    steps: int | None = None, on_step: Callable[[], None] = lambda: None,
) -> tuple[list[dict], list[dict]]:  # fmt: skip
    """One run: what held-out questions say of it, and what each training step reports.

    Args:
        lm: the reference.
        cell: what to run.
        folder: for checkpoints, so that a killed run goes on.
        held_out: questions of each evaluation.
        every: steps between evaluations; the first is step 0, the base.
        steps: stop earlier than the cell says (a slice of the same run).
        on_step: called after each step; what it raises ends the run there.

    Returns:
        Rows of `evaluate` at each evaluation, and rows with reward, kl, entropy, length, selected and
        tokens (the tokens that the entropy control took hold of in the last update, out of how many).
    """
    train_on, test_on = situations("train", 64, 7), situations("held_out", held_out, 8)
    texts = [s.text for s in train_on]
    base = base_proxies(lm, train_on) if cell.method in ("and", "map") else None
    reference = references(base) if cell.method == "and" else None
    weights = palette(base).weights.float() if cell.method == "map" else None
    noise = torch.Generator().manual_seed(1000 + cell.config.seed)
    place = {t: i for i, t in enumerate(texts)}

    def reward(questions: list[str], replies: list[str]) -> Tensor:
        if cell.method == "noise":
            return 2 * torch.randn(len(replies), generator=noise)
        columns = None if reference is None else reference[:, [place[q] for q in questions]]
        return utility(cell.method, proxies(replies), columns, weights)

    trainer = Trainer(lm, texts, reward, cell.config)
    done = trainer.resume(folder) if folder else 0
    if cell.method == "noise":  # the noise of the steps already made
        torch.randn(done * cell.config.prompts * cell.config.replies, generator=noise)
    names = {"arm": cell.arm, "beta": cell.config.beta, "seed": cell.config.seed}
    saved = Path(folder) / "evaluations.json" if folder else None
    rows = json.loads(saved.read_text(encoding="utf-8")) if saved and saved.exists() else []
    rows = [r for r in rows if r["step"] <= done]
    while True:
        step = len(trainer.rows)
        if step % every == 0 and step not in [r["step"] for r in rows]:
            rows.append({**names, "step": step, **evaluate(trainer.policy, lm, test_on)})
            if folder:
                trainer.save(folder)
                write_whole(saved, json.dumps(rows).encode())
        if step >= (steps or cell.config.steps):
            return rows, [{**names, **{k: r[k] for k in TRAINING}} for r in trainer.rows]
        trainer.step()
        on_step()


def best_of_n_rows(
    lm: LM, draws: Sequence[int] = (1, 2, 4, 8, 16, 32), questions: int = 24, pool: int = 64
) -> list[dict]:
    """Best-of-n by the same utilities, exactly on a pool of base replies (no training): rows as `evaluate` has them.

    The KL is computed, too: log n - (n - 1) / n would be too large, for replies with as many mentions tie.
    """
    asked = situations("held_out", questions, 8)
    g = torch.Generator().manual_seed(5)
    texts = sample_groups(lm, [models.chat(lm, s.text) for s in asked], pool, max_new_tokens=TOKENS, generator=g).texts
    proxy = proxies(texts)
    gold = golds([s for s in asked for _ in range(pool)], texts).view(2, questions, pool)
    reference = torch.stack([reference_reward(p.view(questions, pool)) for p in proxy]).repeat_interleave(pool, 1)
    rows = []
    for method in ("one", "w0.5", "and"):
        score = utility(method, proxy, reference).view(questions, pool).double()
        for n in draws:
            log_p = best_of_n(score, n)
            p = log_p.exp()
            by_question = (p * gold).sum(-1)
            rows.append({
                "arm": f"best-of-n {method}", "beta": 0.0, "seed": 0, "step": n,
                "kl": float(kl_from_base(log_p).mean()),
                "proxy_a": float((p * proxy[0].view(questions, pool)).sum(-1).mean()) / SCALE,
                "proxy_b": float((p * proxy[1].view(questions, pool)).sum(-1).mean()) / SCALE,
                "gold_a": float(by_question[0].mean()), "gold_b": float(by_question[1].mean()),
                "good_a": float((p * (gold[0] > 0)).sum(-1).mean()),
                "both_good": float((p * (gold > 0).all(0)).sum(-1).mean()),
                "tail": float(by_question[0].quantile(0.1)),
                "tail_both": float(by_question.mean(0).quantile(0.1)),
            })  # fmt: skip
    return rows


# ------------------------------------------------------------------------------- reading it


def write_table(path: Path, rows: Sequence[dict]) -> None:
    """Rows as CSV, four digits each; a column that a row lacks stays empty."""
    keys = list(max(rows, key=len))
    cells = [[f"{r[k]:.4g}" if isinstance(r.get(k), float) else str(r.get(k, "")) for k in keys] for r in rows]
    text = "\n".join(",".join(line) for line in [keys, *cells]) + "\n"
    write_whole(path, text.encode())


def stored(path: str | Path = STORED) -> list[dict]:
    """The rows of a table of the committed sweep, numbers as numbers.

    Raises:
        FileNotFoundError: no sweep has been written; the message says how.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; write it with python -m valuelab sweep --store.")
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v if k == "arm" else float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]


def stored_record() -> dict:
    """What made the committed sweep: model, commits, seeds, settings of every arm, MAP's weights."""
    return json.loads(STORED.with_suffix(".json").read_text(encoding="utf-8"))


def curve(
    rows: Sequence[dict], arm: str, beta: float | None = None, seed: float | None = None
) -> dict[str, np.ndarray]:
    """Columns of the rows of an arm, in the order of their steps."""
    chosen = [
        r for r in rows
        if r["arm"] == arm and (beta is None or r["beta"] == beta) and (seed is None or r["seed"] == seed)
    ]  # fmt: skip
    if not chosen:
        raise ValueError(f"curve: no rows of arm {arm!r}; there are {', '.join(sorted({r['arm'] for r in rows}))}.")
    chosen.sort(key=lambda r: (r["beta"], r["seed"], r["step"]))
    return {k: np.array([r[k] for r in chosen]) for k in chosen[0] if k != "arm"}


def at_kl(
    rows: Sequence[dict], arm: str, key: str, kl: float, beta: float | None = None, by: str = "kl"
) -> np.ndarray:
    """`key` where each seed's run passes a KL of `kl`, (seeds,): straight lines between evaluations.

    NaN for a run that never gets there. `by` compares at the same level of another column.
    """
    found = []
    for seed in sorted(set(curve(rows, arm, beta)["seed"])):
        c = curve(rows, arm, beta, seed)
        above = np.flatnonzero(c[by] >= kl)
        if not len(above) or above[0] == 0:
            found.append(np.nan if not len(above) else c[key][0])
            continue
        k = above[0]
        share = (kl - c[by][k - 1]) / (c[by][k] - c[by][k - 1])
        found.append(c[key][k - 1] + share * (c[key][k] - c[key][k - 1]))
    return np.array(found)
