"""A training loop small enough to read: sample, score, advantages, loss, step.

    policy = train(lm, questions, reward, Config(steps=40)).policy

RLOO is the main path; GRPO, a minimal PPO and plain REINFORCE stand beside it, and each is a few
lines here: what they do differently is in `losses`. The policy is a copy, the model given is the
reference and is never changed. A run in a folder can be killed at any moment and goes on, bit for
bit, from its last checkpoint: weights and optimiser as safetensors, the rest as JSON, nothing is
unpickled.

Each prompt is read once, not once a reply: its keys and values are computed for the group and
repeated, in sampling and in the pass with gradients alike. Nothing is computed for long behind the
end of a reply: sampling drops what has ended, and reading takes replies of like length together.
"""

from __future__ import annotations

import copy
import csv
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from valuelab import models
from valuelab.kernels.logprob import token_log_prob
from valuelab.models import LM
from valuelab.rlhf import losses
from valuelab.rlhf.kl import k1

__all__ = ["Config", "Critic", "Result", "Rollout", "Trainer", "read_metrics", "reread", "sample_groups", "train"]

Reward = Callable[[list[str], list[str]], Tensor]  # (questions, replies) -> (n,)
ALGORITHMS = ("rloo", "grpo", "ppo", "reinforce")
CONTROLS = ("none", "clip_cov", "kl_cov")
TOGETHER = 48  # replies read in one pass


