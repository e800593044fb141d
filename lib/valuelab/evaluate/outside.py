"""A steered model as an ordinary model of other evaluation programs (optional extra `eval`).

    lm_eval.simple_evaluate(model=lm_eval_model(lm, plan), tasks=[...])
    inspect_ai.eval(task, model=inspect_model(lm, plan))

The hooks are on while a request is answered and off in between. What is asked natively under `steer(lm, plan)` has
the same log-probabilities and the same greedy replies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from valuelab import models
from valuelab.measure.harness import cut_at, harness_lm
from valuelab.models import LM
from valuelab.steering.controller import steer

__all__ = ["inspect_model", "lm_eval_model"]

WAIT = 0.02  # seconds that a request of Inspect waits for others, to be answered in one batch with them


def _hooks(lm: LM, what: Any, options: dict[str, Any]) -> AbstractContextManager:
    return nullcontext() if what is None else steer(lm, what, **options)


def lm_eval_model(lm: LM, what: Any = None, *, batch_size: int = 64, **options: Any):
    """`lm`, steered, as a model of EleutherAI's lm-evaluation-harness.

    Replies have the length that the task names, else 256 tokens as there (half the context of a model that reads
    fewer than 512); a prompt that leaves no room for it loses its beginning.

    Args:
        what: plan, shifts or probes, as for `steering.steer`; None leaves the model as it is.
        options: of `steer`: scope, gate, cap, ...

    Raises:
        ImportError: lm-eval is not installed. ValueError: as `steer`.
    """
    return harness_lm(lm, batch_size=batch_size, within=_hooks(lm, what, options))


def inspect_model(lm: LM, what: Any = None, *, max_tokens: int = 64, batch_size: int = 32, **options: Any):
    """`lm`, steered, as a model of Inspect; the provider "valuelab" is registered in this process.

    Replies are greedy unless the task's configuration names a temperature. A question that is asked again (epochs)
    is answered with other draws. `logprobs`, `top_logprobs` and `prompt_logprobs` are given where asked for; a
    conversation that ends with words of the assistant is continued, and they are written as they follow the prompt.
    Those that wait at the same time are answered in one batch, each with the random numbers that it would draw alone.

    Args:
        what: plan, shifts or probes, as for `steering.steer`; None leaves the model as it is.
        max_tokens: longest reply where the task does not say.
        batch_size: replies drawn together, and requests that Inspect lets wait at a time (its max_connections).
        options: of `steer`: scope, gate, cap, ...

    Raises:
        ImportError: inspect-ai is not installed. ValueError: as `steer`.
    """
    try:
        import anyio
        from inspect_ai.model import GenerateConfig, Model, ModelAPI, modelapi
    except ImportError as error:
        raise ImportError("Inspect is not installed. Run: pip install 'valuelab[eval]'") from error
    within, asked, waiting = _hooks(lm, what, options), Counter(), []

    @modelapi(name="valuelab")
    class Steered(ModelAPI):
        async def generate(self, input, tools, tool_choice, config):
            if tools:
                raise ValueError("inspect_model: this model calls no tools; give it a task without.")
            head, tail = _prompt(lm, input)
            request = _read(lm, head, tail, config, config.max_tokens or max_tokens, again=asked[head + tail])
            asked[head + tail] += 1
            waiting.append(request)
            try:
                await anyio.sleep(WAIT)
            finally:
                if request in waiting:  # else another has taken it into its batch
                    waiting.remove(request)
            if request.output is None:
                batch = [request, *waiting]
                waiting.clear()
                with within:  # nothing here waits, so no other request enters before it is left
                    _answer(lm, batch, batch_size)
            return request.output

        def max_connections(self):
            return batch_size

    name = lm.name if what is None else f"{lm.name} (steered)"
    return Model(Steered(f"valuelab/{name}"), GenerateConfig())


def _prompt(lm: LM, messages: Sequence[Any]) -> tuple[str, str]:
    """The chat up to the assistant's turn, and what it has said of it already."""
    system = " ".join(m.text for m in messages if m.role == "system")
    turns = [{"role": m.role, "content": m.text} for m in messages if m.role != "system"]
    tail = turns.pop()["content"] if turns and turns[-1]["role"] == "assistant" else ""
    if not turns or turns[-1]["role"] != "user":
        raise ValueError(
            f"inspect_model: roles {[m.role for m in messages]}; the user must speak last, or last but for words that "
            "the assistant has begun with."
        )
    return models.chat(lm, turns[-1]["content"], system or None, turns[:-1]), tail


