"""One RLOO step on the embedded model, beside TRL's RLOOTrainer on the same step, in one run.

    python benchmarks/rlhf_step.py [--threads 2] [--rounds 7] [--steps 4] [--without-trl]

16 prompts, 8 replies each, 24 tokens at most, KL in the reward, one update: sampling, scoring,
reference and policy passes, backward and AdamW. Both get the same model, prompts, reward function
and settings. They take turns, because a shared machine is slower in one minute than in the next; the ratio is that of
the medians of a round, the middle one of all rounds. Writes results/rlhf_step.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from valuelab import models
from valuelab.rlhf.experiment import mentions, situations
from valuelab.rlhf.loop import Config, Trainer

PROMPTS, REPLIES, TOKENS, BETA, LR = 16, 8, 24, 0.05, 1e-4


def score(replies) -> list[float]:
    return [float(mentions(r, "security")) for r in replies]


def ours(lm, questions, steps: int) -> list[dict]:
    config = Config(
        prompts=PROMPTS, replies=REPLIES, max_new_tokens=TOKENS, beta=BETA, lr=LR, warmup=1, steps=steps + 1
    )
    trainer = Trainer(lm, questions, lambda q, r: torch.tensor(score(r)), config)
    return [trainer.step() for _ in range(steps + 1)][1:]  # the first one warms up


def theirs(lm, questions, steps: int) -> list[float]:
    import trl
    from datasets import Dataset
    from transformers import TrainerCallback

    start = lm.tokenizer.bos_token  # TRL's tokenisation adds it again
    asked = [models.chat(lm, q).removeprefix(start) for q in questions]
    marks: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            marks.append(time.perf_counter())

        def on_step_end(self, *args, **kwargs):
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        lm.model.save_pretrained(f"{folder}/model")
        config = trl.RLOOConfig(
            output_dir=folder, per_device_train_batch_size=PROMPTS * REPLIES, num_generations=REPLIES,
            max_completion_length=TOKENS, beta=BETA, learning_rate=LR, max_steps=steps + 1, use_cpu=True,
            bf16=False, gradient_checkpointing=False, report_to=[], disable_tqdm=True, save_strategy="no",
            logging_strategy="no",
        )  # fmt: skip
        trainer = trl.RLOOTrainer(
            model=type(models.plain(lm.model)).from_pretrained(f"{folder}/model"),
            reward_funcs=lambda completions, **_: score(completions), args=config,
            train_dataset=Dataset.from_dict({"prompt": asked}), processing_class=lm.tokenizer,
            callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()
    seconds = [b - a for a, b in zip(marks[::2], marks[1::2], strict=True)]
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4, help="in each round, after one that warms up")
    parser.add_argument("--without-trl", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = models.load()
    weights = {k: v.clone() for k, v in lm.model.state_dict().items()}
    questions = [s.text for s in situations("train", 64, 7)]
    rows, mine, other = [], [], []
    for _ in range(options.rounds):
        lm.model.load_state_dict(weights)  # ours trains it; each round begins with the model as it is shipped
        rows += (found := ours(lm, questions, options.steps))
        mine.append([r["seconds"] for r in found])
        lm.model.load_state_dict(weights)
        if not options.without_trl:
            other.append(theirs(lm, questions, options.steps))
    record = {
        "prompts": PROMPTS, "replies": REPLIES, "max_new_tokens": TOKENS, "rounds": options.rounds,
        "mean_tokens": round(statistics.mean(r["length"] for r in rows), 1),
        "ours_seconds": round(statistics.median(sum(mine, [])), 3),
        "ours_rounds": [round(statistics.median(x), 3) for x in mine],
    }  # fmt: skip
    if other:
        import trl

        ratios = sorted(statistics.median(b) / statistics.median(a) for a, b in zip(mine, other, strict=True))
        record |= {
            "trl_seconds": round(statistics.median(sum(other, [])), 3),
            "trl_rounds": [round(statistics.median(x), 3) for x in other],
            "times_faster": round(statistics.median(ratios), 2),
            "times_faster_rounds": [round(r, 2) for r in ratios], "trl": trl.__version__,
        }  # fmt: skip
    record |= {
        "threads": options.threads, "cores": os.cpu_count(), "load_before": round(os.getloadavg()[0], 1),
        "machine": f"{platform.machine()}, {platform.system()}", "torch": torch.__version__,
        "python": platform.python_version(), "date": date.today().isoformat(),
    }  # fmt: skip
    print(json.dumps(record, indent=1))
    path = Path(__file__).parent / "results" / "rlhf_step.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