@dataclass(frozen=True)
class Config:
    """Settings of a run. The defaults suit the embedded model.

    Attributes:
        algorithm: "rloo"; "grpo"; "ppo" (critic, token by token); "reinforce" (the mean of all other
            replies of the batch is the baseline, so one reply a prompt will do).
        steps: batches of fresh replies.
        prompts, replies: questions a step, and replies to each.
        max_new_tokens: longest reply; a longer one is cut and scored as it is.
        temperature: of sampling; probabilities are those at this temperature everywhere.
        lr: learning rate of AdamW (no decay); warms up over `warmup` steps, then stays.
        warmup: see lr.
        beta: weight of the KL. RLOO, PPO and REINFORCE pay it inside the reward (k1), GRPO adds it to
            the loss (k3, with the ratio that makes its gradient right).
        updates: optimiser steps on each batch of replies.
        clip_low, clip_high: range of the probability ratio.
        scale: GRPO: "group", "batch" or "none", see `losses.group_normalised`.
        average: GRPO: "token", "reply" or "constant", see `losses.group_policy_loss`.
        entropy_bonus: coefficient of the mean token entropy.
        control: "none", "clip_cov" or "kl_cov" against the collapse of entropy. Both need updates > 1
            to do anything to speak of: on the first update π = π_old.
        share: of the tokens to control.
        band: Clip-Cov draws from tokens between these two quantiles of the covariance. The paper's
            fixed 1 to 5 fits large vocabularies.
        control_weight: KL-Cov's penalty.
        gamma, lam, value_lr, value_range, value_bins, critic_first: PPO's critic: discount, GAE's λ,
            learning rate, range and number of HL-Gauss bins, and how many first steps train the
            critic alone, on Monte-Carlo returns of the frozen policy.
        grad_clip: largest norm of the gradient.
        checkpoint_every: steps between checkpoints; 0 writes only one at the end.
        seed: of prompts and sampling.
    """

    algorithm: str = "rloo"
    steps: int = 40
    prompts: int = 16
    replies: int = 8
    max_new_tokens: int = 24
    temperature: float = 1.0
    lr: float = 3e-4
    warmup: int = 3
    beta: float = 0.05
    updates: int = 1
    clip_low: float = 0.2
    clip_high: float = 0.2
    scale: str = "group"
    average: str = "token"
    entropy_bonus: float = 0.0
    control: str = "none"
    share: float = 0.02
    band: tuple[float, float] = (0.9, 0.999)
    control_weight: float = 1.0
    gamma: float = 1.0
    lam: float = 0.95
    value_lr: float = 3e-3
    value_range: tuple[float, float] = (-5.0, 5.0)
    value_bins: int = 51
    critic_first: int = 5
    grad_clip: float = 1.0
    checkpoint_every: int = 0
    seed: int = 0

    def __post_init__(self):
        for name, allowed in (("algorithm", ALGORITHMS), ("control", CONTROLS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"Config: {name}={getattr(self, name)!r}; choose {', '.join(allowed)}.")
        least = 1 if self.algorithm in ("reinforce", "ppo") else 2
        if self.replies < least:
            raise ValueError(
                f"Config: replies={self.replies} with {self.algorithm}, which compares the replies to one prompt; "
                "use 2 or more, or algorithm='reinforce', whose baseline is the rest of the batch."
            )
        if self.algorithm == "reinforce" and self.prompts * self.replies < 2:
            raise ValueError("Config: one reply in all has nothing to be compared with; raise prompts or replies.")
        if min(self.steps, self.prompts, self.max_new_tokens, self.updates) < 1 or self.temperature <= 0:
            raise ValueError("Config: steps, prompts, max_new_tokens, updates and temperature must be positive.")
        if self.beta < 0 or self.lr <= 0:
            raise ValueError(f"Config: beta={self.beta} must be 0 or more and lr={self.lr} positive.")


@dataclass
class Rollout:
    """A batch of sampled replies; rows are in groups, `replies` rows for each prompt.

    prompt, prompt_mask: (prompts, length), padded on the left. tokens, mask: (n, t), end token
    included. log_old: log-probability of each token when it was drawn, (n, t). texts: n replies.
    """

    prompt: Tensor
    prompt_mask: Tensor
    tokens: Tensor
    mask: Tensor
    log_old: Tensor
    texts: list[str]
    ended: float

    @property
    def group(self) -> int:
        return len(self.tokens) // len(self.prompt)


@torch.no_grad()
def sample_groups(
    lm: LM, prompts: Sequence[str], replies: int, *, max_new_tokens: int, temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Rollout:  # fmt: skip
    """Draw `replies` replies to each prompt, with their log-probabilities.

    Args:
        lm: the policy.
        prompts: texts as `models.chat` returns them.
        replies: how many each.
        generator: on the processor; its state moves by max_new_tokens · prompts · replies numbers,
            whatever the lengths.

    Raises:
        ValueError: a prompt is empty or leaves no room for the reply.
    """
    ids = models.encode(lm, prompts)
    models.check_length(lm, ids, max_new_tokens)
    prompt, seen = models.pad(lm, ids, "left")
    uniform = torch.rand(max_new_tokens, len(ids) * replies, generator=generator, dtype=torch.float64).to(lm.device)
    stops = torch.tensor(models.stop_tokens(lm), device=lm.device)
    step = models.Stepper(lm, seen)
    logits = step(prompt).repeat_interleave(replies, 0)
    step.keep(torch.arange(len(ids), device=lm.device).repeat_interleave(replies))
    n = len(logits)
    rows = torch.arange(n, device=lm.device)  # those still being continued
    live = torch.ones(n, dtype=torch.bool, device=lm.device)  # and among them those that have not ended
    tokens = torch.full((n, max_new_tokens), lm.tokenizer.pad_token_id, device=lm.device)
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    chosen = torch.zeros_like(tokens, dtype=torch.float32)
    for number, u in enumerate(uniform):
        p = models.chances(logits, temperature)
        token = models.draw(p, u[rows])
        tokens[rows, number], mask[rows, number] = token, live
        chosen[rows, number] = p.gather(1, token[:, None])[:, 0].log().float() * live
        live = live & ~torch.isin(token, stops)
        if lm.device.type == "cpu" or number % 8 == 7:  # every few steps is enough: each look waits for the device
            going = live.nonzero()[:, 0]
            if len(going) == 0:
                break
            if len(going) <= 0.9 * len(rows):
                step.keep(going)
                rows, token, live = rows[going], token[going], live[going]
        if number + 1 < max_new_tokens:
            with torch.inference_mode():  # cheaper than no_grad, which shows where passes are small
                logits = step(token[:, None])
    tokens, mask, chosen = (x[:, : number + 1] for x in (tokens, mask, chosen))
    said = [row[:length] for row, length in zip(tokens.tolist(), mask.sum(1).tolist(), strict=True)]
    texts = [lm.tokenizer.decode(row, skip_special_tokens=True).strip() for row in said]
    return Rollout(prompt, seen, tokens, mask, chosen, texts, 1 - float(live.sum()) / n)


def reread(
    lm: LM, rollout: Rollout, temperature: float = 1.0, states: bool = False
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What a model says of sampled replies: log-probability and entropy of each token, (n, t).

    Differentiable in the model's weights. With `states` also the last hidden state before each
    token, (n, t, d). Behind the end of a reply the numbers are 0 and the states mean nothing.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=models.plain(lm.model).config)
    first = _read(lm, cache, rollout.prompt, rollout.prompt_mask, states, keep=1)
    lengths = rollout.mask.sum(1)
    order = lengths.argsort(stable=True)
    parts = []
    for rows in order.split(TOGETHER):
        width, asked = int(lengths[rows[-1]]), rows // rollout.group
        found = [[x[asked] for x in first]]
        if width > 1:
            fed = rollout.tokens[rows, : width - 1]
            # behind the end of a reply nothing is read: causal
            mask = torch.cat([rollout.prompt_mask[asked], torch.ones_like(fed)], 1)
            found.append(_read(lm, _branch(cache, asked), fed, mask, states))
        targets = rollout.tokens[rows, :width].masked_fill(~rollout.mask[rows, :width], -100)
        told = [  # judged before they are joined: logits are large
            [*token_log_prob(logits, target, temperature=temperature), *hidden]
            for (logits, *hidden), target in zip(found, targets.tensor_split([1], 1), strict=False)
        ]
        log_p, entropy, *hidden = (torch.cat(x, 1) for x in zip(*told, strict=True))
        behind = rollout.tokens.shape[1] - width
        parts.append([F.pad(x, (0, behind)) for x in (log_p, entropy)] + [F.pad(h, (0, 0, 0, behind)) for h in hidden])
    log_p, entropy, *hidden = (torch.cat(x)[order.argsort()] for x in zip(*parts, strict=True))
    return log_p, entropy, hidden[0] if states else None


def _read(lm: LM, cache, ids: Tensor, mask: Tensor, states: bool, keep: int = 0) -> list[Tensor]:
    """Logits of the last `keep` of ids (rows, m), 0 for all, and with `states` the last hidden states.

    The cache holds what comes before ids, and takes them in; mask covers both.
    """
    options = {"logits_to_keep": keep} if keep and models.accepts(lm.model, "logits_to_keep") else {}
    if models.accepts(lm.model, "position_ids"):
        options["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    options |= {"past_key_values": cache, "use_cache": True, "output_hidden_states": states}
    out = lm.model(input_ids=ids, attention_mask=mask, **options)
    return [x[:, -keep:] for x in [out.logits, *([out.hidden_states[-1]] if states else [])]]


def _branch(cache, rows: Tensor):
    """A cache that goes on from these rows of another, which stays as it is."""
    own = copy.copy(cache)
    own.layers = [copy.copy(layer) for layer in cache.layers]
    own.reorder_cache(rows)
    return own


class Critic(nn.Module):
    """PPO's critic: expected return from the policy's hidden state, as a histogram (HL-Gauss).

    The state comes detached: the critic learns from the policy and does not bend it.
    """

    def __init__(self, width: int, config: Config):
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 64), nn.GELU())
        self.head = nn.Linear(64, config.value_bins)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # an even histogram: the middle of the range
        edges = losses.value_bins(*config.value_range, config.value_bins)
        self.register_buffer("edges", edges, persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Logits of the histogram, (n, t, bins)."""
        return self.head(self.body(states.detach().float()))

    def value(self, logits: Tensor) -> Tensor:
        return losses.hl_gauss_value(logits, self.edges)

    def loss(self, logits: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
        """Cross-entropy with the histograms of the returns, a scalar."""
        targets = losses.hl_gauss_targets(returns, self.edges)
        return losses.masked_mean(-(targets * F.log_softmax(logits, -1)).sum(-1), mask)


@dataclass
class Result:
    """A finished run: the policy, one row of metrics a step, and the folder, if there is one."""

    policy: LM
    rows: list[dict[str, float]]
    folder: Path | None


class Trainer:
    """The state of a run: `step()` makes one, `save()` and `resume()` do what they say.

    Args:
        lm: the reference; the policy starts as its copy, in float32 whatever the reference is in. Load the
            reference in float32 too where the KL has to be exact (0 before the first step).
        questions: what the user says; the chat template is filled in here.
        reward: (questions, replies) -> (n,) rewards, finite. E.g. `RewardModel.scorer`.
        config: settings.
        system: system line of every prompt.

    Raises:
        ValueError: fewer questions than a step takes.
    """

    def __init__(
        self, lm: LM, questions: Sequence[str], reward: Reward, config: Config | None = None, system: str | None = None
    ):
        self.config = config = config or Config()
        self.reference, self.questions, self.reward = lm, list(questions), reward
        if len(self.questions) < config.prompts:
            raise ValueError(
                f"Trainer: {len(self.questions)} questions, but a step takes {config.prompts}; give more questions "
                "or lower Config(prompts=...)."
            )
        self.prompts = [models.chat(lm, q, system) for q in self.questions]
        copied = copy.deepcopy(models.plain(lm.model)).float()  # in half precision the updates would round away
        self.policy = LM(copied, lm.tokenizer, f"{lm.name} + {config.algorithm}")
        for weight in self.policy.model.parameters():
            weight.requires_grad_(True)
        self.weights = dict(self.policy.model.named_parameters())
        self.optimiser = torch.optim.AdamW(self.weights.values(), lr=config.lr, weight_decay=0.0)
        self.critic, self.critic_optimiser = None, None
        if config.algorithm == "ppo":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(config.seed)
                self.critic = Critic(models.readout_width(lm.model), config).to(lm.device)
            self.critic_optimiser = torch.optim.AdamW(self.critic.parameters(), lr=config.value_lr, weight_decay=0.0)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.rows: list[dict[str, float]] = []

    # ------------------------------------------------------------------------ one step

    def step(self) -> dict[str, float]:
        """Sample, score, advantages, loss, step. Returns the row of metrics, which is also kept.

        Equal rewards for all replies to a prompt give advantages of zero: nothing is learnt from
        them (the column `flat` counts such prompts).

        Raises:
            ValueError: the reward is not finite, or of the wrong shape; or the loss stopped being finite.
        """
        c, start = self.config, time.perf_counter()
        asked = torch.randperm(len(self.prompts), generator=self.generator)[: c.prompts].tolist()
        batch = sample_groups(
            self.policy, [self.prompts[i] for i in asked], c.replies, max_new_tokens=c.max_new_tokens,
            temperature=c.temperature, generator=self.generator,
        )  # fmt: skip
        score = self._score([self.questions[i] for i in asked for _ in range(c.replies)], batch.texts)
        with torch.no_grad():
            log_ref = reread(self.reference, batch, c.temperature)[0]
        row = {"step": len(self.rows), **self._describe(batch, score, log_ref)}
        advantage, returns = self._advantages(batch, score, log_ref)
        row["advantage"] = float(losses.masked_mean(advantage.abs(), batch.mask))
        for group in self.optimiser.param_groups:
            group["lr"] = c.lr * min(1.0, (row["step"] + 1) / max(1, c.warmup))
        for _ in range(c.updates):
            row |= self._update(batch, advantage, returns, log_ref, row["step"])
        row["seconds"] = time.perf_counter() - start
        self.rows.append(row)
        return row

    def _score(self, questions: list[str], replies: list[str]) -> Tensor:
        score = torch.as_tensor(self.reward(questions, replies), dtype=torch.float32).to(self.policy.device)
        if score.shape != (len(replies),):
            raise ValueError(
                f"Trainer: the reward has shape {tuple(score.shape)} for {len(replies)} replies; return one each."
            )
        if not torch.isfinite(score).all():
            k = int((~torch.isfinite(score)).nonzero()[0])
            raise ValueError(
                f"Trainer: reward {float(score[k])} at step {len(self.rows)} for the reply {replies[k]!r} to "
                f"{questions[k]!r}. Give every reply a finite number; nothing was changed by this step."
            )
        return score

    def _describe(self, batch: Rollout, score: Tensor, log_ref: Tensor) -> dict[str, float]:
        groups = score.view(len(batch.prompt), -1)
        kl = (k1(batch.log_old, log_ref) * batch.mask).sum(1)
        return {
            "reward": float(score.mean()),
            "reward_std": float(score.std()) if len(score) > 1 else 0.0,
            "flat": float((groups == groups[:, :1]).all(1).float().mean()),
            "kl": float(kl.mean()),
            "length": float(batch.mask.sum(1).float().mean()),
            "ended": batch.ended,
        }

    @torch.no_grad()
    def _advantages(self, batch: Rollout, score: Tensor, log_ref: Tensor) -> tuple[Tensor, Tensor | None]:
        """Advantages (n, 1), or for PPO (n, t) with the returns that the critic learns from."""
        c = self.config
        if c.algorithm == "ppo":
            return self._token_advantages(batch, score, log_ref)
        if c.algorithm == "grpo":
            return losses.group_normalised(score.view(-1, c.replies), c.scale).reshape(-1, 1), None
        paid = losses.kl_in_reward(score, batch.log_old, log_ref, batch.mask, c.beta)
        groups = paid.view(-1, c.replies) if c.algorithm == "rloo" else paid[None]
        return losses.leave_one_out(groups).reshape(-1, 1), None

    def _token_advantages(self, batch: Rollout, score: Tensor, log_ref: Tensor) -> tuple[Tensor, Tensor]:
        c = self.config
        states = reread(self.policy, batch, c.temperature, states=True)[2]
        values = self.critic.value(self.critic(states))
        earned = -c.beta * k1(batch.log_old, log_ref) * batch.mask
        last = batch.mask.sum(1) - 1
        earned[torch.arange(len(last)), last] += score
        advantage, _ = losses.gae(earned, values, batch.mask, c.gamma, c.lam)
        _, returns = losses.gae(earned, values, batch.mask, c.gamma, 1.0)  # Monte-Carlo returns
        mean = losses.masked_mean(advantage, batch.mask)
        spread = losses.masked_mean((advantage - mean).square(), batch.mask).sqrt()
        return (advantage - mean) / (spread + 1e-8) * batch.mask, returns

    def _update(self, batch: Rollout, advantage: Tensor, returns: Tensor | None, log_ref: Tensor, step: int) -> dict:
        """One optimiser step on a batch; returns what there is to report of it."""
        c = self.config
        log_p, entropy, states = reread(self.policy, batch, c.temperature, states=self.critic is not None)
        report = {"entropy": float(losses.masked_mean(entropy.detach(), batch.mask))}
        if self.critic is not None:
            report |= self._critic_update(states, returns, batch.mask)
            if step < c.critic_first:
                return {**report, "loss": 0.0, "grad_norm": 0.0, "moved": 0.0, "selected": 0, "tokens": 0}
        loss, selected = self._loss(log_p, batch, advantage.expand_as(log_p), log_ref)
        if c.entropy_bonus:
            loss = loss + losses.entropy_bonus(entropy, batch.mask, c.entropy_bonus)
        if not torch.isfinite(loss):
            raise ValueError(f"Trainer: loss {float(loss)} at step {step}; lower lr={c.lr}.")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.weights.values(), c.grad_clip)
        self.optimiser.step()
        moved = losses.masked_mean((log_p.detach() - batch.log_old).abs(), batch.mask)
        return {
            **report, "loss": float(loss.detach()), "grad_norm": float(norm), "moved": float(moved),
            "selected": selected, "tokens": int(batch.mask.sum()),
        }  # fmt: skip

    def _loss(self, log_p: Tensor, batch: Rollout, advantage: Tensor, log_ref: Tensor) -> tuple[Tensor, int]:
        """The policy loss and how many tokens the entropy control took hold of."""
        c, mask, old = self.config, batch.mask, batch.log_old
        clip = (c.clip_low, c.clip_high)
        penalty = losses.kl_in_loss(log_p, log_ref, c.beta, "k3", old) if c.algorithm == "grpo" and c.beta else None
        if c.control != "none":
            cov = losses.token_covariance(log_p, advantage, mask)
            if c.control == "kl_cov":
                chosen = losses.kl_cov(cov, mask, c.share)
                loss = losses.kl_cov_loss(log_p, old, advantage, mask, chosen.tokens, c.control_weight)
            else:
                low, high = torch.quantile(cov[mask], torch.tensor(c.band, device=cov.device)).tolist()
                chosen = losses.clip_cov(cov, mask, c.share, low, high, self.generator)
                # left out of the loss, still counted in the mean, as published; the clip widens to 1
                loss = losses.group_policy_loss(log_p, old, advantage * ~chosen.tokens, mask, 1.0, 1.0)
            extra = losses.masked_mean(penalty, mask) if penalty is not None else 0.0
            return loss + extra, chosen.count
        if c.algorithm == "rloo":
            return losses.sequence_policy_loss(log_p, old, advantage[:, 0], mask, *clip), 0
        if c.algorithm == "reinforce":
            return losses.reinforce_loss(log_p, advantage[:, 0], mask), 0
        return losses.group_policy_loss(log_p, old, advantage, mask, *clip, c.average, penalty), 0

    def _critic_update(self, states: Tensor, returns: Tensor, mask: Tensor) -> dict[str, float]:
        logits = self.critic(states)
        loss = self.critic.loss(logits, returns, mask)
        self.critic_optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.critic_optimiser.step()
        error = returns[mask] - self.critic.value(logits.detach())[mask]
        explained = 1 - float(error.var() / returns[mask].var().clamp(min=1e-8))
        return {"critic_loss": float(loss.detach()), "explained": explained}

    # ------------------------------------------------------------------- save and resume

    def _parts(self) -> list[tuple[str, dict[str, Tensor], torch.optim.Optimizer]]:
        parts = [("policy", self.weights, self.optimiser)]
        if self.critic is not None:
            parts.append(("critic", dict(self.critic.named_parameters()), self.critic_optimiser))
        return parts

    def _card(self) -> dict:
        asked = hashlib.sha256("\n".join(self.prompts).encode()).hexdigest()[:16]
        config = {k: v for k, v in asdict(self.config).items() if k not in ("steps", "checkpoint_every")}
        return {"model": self.reference.fingerprint, "prompts": asked, "config": json.loads(json.dumps(config))}

    def save(self, folder: str | Path) -> Path:
        """Write FOLDER/checkpoint-STEP, whole or not at all, and drop older ones."""
        done = Path(folder) / f"checkpoint-{len(self.rows):06d}"
        draft = done.with_name(f"{done.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        tensors = {"generator": self.generator.get_state(), "torch": torch.get_rng_state()}
        for name, weights, optimiser in self._parts():
            for key, weight in weights.items():
                tensors[f"{name}/{key}"] = weight.detach().cpu().contiguous()
                for what, value in optimiser.state[weight].items():
                    tensors[f"{name}.{what}/{key}"] = torch.as_tensor(value).cpu().contiguous()
        save_file(tensors, draft / "state.safetensors")
        record = {**self._card(), "step": len(self.rows), "rows": self.rows}
        (draft / "state.json").write_text(json.dumps(record), encoding="utf-8")
        shutil.rmtree(done, ignore_errors=True)
        os.replace(draft, done)
        for old in Path(folder).glob("checkpoint-*"):
            if old.name != done.name:
                shutil.rmtree(old, ignore_errors=True)
        return done

    def resume(self, folder: str | Path) -> int:
        """Go on from the last whole checkpoint in `folder`; returns its step, 0 if there is none.

        Raises:
            ValueError: the checkpoint belongs to another model, other questions or other settings.
        """
        found = sorted(p for p in Path(folder).glob("checkpoint-*") if p.suffix != ".part")
        if not found:
            return 0
        record = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"))
        for key, ours in self._card().items():
            if record[key] != ours:
                raise ValueError(
                    f"resume: {found[-1]} was written with another {key} ({_difference(record[key], ours)}). Use the "
                    "same, or another folder."
                )
        tensors = load_file(found[-1] / "state.safetensors")
        with torch.no_grad():
            for name, weights, optimiser in self._parts():
                for key, weight in weights.items():
                    weight.copy_(tensors[f"{name}/{key}"])
                    for what in ("step", "exp_avg", "exp_avg_sq"):
                        if (value := tensors.get(f"{name}.{what}/{key}")) is not None:
                            optimiser.state[weight][what] = value if what == "step" else value.to(weight.device)
        self.generator.set_state(tensors["generator"])
        torch.set_rng_state(tensors["torch"])
        self.rows = record["rows"]
        return record["step"]


def _difference(theirs, ours) -> str:
    if not isinstance(theirs, dict):
        return f"{theirs}, here {ours}"
    names = [k for k in ours if theirs.get(k) != ours[k]]
    return ", ".join(f"{k}={theirs.get(k)!r}, here {ours[k]!r}" for k in names)


def train(
    lm: LM, questions: Sequence[str], reward: Reward, config: Config | None = None, *,
    folder: str | Path | None = None, system: str | None = None, progress: bool = False,
    on_step: Callable[[Trainer, dict], None] | None = None,
) -> Result:  # fmt: skip
    """Train a copy of `lm` on rewards; with a folder, resume what it holds.

    Args:
        lm, questions, reward, config, system: see `Trainer`.
        folder: for checkpoints and metrics.csv (one row a step). Run again with the same arguments,
            it goes on where it stopped; with more `steps`, it goes further.
        progress: show a bar.
        on_step: called with the trainer and the row of metrics after each step (live plots).

    Returns:
        Result: the policy in eval mode (`lm` is unchanged), the rows, the folder.

    Raises:
        ValueError: see `Trainer`, `Trainer.step` and `Trainer.resume`.
    """
    trainer = Trainer(lm, questions, reward, config, system)
    c = trainer.config
    begin = trainer.resume(folder) if folder else 0
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        _write_metrics(folder, trainer.rows)
    bar = tqdm(range(begin, c.steps), c.algorithm, initial=begin, total=c.steps, disable=not progress, leave=False)
    for step in bar:
        row = trainer.step()
        bar.set_postfix({k: f"{row[k]:.2f}" for k in ("reward", "kl", "entropy")})
        if folder:
            _write_metrics(folder, trainer.rows[-1:], append=step > 0)
            if step + 1 == c.steps or c.checkpoint_every and (step + 1) % c.checkpoint_every == 0:
                trainer.save(folder)
        if on_step is not None:
            on_step(trainer, row)
    for weight in trainer.policy.model.parameters():
        weight.grad = None
    return Result(trainer.policy, trainer.rows, Path(folder) if folder else None)


def _write_metrics(folder: str | Path, rows: list[dict], append: bool = False) -> None:
    if not rows:
        (Path(folder) / "metrics.csv").unlink(missing_ok=True)
        return
    with (Path(folder) / "metrics.csv").open("a" if append else "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        if not append:
            table.writeheader()
        table.writerows(rows)


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """The rows of FOLDER/metrics.csv as numbers."""
    with (Path(folder) / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{k: float(v) if v else math.nan for k, v in row.items()} for row in csv.DictReader(file)]