@dataclass(eq=False)
class _Request:
    """Token ids of a chat, its prompt's length, and what is asked; `output` once it is answered."""

    ids: list[int]
    start: int
    config: Any
    longest: int
    seed: int
    output: Any = None


def _read(lm: LM, head: str, tail: str, config: Any, longest: int, again: int) -> _Request:
    """The request in tokens; one that does not fit into the context is refused here, before it joins others."""
    if tail:
        (ids,), (start,) = models.join(lm, [head], [tail])
    else:
        ids = models.encode(lm, [head])[0]
        start = len(ids)
    models.check_length(lm, [ids], longest)
    return _Request(ids, start, config, longest, (config.seed or 0) + 1000 * again)


def _answer(lm: LM, requests: Sequence[_Request], batch_size: int) -> None:
    """Fill in the outputs; requests of one length and temperature are drawn together."""
    kinds: dict[tuple[int, float], list[_Request]] = {}
    for r in requests:
        kinds.setdefault((r.longest, r.config.temperature or 0.0), []).append(r)
    for (longest, temperature), alike in kinds.items():
        for r, said in zip(alike, _draw(lm, alike, longest, temperature, batch_size), strict=True):
            r.output = _output(lm, r, said)


def _draw(
    lm: LM, requests: Sequence[_Request], longest: int, temperature: float, batch_size: int
) -> list[list[list[int]]]:
    """New tokens of every choice of every request, as `models.generate_ids` draws them for that request alone."""
    choices = [r.config.num_choices or 1 for r in requests]
    rows = [(k, c) for k, n in enumerate(choices) for c in range(n)]
    ids = [requests[k].ids for k, _ in rows]
    uniform = torch.cat([
        torch.rand(longest, n, generator=torch.Generator().manual_seed(r.seed), dtype=torch.float64)
        for r, n in zip(requests, choices, strict=True)
    ], 1)  # fmt: skip
    said = iter(models.draw_replies(lm, ids, [c for _, c in rows], uniform, temperature, batch_size))
    return [list(islice(said, n)) for n in choices]


def _output(lm: LM, request: _Request, said: Sequence[list[int]]):
    """Inspect's ModelOutput for one request."""
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput, ModelUsage

    ids, config = request.ids, request.config
    read = _scored(lm, ids, 1, request.start, config.prompt_logprobs - 1) if config.prompt_logprobs else None
    choices = []
    for row in said:
        text = lm.tokenizer.decode(row, skip_special_tokens=True).strip()
        choices.append(ChatCompletionChoice(
            message=ChatMessageAssistant(content=cut_at(text, config.stop_seqs or [])),
            stop_reason="max_tokens" if len(row) == request.longest else "stop",
            logprobs=_scored(lm, ids + row, len(ids), len(ids), config.top_logprobs or 0) if config.logprobs else None,
            prompt_logprobs=read,
        ))  # fmt: skip
    new = sum(map(len, said))
    usage = ModelUsage(input_tokens=len(ids), output_tokens=new, total_tokens=len(ids) + new)
    return ModelOutput(model=lm.name, choices=choices, usage=usage)


@torch.no_grad()
def _scored(lm: LM, ids: list[int], first: int, prompt_length: int, top: int):
    """Inspect's Logprobs of tokens `first` onward, in nats, with the `top` likeliest beside each."""
    from inspect_ai.model import Logprob, Logprobs, TopLogprob

    row = torch.tensor([ids], device=lm.device)
    with lm.announcing(row.new_zeros(1), row.new_tensor([prompt_length]), 1):
        logits = lm.model(input_ids=row).logits[0, first - 1 : -1]
    lp = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), -1)  # (tokens, V)
    best = lp.topk(top)

    def word(token: int) -> str:
        return lm.tokenizer.decode([token])

    return Logprobs(content=[
        Logprob(
            token=word(token), logprob=float(lp[t, token]),
            top_logprobs=[TopLogprob(token=word(int(k)), logprob=float(p))
                          for p, k in zip(best.values[t], best.indices[t], strict=True)] if top else None,
        )
        for t, token in enumerate(ids[first:])
    ])  # fmt: skip
