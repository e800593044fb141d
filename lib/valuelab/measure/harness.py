"""The course's two-choice measures as tasks for EleutherAI's lm-evaluation-harness (optional extra).

    folder = write_task(items, "out/tasks")                     # YAML, its data, its metrics
    results = run_task(lm, folder)                              # the harness asks our model
    mass = mass_of(results["samples"]["valuelab_two_choice"])   # back to (n, 2, 2), both orders
    summarise_orders(mass, ...)                                 # clustered, as the native runner
    run_task(lm, folder, model=harness_lm(lm, within=steer(lm, plan)))     # the same, steered

From the shell: lm_eval --include_path out/tasks --tasks valuelab_two_choice --model hf ...
The harness prints standard errors that take every row for independent; recompute from the samples.
Needs `pip install valuelab[eval]`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch

from valuelab import models
from valuelab.measure.readout import TwoChoice
from valuelab.models import LM

__all__ = ["TASK", "harness_lm", "mass_of", "run_task", "write_task"]

TASK = "valuelab_two_choice"
LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # the first that is set counts

_YAML = """\
task: {task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{prompt}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: 0
target_delimiter: ""
num_fewshot: 0
process_results: !function {module}.process_results
metric_list:
  - metric: valid
    aggregation: mean
    higher_is_better: true
  - metric: share_a
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

_METRICS = '''\
"""Metrics of one row (one order of one item). Written by valuelab; runs without it."""

import math


def process_results(doc, results):
    """results: (log-likelihood, is greedy) of each choice; the first n_a wordings are content A."""
    mass = [math.exp(r[0] if isinstance(r, (tuple, list)) else r) for r in results]
    a, b = sum(mass[: doc["n_a"]]), sum(mass[doc["n_a"] :])
    return {"valid": a + b, "share_a": a / (a + b) if a + b > 0 else 0.5}
'''


def write_task(items: Sequence[TwoChoice], folder: str | Path) -> Path:
    """Write the YAML task, its rows (two for each item, one an order) and its metrics.

    Prompts are stored as the model sees them, so a chat template must not be applied again.
    Returns the folder, for --include_path.
    """
    out = Path(folder).resolve()
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"{i}", "item": i, "order": order, "context_id": item.context_id,
         "value": item.value or "", "prompt": item.prompts[order],
         "choices": [*item.a[order], *item.b[order]], "n_a": len(item.a[order])}
        for i, item in enumerate(items) for order in (0, 1)
    ]  # fmt: skip
    data = out / f"{TASK}.jsonl"
    data.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    module = f"{TASK}_metrics"
    (out / f"{module}.py").write_text(_METRICS, encoding="utf-8")
    (out / f"{TASK}.yaml").write_text(
        _YAML.format(task=TASK, data=json.dumps(str(data)), module=module), encoding="utf-8"
    )
    return out


def _needs_harness():
    try:
        import lm_eval
    except ImportError as error:
        raise ImportError(
            "The evaluation harness is not installed. Run: pip install 'valuelab[eval]'"
        ) from error
    return lm_eval


def harness_lm(lm: LM, *, batch_size: int = 64, within: AbstractContextManager | None = None):
    """`lm` as the harness wants its models: log-likelihoods, rolling ones, and generation.

    Scores prompt and continuation in one pass without a cache; so agreement with the native runner
    is agreement of two programs. Replies have the length that the task names, else 256 tokens or half
    of a small model's context; a prompt that leaves no room for it loses its beginning.

    Args:
        batch_size: of the scoring.
        within: context in which every request is answered, such as `steering.steer(lm, plan)`. It
            is entered for each list of requests and left after it, so the harness sees an ordinary
            model, and outside the harness `lm` stays as it is.
    """
    _needs_harness()
    from lm_eval.api.model import LM as HarnessBase

    within = within if within is not None else nullcontext()

    class Adapter(HarnessBase):
        def loglikelihood(self, requests):
            pairs = [r.args for r in requests]
            with within:
                return _score_pairs(lm, [p for p, _ in pairs], [c for _, c in pairs], batch_size)

        def loglikelihood_rolling(self, requests):
            start = lm.tokenizer.bos_token or lm.tokenizer.eos_token
            texts = [r.args[0] for r in requests]
            with within:
                found = models.log_probs(lm, [start] * len(texts), texts, batch_size=batch_size)
            return found.tolist()

        def generate_until(self, requests):
            with within:
                return [_generate(lm, *r.args) for r in requests]

    return Adapter()


