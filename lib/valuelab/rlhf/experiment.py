"""Over-optimisation where the truth is known: gold against proxy over measured KL.

    python -m valuelab.rlhf.experiment --out FOLDER        # resumable; about ten minutes on two cores

The gold reward is the planted one (`rewards.preferences.gold_reward`): what a reply chooses and says,
-2 where it falls apart. Training never sees it. The proxy is a judge who counts: how often a reply
mentions the value, by a noun or by one of its activities, whatever it says of it and however often.
The two agree well enough at first, and the proxy can be gamed; both facts are measured.

Every run is looked at on held-out questions every few steps. Compare runs at the same measured KL
(`at_kl`), never at the same β. The outcome of the committed sweep is `stored()`.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from valuelab import __version__, models, world
from valuelab.models import LM
from valuelab.rewards.exact import best_of_n, best_of_n_kl
from valuelab.rewards.preferences import gold_reward
from valuelab.rewards.reference import reference_reward
from valuelab.rewards.transforms import all_of, log_sigmoid_centered, weighted_sum
from valuelab.rlhf.kl import k1
from valuelab.rlhf.loop import Config, Trainer, reread, sample_groups
from valuelab.world import NOUNS, Situation
from valuelab.world.grammar import ACTIVITIES

VALUES = ("security", "benevolence")  # the value of the single-reward runs, and the second one
SCALE = 2.0  # logits a mention is worth, for the transform: the sharpness of the planted judges
STORED = Path(__file__).with_name("rlhf_sweep.csv")
TOKENS = 28
BASE = Config(prompts=8, replies=8, max_new_tokens=TOKENS, lr=3e-4, steps=20, beta=0.02)
EVERY = 5


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


def references(lm: LM, asked: Sequence[Situation], samples: int = 16, seed: int = 0) -> Tensor:
    """0.85 quantile of the proxies of base replies, (2, questions): drawn once, then frozen."""
    g = torch.Generator().manual_seed(seed)
    prompts = [models.chat(lm, s.text) for s in asked]
    texts = sample_groups(lm, prompts, samples, max_new_tokens=TOKENS, generator=g).texts
    return torch.stack([reference_reward(p.view(len(asked), samples)) for p in proxies(texts)])


def utility(method: str, proxy: Tensor, reference: Tensor | None = None) -> Tensor:
    """One number for each reply from its two proxy rewards, (2, n) to (n,).

    Args:
        method: "one" (the first value alone), "w0.25" (weighted sum with that weight on the first
            value; "w0.5" is the raw sum), or "and" (sum of log-sigmoid-centred terms).
        proxy: (2, n).
        reference: (2, n), for "and".

    Raises:
        ValueError: unknown method, or "and" without references.
    """
    if method == "one":
        return proxy[0]
    if method == "and" and reference is not None:
        return all_of(log_sigmoid_centered(proxy, reference))
    if re.fullmatch(r"w0?\.\d+", method):
        w = float(method[1:])
        return 2 * weighted_sum(proxy, [w, 1 - w])
    raise ValueError(f"utility: method={method!r}; choose 'one', 'w0.5' (any weight), or 'and' with references.")


# --------------------------------------------------------------------------------- one run


@dataclass(frozen=True)
class Cell:
    """One run of the sweep: an arm (what it is compared as), the reward's method, and the settings."""

    arm: str
    method: str
    config: Config

    @property
    def name(self) -> str:
        return f"{self.arm}-b{self.config.beta:g}-s{self.config.seed}"


