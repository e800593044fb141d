"""The transforms as reward functions of other trainers: TRL, OpenRLHF, verl. Plain callables.

A scorer is any function (prompts, replies) -> (n,) rewards; see `reward_model.RewardModel.scorer`.

What goes wrong without a word, and what is done about it here:
- TRL decodes replies without special tokens, while a reward model was trained on replies that end
  with one. `trl_reward` puts the end token back where the sampled ids show that the reply ended by
  itself, and leaves it off where it was cut short.
- TRL treats an `nn.Module` as a sequence classifier and calls it itself, so a transform must be a
  plain function. It also treats None or NaN as "no opinion" and sums the rest; in an AND, where 0
  is the highest term, an unscored property would count as perfect. NaN raises here instead.
- GRPO's default `scale_rewards="group"` undoes the transform. Use RLOO, or "none".
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from valuelab.rewards.transforms import log_sigmoid_centered

__all__ = ["openrlhf_reward", "trl_reward", "trl_rewards", "verl_score"]

Scorer = Callable[[Sequence[str], Sequence[str]], Tensor]
Transform = Callable[[Tensor, Tensor], Tensor]


def trl_reward(
    score: Scorer,
    *,
    name: str,
    r_ref: str | float | None = None,
    transform: Transform = log_sigmoid_centered,
    eos_token: str = "",
    eos_token_id: int | None = None,
) -> Callable[..., list[float]]:
    """A reward function for `trl.GRPOTrainer` and `trl.RLOOTrainer`.

    Args:
        score: rewards of replies, (prompts, replies) -> (n,).
        name: shown in TRL's logs as rewards/<name>/mean.
        r_ref: dataset column with the reference reward of each prompt, one number for all
            prompts, or None for the raw reward.
        transform: (r, r_ref) -> utility.
        eos_token: text put back at the end of replies that ended by themselves; "" for none.
        eos_token_id: its id, by which a finished reply is told from one cut short.

    Returns:
        Plain callable with TRL's keyword contract; logs <name>/p_good where TRL lets it.

    Raises (when called):
        KeyError: the dataset has no column `r_ref`.
        ValueError: a reward or reference is not finite, or the number of rewards is wrong.
    """

    def reward(prompts, completions, completion_ids=None, log_metric=None, **columns):
        ids = completion_ids or [()] * len(completions)
        replies = [
            _text(c) + (eos_token if _ended(i, eos_token_id) else "")
            for c, i in zip(completions, ids, strict=True)
        ]
        r = _scores(score, [_text(p) for p in prompts], replies, name)
        if r_ref is None:
            return r.tolist()
        reference = _reference(r_ref, columns, len(r), name)
        u = transform(r, reference)
        if log_metric is not None:
            log_metric(f"{name}/p_good", float(torch.sigmoid(r - reference).mean()))
        return u.tolist()

    reward.__name__ = name
    return reward


def trl_rewards(
    scorers: Mapping[str, Scorer],
    r_ref: Mapping[str, str | float],
    monitor: Mapping[str, Scorer] | None = None,
    **options,
) -> tuple[list[Callable[..., list[float]]], list[float]]:
    """`reward_funcs` and `reward_weights` for an AND, with rewards that are only watched.

    Args:
        scorers: property -> scorer; each is transformed, and TRL's sum of them is the AND.
        r_ref: property -> column or number.
        monitor: name -> scorer logged with weight 0, e.g. the gold reward beside its proxy.
        **options: passed to `trl_reward` (transform, eos_token, eos_token_id).

    Raises:
        KeyError: a property has no reference.
    """
    missing = [name for name in scorers if name not in r_ref]
    if missing:
        raise KeyError(f"trl_rewards: no r_ref for {', '.join(missing)}; give a column or a number.")
    functions = [trl_reward(f, name=n, r_ref=r_ref[n], **options) for n, f in scorers.items()]
    weights = [1.0] * len(functions)
    watched = {key: value for key, value in options.items() if key != "transform"}
    for name, scorer in (monitor or {}).items():
        functions.append(trl_reward(scorer, name=name, **watched))
        weights.append(0.0)
    return functions, weights


def openrlhf_reward(
    scorers: Mapping[str, Scorer], transform: Transform = log_sigmoid_centered
) -> Callable[..., dict]:
    """`reward_func(queries, prompts, labels)` for OpenRLHF's `--remote_rm_url file.py`.

    The label of each prompt is JSON: property -> reference reward, e.g. '{"helpful": 1.2}'.
    Rewards are the AND of the properties; scores are its probability, in [0, 1].

    Raises (when called):
        ValueError: a query does not begin with its prompt, a label lacks a property, or a reward
            is not finite.
    """

    def reward_func(queries, prompts, labels, **_):
        references = [_label(label, scorers) for label in labels]
        replies = [_after(q, p) for q, p in zip(queries, prompts, strict=True)]
        total, logs = torch.zeros(len(replies), dtype=torch.float64), {}
        for name, score in scorers.items():
            r = _scores(score, list(prompts), replies, name)
            u = transform(r, torch.tensor([ref[name] for ref in references], dtype=r.dtype))
            total += u
            logs[f"{name}/reward"], logs[f"{name}/utility"] = r, u
        return {"rewards": total, "scores": total.exp().clamp(max=1), "extra_logs": logs}

    return reward_func


def verl_score(
    scorers: Mapping[str, Scorer], transform: Transform = log_sigmoid_centered
) -> Callable[..., dict]:
    """`compute_score(data_source, solution_str, ground_truth, extra_info)` for verl.

    `extra_info` holds "prompt" and "r_ref" (property -> reference reward). Returns a dict with
    "score" (the AND) and each property's raw reward beside it.

    Raises (when called):
        KeyError: `extra_info` lacks "prompt" or a reference.
    """

    def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
        info = extra_info or {}
        if "prompt" not in info or any(name not in info.get("r_ref", {}) for name in scorers):
            raise KeyError(
                "verl_score: extra_info needs 'prompt' and 'r_ref' with "
                f"{', '.join(scorers)}; write them into the parquet column extra_info."
            )
        result = {"score": 0.0}
        for name, score in scorers.items():
            r = _scores(score, [info["prompt"]], [solution_str], name)
            reference = torch.tensor([info["r_ref"][name]], dtype=r.dtype)
            result[name] = float(r)
            result["score"] += float(transform(r, reference))
        return result

    return compute_score


def _text(message) -> str:
    """Plain text of TRL's prompt or completion; conversations need a scorer that renders them."""
    if isinstance(message, str):
        return message
    if len(message) == 1:
        return message[0]["content"]
    raise ValueError(
        f"a prompt of {len(message)} messages has no single text. Apply the chat template when "
        "building the dataset, so that TRL passes strings."
    )