@torch.no_grad()
def _score_pairs(lm: LM, prompts, continuations, batch_size: int) -> list[tuple[float, bool]]:
    whole, starts = models.join(lm, prompts, continuations)
    models.check_length(lm, whole)
    found: list[tuple[float, bool]] = [(0.0, False)] * len(whole)
    for batch in models.length_batches(whole, batch_size):
        ids, mask = models.pad(lm, [whole[i] for i in batch], "right")
        with lm.announcing(
            torch.tensor(batch, device=lm.device),
            torch.tensor([starts[i] for i in batch], device=lm.device),
            len(whole),
        ):
            logits = lm.model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
        lp = torch.log_softmax(logits, -1)
        for row, i in enumerate(batch):
            span = slice(starts[i] - 1, len(whole[i]) - 1)
            wanted = ids[row, starts[i] : len(whole[i])]
            picked = lp[row, span].gather(-1, wanted[:, None])
            greedy = bool((lp[row, span].argmax(-1) == wanted).all())
            found[i] = (float(picked.sum()), greedy)
    return found


def _generate(lm: LM, prompt: str, settings: dict) -> str:
    """The reply as the harness's own models give it: 256 tokens where the task names no length."""
    stops = settings.get("until") or []
    stops = [stops] if isinstance(stops, str) else stops
    context = models.context_length(lm.model)
    stated = (settings[k] for k in LENGTHS if settings.get(k) is not None)
    longest = int(next(stated, min(256, context // 2)))
    if longest >= context:
        raise ValueError(
            f"harness: the task asks for {longest} new tokens, but {lm.name} reads {context} with the prompt; set "
            "max_gen_toks lower."
        )
    greedy = settings.get("do_sample") is False
    [ids] = models.encode(lm, [prompt])
    [new] = models.generate_ids(
        lm, [ids[longest - context :]], max_new_tokens=longest,
        temperature=0.0 if greedy else float(settings.get("temperature", 0.0)),
    )  # fmt: skip
    return cut_at(lm.tokenizer.decode(new, skip_special_tokens=True).strip(), stops)


def cut_at(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    cuts = [text.index(s) for s in stops if s and s in text]
    return text[: min(cuts)] if cuts else text


def run_task(lm: LM, folder: str | Path, *, model=None) -> dict:
    """Run the written task in the harness; returns its result with samples.

    `model` replaces the adapter: a steered one, or lm_eval.models.huggingface.HFLM(...). HFLM tells
    no one where a prompt ends: under it, steer with scope "all" only.
    """
    _needs_harness()
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate(
        model=model or harness_lm(lm), tasks=[TASK], task_manager=manager, log_samples=True,
        bootstrap_iters=0, verbosity="ERROR",
    )  # fmt: skip


def mass_of(samples: Sequence[dict]) -> np.ndarray:
    """Logged samples -> (n, 2, 2) mass [item, order, content], for forced.summarise_orders."""
    items = 1 + max(s["doc"]["item"] for s in samples)
    mass = np.full((items, 2, 2), math.nan)
    for s in samples:
        doc, lls = s["doc"], [_log_likelihood(r) for r in s["resps"]]
        p = np.exp(lls)
        mass[doc["item"], doc["order"]] = p[: doc["n_a"]].sum(), p[doc["n_a"] :].sum()
    return mass


def _log_likelihood(response) -> float:
    """The log-likelihood inside the harness's nested lists."""
    while isinstance(response, (list, tuple)):
        response = response[0]
    return float(response)