def sweep(seeds: int = 3) -> list[Cell]:
    """All runs: one reward at three KL strengths, two rewards put together four ways, and noise."""
    base = [replace(BASE, seed=s) for s in range(seeds)]
    cells = [Cell("one", "one", c) for c in base]
    cells += [Cell(m, m, c) for m in ("and", "w0.5", "w0.33", "w0.67") for c in base]
    cells += [Cell("noise", "noise", replace(c, steps=10)) for c in base]
    cells += [Cell("one", "one", replace(c, beta=b, steps=15)) for b in (0.1, 0.4) for c in base]
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
    steps: int | None = None,
) -> list[dict]:  # fmt: skip
    """One run with its evaluations: rows at step 0 (the base) and after every `every` steps.

    Args:
        lm: the reference.
        cell: what to run.
        folder: for checkpoints, so that a killed run goes on.
        held_out: questions of each evaluation.
        steps: stop earlier than the cell says (a slice of the same run).
    """
    train_on, test_on = situations("train", 64, 7), situations("held_out", held_out, 8)
    texts = [s.text for s in train_on]
    reference = references(lm, train_on) if cell.method == "and" else None
    noise = torch.Generator().manual_seed(1000 + cell.config.seed)
    place = {t: i for i, t in enumerate(texts)}

    def reward(questions: list[str], replies: list[str]) -> Tensor:
        if cell.method == "noise":
            return 2 * torch.randn(len(replies), generator=noise)
        columns = None if reference is None else reference[:, [place[q] for q in questions]]
        return utility(cell.method, proxies(replies), columns)

    trainer = Trainer(lm, texts, reward, cell.config)
    done = trainer.resume(folder) if folder else 0
    if cell.method == "noise":  # the noise of the steps already made
        torch.randn(done * cell.config.prompts * cell.config.replies, generator=noise)
    saved = Path(folder) / "evaluations.json" if folder else None
    rows = json.loads(saved.read_text(encoding="utf-8")) if saved and saved.exists() else []
    rows = [r for r in rows if r["step"] <= done]
    while True:
        step = len(trainer.rows)
        if step % every == 0 and step not in [r["step"] for r in rows]:
            found = evaluate(trainer.policy, lm, test_on)
            selected = sum(r["selected"] for r in trainer.rows)
            rows.append({"arm": cell.arm, "beta": cell.config.beta, "seed": cell.config.seed, "step": step, **found,
                         "selected": selected})  # fmt: skip
            if folder:
                trainer.save(folder)
                saved.write_text(json.dumps(rows), encoding="utf-8")
        if step >= (steps or cell.config.steps):
            return rows
        trainer.step()


