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
from typing import Any

import torch

from valuelab import models
from valuelab.measure.harness import cut_at, harness_lm
from valuelab.models import LM
from valuelab.steering.controller import steer

__all__ = ["inspect_model", "lm_eval_model"]


def _hooks(lm: LM, what: Any, options: dict[str, Any]) -> AbstractContextManager:
    return nullcontext() if what is None else steer(lm, what, **options)


def lm_eval_model(lm: LM, what: Any = None, *, batch_size: int = 64, **options: Any):
    """`lm`, steered, as a model of EleutherAI's lm-evaluation-harness.

    Args:
        what: plan, shifts or probes, as for `steering.steer`; None leaves the model as it is.
        options: of `steer`: scope, gate, cap, ...

    Raises:
        ImportError: lm-eval is not installed. ValueError: as `steer`.
    """
    return harness_lm(lm, batch_size=batch_size, within=_hooks(lm, what, options))


def inspect_model(lm: LM, what: Any = None, *, max_tokens: int = 64, **options: Any):
    """`lm`, steered, as a model of Inspect; the provider "valuelab" is registered in this process.

    Replies are greedy unless the task's configuration names a temperature. A question that is asked again (epochs)
    is answered with other draws. `logprobs`, `top_logprobs` and `prompt_logprobs` are given where asked for; a
    conversation that ends with words of the assistant is continued, and they are written as they follow the prompt.
    Requests are answered one by one.

    Args:
        what: plan, shifts or probes, as for `steering.steer`; None leaves the model as it is.
        max_tokens: longest reply where the task does not say.
        options: of `steer`: scope, gate, cap, ...

    Raises:
        ImportError: inspect-ai is not installed. ValueError: as `steer`.
    """
    try:
        from inspect_ai.model import GenerateConfig, Model, ModelAPI, modelapi
    except ImportError as error:
        raise ImportError("Inspect is not installed. Run: pip install 'valuelab[eval]'") from error
    within, asked = _hooks(lm, what, options), Counter()

    @modelapi(name="valuelab")
    class Steered(ModelAPI):
        async def generate(self, input, tools, tool_choice, config):
            if tools:
                raise ValueError("inspect_model: this model calls no tools; give it a task without.")
            head, tail = _prompt(lm, input)
            again = asked[head + tail]
            asked[head + tail] += 1
            with within:  # nothing here waits, so no other request enters before it is left
                return _output(lm, head, tail, config, config.max_tokens or max_tokens, again)

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


def _output(lm: LM, head: str, tail: str, config: Any, longest: int, again: int):
    """Inspect's ModelOutput for one request."""
    from inspect_ai.model import ChatCompletionChoice, ChatMessageAssistant, ModelOutput, ModelUsage

    if tail:
        (ids,), (start,) = models.join(lm, [head], [tail])
    else:
        ids = models.encode(lm, [head])[0]
        start = len(ids)
    said = models.generate_ids(
        lm, [ids] * (config.num_choices or 1), max_new_tokens=longest, temperature=config.temperature or 0.0,
        seed=(config.seed or 0) + 1000 * again,
    )  # fmt: skip
    read = _scored(lm, ids, 1, start, config.prompt_logprobs - 1) if config.prompt_logprobs else None
    choices = []
    for row in said:
        text = lm.tokenizer.decode(row, skip_special_tokens=True).strip()
        choices.append(ChatCompletionChoice(
            message=ChatMessageAssistant(content=cut_at(text, config.stop_seqs or [])),
            stop_reason="max_tokens" if len(row) == longest else "stop",
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
    with lm.announcing(row.new_zeros(1), row.new_tensor([prompt_length])):
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