def _ended(ids, eos_token_id: int | None) -> bool:
    """Whether the sampled ids end with the end token; without an id every reply is taken as ended."""
    return eos_token_id is None or (len(ids) > 0 and int(ids[-1]) == eos_token_id)


def _scores(score: Scorer, prompts: list[str], replies: list[str], name: str) -> Tensor:
    r = torch.as_tensor(score(prompts, replies), dtype=torch.float64).cpu()
    if r.shape != (len(replies),):
        raise ValueError(
            f"{name}: the scorer returned shape {tuple(r.shape)} for {len(replies)} replies; "
            "return one reward for each."
        )
    if not torch.isfinite(r).all():
        place = int((~torch.isfinite(r)).nonzero()[0])
        raise ValueError(
            f"{name}: reward {r[place].item()} for reply {place} ({replies[place]!r}). A trainer "
            "would leave it out of the sum, where 0 means perfect; mend the scorer."
        )
    return r


def _reference(r_ref: str | float, columns: Mapping, n: int, name: str) -> Tensor:
    if not isinstance(r_ref, str):
        return torch.full((n,), float(r_ref), dtype=torch.float64)
    if r_ref not in columns:
        raise KeyError(
            f"{name}: the dataset has no column {r_ref!r}. Add the cached reference rewards: "
            f"dataset.add_column({r_ref!r}, references(prompts).tolist())."
        )
    values = [math.nan if v is None else float(v) for v in columns[r_ref]]
    if not all(map(math.isfinite, values)):
        raise ValueError(f"{name}: column {r_ref!r} holds a reference that is missing or NaN.")
    return torch.tensor(values, dtype=torch.float64)


def _label(label: str, scorers: Mapping) -> dict[str, float]:
    references = json.loads(label)
    missing = [name for name in scorers if name not in references]
    if missing:
        raise ValueError(f"openrlhf_reward: label {label!r} lacks {', '.join(missing)}.")
    return references


def _after(query: str, prompt: str) -> str:
    if not query.startswith(prompt):
        raise ValueError(
            f"openrlhf_reward: query {query[:40]!r} does not begin with its prompt {prompt[:40]!r}."
        )
    return query[len(prompt) :]