def best_of_n_rows(
    lm: LM, draws: Sequence[int] = (1, 2, 4, 8, 16, 32), questions: int = 24, pool: int = 64
) -> list[dict]:
    """Best-of-n by the same utilities, exactly on a pool of base replies (no training): rows as `evaluate` has them."""
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
            p = best_of_n(score, n).exp()
            by_question = (p * gold).sum(-1)
            rows.append({
                "arm": f"best-of-n {method}", "beta": 0.0, "seed": 0, "step": n, "kl": best_of_n_kl(n),
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


def stored(path: str | Path = STORED) -> list[dict]:
    """The rows of the committed sweep, numbers as numbers.

    Raises:
        FileNotFoundError: no sweep has been written; the message says how.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; write it with python -m valuelab.rlhf.experiment --out FOLDER.")
    with path.open(newline="", encoding="utf-8") as file:
        return [{k: v if k == "arm" else float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]


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


def at_kl(rows: Sequence[dict], arm: str, key: str, kl: float, beta: float | None = None) -> np.ndarray:
    """`key` where each seed's run passes a KL of `kl`, (seeds,): straight lines between evaluations.

    NaN for a run that never gets there.
    """
    found = []
    for seed in sorted(set(curve(rows, arm, beta)["seed"])):
        c = curve(rows, arm, beta, seed)
        above = np.flatnonzero(c["kl"] >= kl)
        if not len(above) or above[0] == 0:
            found.append(np.nan if not len(above) else c[key][0])
            continue
        k = above[0]
        share = (kl - c["kl"][k - 1]) / (c["kl"][k] - c["kl"][k - 1])
        found.append(c[key][k - 1] + share * (c[key][k] - c[key][k - 1]))
    return np.array(found)


def fit_overoptimisation(kl: np.ndarray, gain: np.ndarray) -> tuple[float, float]:
    """Coefficients (α, β) of gain = d (α - β log d), d = √KL: the law of Gao and others for RL.

    Its top is at d = exp(α / β - 1). Least squares; points at KL 0 say nothing and are left out.

    Raises:
        ValueError: fewer than three points away from the base.

    Source: Gao and others, arXiv 2210.10760.
    """
    far = kl > 1e-3
    if far.sum() < 3:
        raise ValueError(f"fit_overoptimisation: {int(far.sum())} points with KL above 0; three are needed.")
    d = np.sqrt(kl[far])
    (alpha, minus), *_ = np.linalg.lstsq(np.column_stack([d, d * np.log(d)]), gain[far], rcond=None)
    return float(alpha), float(-minus)


def turning_point(alpha: float, beta: float) -> float:
    """KL at which the fitted gold gain is largest; infinite where it never turns."""
    return float(np.exp(2 * (alpha / beta - 1))) if beta > 0 else float("inf")


def turning_point_interval(
    kl: np.ndarray, gain: np.ndarray, draws: int = 1000, level: float = 0.95, seed: int = 0,
    groups: np.ndarray | None = None,
) -> tuple[float, float, float]:  # fmt: skip
    """Turning point in KL with a bootstrap interval; whole runs are drawn again where `groups` names them."""
    rng = np.random.default_rng(seed)
    groups = np.arange(len(kl)) if groups is None else groups
    names = np.unique(groups)
    found = []
    for _ in range(draws):
        chosen = np.concatenate([np.flatnonzero(groups == n) for n in rng.choice(names, len(names))])
        found.append(turning_point(*fit_overoptimisation(kl[chosen], gain[chosen])))
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return turning_point(*fit_overoptimisation(kl, gain)), float(low), float(high)


# ---------------------------------------------------------------------------- the command line


def _work(task: tuple[str | None, Cell, str]) -> str:
    torch.set_num_threads(1)
    name, cell, out = task
    folder = Path(out) / cell.name
    done = folder / "done.json"
    if not done.exists():
        start = time.perf_counter()
        rows = run_cell(models.load(name), cell, folder=folder)
        record = {"rows": rows, "seconds": time.perf_counter() - start}
        done.write_text(json.dumps(record), encoding="utf-8")
        for left in folder.glob("checkpoint-*/*"):
            left.unlink()
    return cell.name


def write_table(path: Path, rows: Sequence[dict], record: dict) -> None:
    """rlhf_sweep.csv with the rows, four digits each, and rlhf_sweep.json with what made them."""
    keys = list(max(rows, key=len))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(keys)
        for r in rows:
            table.writerow([f"{r[k]:.4g}" if isinstance(r.get(k), float) else r.get(k, "") for k in keys])
    path.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None, say: Callable[[str], None] = print) -> None:
    """Run or finish the sweep, and write its table into the folder; `--store` also beside this module."""
    parser = argparse.ArgumentParser(prog="python -m valuelab.rlhf.experiment", description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder of the runs; a killed sweep goes on from it")
    parser.add_argument("--model", help="hub id or folder; the embedded model without it")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", nargs="*", help="only these arms")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--store", action="store_true", help="also replace the table that lessons read")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    cells = [c for c in sweep(options.seeds) if not options.arms or c.arm in options.arms]
    start = time.perf_counter()
    tasks = [(options.model, c, str(out)) for c in cells]
    if options.processes > 1:
        with get_context("spawn").Pool(options.processes) as pool:
            for k, name in enumerate(pool.imap_unordered(_work, tasks)):
                say(f"{k + 1}/{len(cells)} {name}")
    else:
        for k, task in enumerate(tasks):
            say(f"{k + 1}/{len(cells)} {_work(task)}")
    lm = models.load(options.model)
    found = [json.loads((out / c.name / "done.json").read_text(encoding="utf-8")) for c in cells]
    pairs = [(c, row) for c, f in zip(cells, found, strict=True) for row in f["rows"]]
    rows = [row for c, row in pairs if row["step"] <= c.config.steps] + best_of_n_rows(lm)
    record = {
        "model": lm.name if lm.embedded else "not the embedded model", "fingerprint": lm.fingerprint,
        "valuelab": __version__, "torch": torch.__version__, "python": platform.python_version(),
        "seeds": options.seeds, "values": VALUES, "base_config": asdict(BASE),
        "seconds_of_runs": round(sum(f["seconds"] for f in found)),
        "seconds": round(time.perf_counter() - start), "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip
    for path in [out / STORED.name, *([STORED] if options.store else [])]:
        write_table(path, rows, record)
        say(f"written: {path.name}, {len(rows)} rows")


if __name__ == "__main__":
    main()
