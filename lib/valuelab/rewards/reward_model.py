"""Bradley-Terry reward models: one backbone, one linear head for each reward, any causal LM.

    P(a preferred to b) = sigmoid(r(x, a) - r(x, b)),    loss = -log sigmoid(r_chosen - r_rejected)

The backbone is a copy of the language model without its word head, trained along; the reward is
read at the end token of the reply. Only differences within a prompt are learnt: any function of
the prompt can be added without a change in the loss. Centring ties that freedom down.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm import tqdm

from valuelab import activations, models
from valuelab.models import LM
from valuelab.rewards.preferences import Comparison, dialogue

__all__ = [
    "LinearReward",
    "RewardConfig",
    "RewardModel",
    "fit_context",
    "fit_linear_reward",
    "margin_scaled_loss",
    "pair_loss",
    "pair_features",
    "pair_loss_gradient",
    "reply_features",
    "train_reward_model",
]


def pair_loss(
    r_chosen: Tensor, r_rejected: Tensor, margin: Tensor | float = 0.0, centre: float = 0.0
) -> Tensor:
    """Bradley-Terry loss of a batch of comparisons, a scalar.

        -mean log sigmoid(r_chosen - r_rejected - margin) + centre · mean (r_chosen + r_rejected)²

    The second term takes the *sum*: it draws the middle of each pair to zero and leaves the
    difference, which is all that comparisons speak about, alone.

    Args:
        r_chosen: rewards of the preferred replies, (n,).
        r_rejected: rewards of the others, (n,).
        margin: by how much the winner should lead, (n,) or a number, in logits.
        centre: weight of the centring term; 0.01 is usual.

    Raises:
        ValueError: shapes differ.

    Source: Bradley and Terry 1952; margin: Llama 2, arXiv 2307.09288; centring: arXiv 2312.09244.
    """
    if r_chosen.shape != r_rejected.shape:
        raise ValueError(
            f"pair_loss: {tuple(r_chosen.shape)} chosen but {tuple(r_rejected.shape)} rejected "
            "rewards. Pass one of each per comparison, in the same order."
        )
    lead = r_chosen - r_rejected - margin
    return -F.logsigmoid(lead).mean() + centre * (r_chosen + r_rejected).square().mean()


def pair_loss_gradient(r_chosen: Tensor, r_rejected: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of `pair_loss` (no margin, no centring) with respect to both rewards, each (n,).

        d loss / d r_chosen = -sigmoid(r_rejected - r_chosen) / n = -d loss / d r_rejected

    The probability of having been wrong: pairs already told apart stop teaching.
    """
    surprise = torch.sigmoid(r_rejected - r_chosen) / len(r_chosen)
    return -surprise, surprise


def margin_scaled_loss(
    r_chosen: Tensor, r_rejected: Tensor, margin: Tensor, weight: float = 0.5, rate: float = 0.5
) -> Tensor:
    """Pair loss that listens more to comparisons with a clear winner, a scalar.

        -mean log sigmoid(s · (r_chosen - r_rejected)),     s = 1 + weight · (1 - exp(-rate · margin))

    Args:
        r_chosen, r_rejected: rewards, (n,).
        margin: how clear the preference was, (n,), at least 0.
        weight: most that a clear pair adds to the scale.
        rate: how fast a margin counts as clear.

    Source: dynamic scaling in the manner of MM-RLHF, arXiv 2502.10391.
    """
    scale = 1 + weight * -torch.expm1(-rate * margin)
    return -F.logsigmoid(scale * (r_chosen - r_rejected)).mean()


@dataclass(frozen=True)
class RewardConfig:
    """Training settings. The defaults suit the embedded model.

    Attributes:
        epochs: passes over the comparisons.
        batch_size: comparisons per step (two replies each).
        lr: peak learning rate; warms up over 5 % of the steps, then falls to zero (cosine).
        head_lr: learning rate of the heads.
        loss: "pair", "margin" (the margin is subtracted) or "scaled" (margin_scaled_loss).
        centre: weight of the centring term.
        weight_decay: of the backbone and the heads (AdamW).
        seed: of head initialisation and of the order of the comparisons.
    """

    epochs: int = 2
    batch_size: int = 32
    lr: float = 5e-4
    head_lr: float = 5e-3
    loss: str = "pair"
    centre: float = 0.01
    weight_decay: float = 0.01
    seed: int = 0


class RewardModel(nn.Module):
    """A backbone with one linear head per reward.

    Args:
        lm: any causal language model; its weights are copied, never changed.
        heads: names of the rewards.
        seed: of the heads, drawn from N(0, 1 / (d + 1)), which starts rewards near zero.
    """

    def __init__(self, lm: LM, heads: Sequence[str], seed: int = 0):
        super().__init__()
        if not heads or len(set(heads)) != len(heads):
            raise ValueError(f"RewardModel: heads={list(heads)!r} must be distinct names.")
        self.lm, self.names = lm, tuple(heads)
        self.backbone = copy.deepcopy(_backbone(lm.model)).float()
        width = models.readout_width(lm.model)
        self.head = nn.Linear(width, len(heads), bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            drawn = torch.randn(self.head.weight.shape, generator=generator)
            self.head.weight.copy_(drawn / (width + 1) ** 0.5)
        self.to(lm.device)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Rewards (batch, heads) from right-padded ids and mask, both (batch, length)."""
        return self.head(self.features(ids, mask))

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Hidden state at the last token that is not padding, (batch, d)."""
        options = {"use_cache": False} if models.accepts(self.backbone, "use_cache") else {}
        out = self.backbone(input_ids=ids, attention_mask=mask, **options)
        last = mask.sum(dim=1) - 1
        return out.last_hidden_state[torch.arange(len(ids), device=ids.device), last]

    def tokens(self, prompts: Sequence[str], replies: Sequence[str]) -> list[list[int]]:
        """Ids of prompt and reply through the chat template, with the end token appended.

        Raises:
            ValueError: numbers differ, or a text is longer than the context.
        """
        if len(prompts) != len(replies):
            raise ValueError(f"RewardModel: {len(prompts)} prompts but {len(replies)} replies.")
        ids = _ended(self.lm, prompts, replies)
        models.check_length(self.lm, ids)
        return ids

    @torch.no_grad()
    def _read(self, ids: list[list[int]], function: Callable, batch_size: int) -> Tensor:
        was_training = self.training
        self.eval()
        out: list[Tensor] = [torch.empty(0)] * len(ids)
        for batch in models.length_batches(ids, batch_size):
            rows = function(*models.pad(self.lm, [ids[i] for i in batch], "right")).cpu()
            for i, row in zip(batch, rows, strict=True):
                out[i] = row
        self.train(was_training)
        return torch.stack(out) if out else torch.empty(0, len(self.names))

    def score(
        self, prompts: Sequence[str], replies: Sequence[str], batch_size: int = 128
    ) -> Tensor:
        """Rewards of replies to user prompts, (n, heads)."""
        return self._read(self.tokens(prompts, replies), self.forward, batch_size)

    def embed(
        self, prompts: Sequence[str], replies: Sequence[str], batch_size: int = 128
    ) -> Tensor:
        """Features under the heads, (n, d): for decomposed rewards and reference prediction."""
        return self._read(self.tokens(prompts, replies), self.features, batch_size)

    def scorer(self, head: str) -> Callable[[Sequence[str], Sequence[str]], Tensor]:
        """Plain function (prompts, replies) -> (n,) of one head, for plug-ins and best-of-n."""
        column = self._column(head)
        return lambda prompts, replies: self.score(prompts, replies)[:, column]

    def gaps(self, comparisons: Sequence[Comparison], batch_size: int = 128) -> Tensor:
        """Reward of the chosen minus that of the rejected reply, by each comparison's own head."""
        column = torch.tensor([self._column(c.head) for c in comparisons])
        prompts = [c.prompt for c in comparisons]
        both = self.score(
            prompts * 2, [c.chosen for c in comparisons] + [c.rejected for c in comparisons],
            batch_size,
        )
        won, lost = both.chunk(2)
        rows = torch.arange(len(comparisons))
        return won[rows, column] - lost[rows, column]

    def _column(self, head: str) -> int:
        if head not in self.names:
            raise KeyError(f"RewardModel: no head {head!r}; it has {', '.join(self.names)}.")
        return self.names.index(head)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors) and names (JSON) into a folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().cpu().contiguous().clone() for k, v in self.state_dict().items()}
        save_file(state, folder / "reward_model.safetensors")
        record = {"heads": self.names, "base": self.lm.name}
        (folder / "reward_model.json").write_text(json.dumps(record, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, lm: LM) -> RewardModel:
        """Read what `save` wrote; `lm` is the language model it grew from."""
        folder = Path(folder)
        record = json.loads((folder / "reward_model.json").read_text(encoding="utf-8"))
        model = cls(lm, record["heads"])
        model.load_state_dict(load_file(folder / "reward_model.safetensors"))
        return model.eval()


def _asked(lm: LM, prompt: str) -> str:
    """A prompt, or a transcript turn by turn, in the model's chat template."""
    user, history = dialogue(prompt)
    return models.chat(lm, user, history=history)


def _ended(lm: LM, prompts: Sequence[str], replies: Sequence[str]) -> list[list[int]]:
    """Ids of prompt and reply, the end token appended."""
    asked = [_asked(lm, p) for p in prompts]
    ids, _ = models.join(lm, asked, models.as_replies(lm, asked, replies))
    end = lm.tokenizer.eos_token_id
    return [row + [end] if end is not None and row[-1] != end else row for row in ids]


def fit_context(lm: LM, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons whose two replies fit into the model's context; says how many do not.

    Cutting a reply would teach the model about half a reply, so whole pairs are left out.
    """
    prompts = [c.prompt for c in comparisons]
    won = _ended(lm, prompts, [c.chosen for c in comparisons])
    lost = _ended(lm, prompts, [c.rejected for c in comparisons])
    limit = models.context_length(lm.model)
    longest = [max(len(a), len(b)) for a, b in zip(won, lost, strict=True)]
    kept = [c for c, n in zip(comparisons, longest, strict=True) if n <= limit]
    if len(kept) < len(comparisons):
        print(
            f"fit_context: {len(comparisons) - len(kept):,} of {len(comparisons):,} comparisons "
            f"left out, longer than the {limit:,} tokens that {lm.name} reads"
        )
    return kept


def _backbone(model: nn.Module) -> nn.Module:
    """The decoder stack without its word head."""
    base = getattr(models.plain(model), "base_model", None)
    if base is None or base is models.plain(model):
        raise models.ModelError(
            f"{type(model).__name__}: no base_model under the word head; pass a Hugging Face "
            "causal language model as load() returns it."
        )
    return base


def train_reward_model(
    lm: LM,
    comparisons: Sequence[Comparison],
    config: RewardConfig | None = None,
    progress: bool = False,
    on_step: Callable[[int, float], None] | None = None,
) -> RewardModel:
    """Fit a reward model, one head for each `head` named in the comparisons.

    Args:
        lm: backbone; not changed.
        comparisons: training pairs; several heads may be mixed.
        config: settings; `RewardConfig()` if None.
        progress: show a bar.
        on_step: called with (step, loss).

    Returns:
        The model in eval mode, with `.history` (losses) and `.seconds`.

    Raises:
        ValueError: no comparisons, an unknown loss, or a loss that stopped being finite.
    """
    config = config or RewardConfig()
    if not comparisons:
        raise ValueError("train_reward_model: no comparisons given.")
    if config.loss not in ("pair", "margin", "scaled"):
        raise ValueError(f"RewardConfig: loss={config.loss!r}; choose pair, margin or scaled.")
    start = time.perf_counter()
    model = RewardModel(lm, sorted({c.head for c in comparisons}), config.seed)
    batches = _batches(model, comparisons, config)
    optimiser = torch.optim.AdamW(
        [
            {"params": model.backbone.parameters(), "lr": config.lr},
            {"params": model.head.parameters(), "lr": config.head_lr},
        ],
        weight_decay=config.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: _rate(s, len(batches)))
    model.train()
    model.history = []
    bar = tqdm(batches, "reward model", disable=not progress, leave=False)
    for step, (ids, mask, column, margin) in enumerate(bar):
        rewards = model(ids, mask).gather(1, column.repeat(2)[:, None])[:, 0]
        loss = _loss(*rewards.chunk(2), margin, config)
        if not torch.isfinite(loss):
            raise ValueError(
                f"train_reward_model: loss {loss.item()} at step {step}; lower lr={config.lr}."
            )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        model.history.append(float(loss.detach()))
        if on_step is not None:
            on_step(step, model.history[-1])
    model.seconds = time.perf_counter() - start
    return model.eval()


def _loss(won: Tensor, lost: Tensor, margin: Tensor, config: RewardConfig) -> Tensor:
    if config.loss == "scaled":
        centring = config.centre * (won + lost).square().mean()
        return margin_scaled_loss(won, lost, margin) + centring
    return pair_loss(won, lost, margin if config.loss == "margin" else 0.0, config.centre)


def _rate(step: int, steps: int) -> float:
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + torch.cos(torch.tensor(torch.pi * (step - warm) / max(1, steps - warm))).item())


def _batches(model: RewardModel, comparisons: Sequence[Comparison], config: RewardConfig):
    """Padded batches of all epochs: chosen rows first, then rejected, in random order."""
    prompts = [c.prompt for c in comparisons]
    won = model.tokens(prompts, [c.chosen for c in comparisons])
    lost = model.tokens(prompts, [c.rejected for c in comparisons])
    column = torch.tensor([model._column(c.head) for c in comparisons])
    margin = torch.tensor([float(c.margin) for c in comparisons])
    generator = torch.Generator().manual_seed(config.seed)
    batches = []
    for _ in range(config.epochs):
        order = torch.randperm(len(comparisons), generator=generator)
        # pairs of like length share a batch: padding costs as much as words
        for chunk in order.split(16 * config.batch_size):
            chunk = sorted(chunk.tolist(), key=lambda i: max(len(won[i]), len(lost[i])))
            rows = list(torch.tensor(chunk).split(config.batch_size))
            for k in torch.randperm(len(rows), generator=generator).tolist():
                batches.append(rows[k].tolist())
    device = model.lm.device
    return [
        (
            *models.pad(model.lm, [won[i] for i in b] + [lost[i] for i in b], "right"),
            column[b].to(device),
            margin[b].to(device),
        )
        for b in batches
    ]


# -------------------------------------------------- a linear head on a backbone left as it is


def reply_features(
    lm: LM, prompts: Sequence[str], replies: Sequence[str], layers: Sequence[int] | None = None
) -> Tensor:
    """Features of replies under the unchanged language model, (n, len(layers) · d).

    Mean hidden state over the reply at each layer, side by side.

    Args:
        lm: any causal language model.
        prompts: (n,) what the user asked, or transcripts.
        replies: (n,) what to read after them.
        layers: all blocks if None.
    """
    asked = [_asked(lm, p) for p in prompts]
    texts = models.as_replies(lm, asked, replies)
    states = activations.capture(lm, texts, layers, position="mean", prompts=asked)
    return torch.cat([states[layer] for layer in sorted(states)], dim=1)


def pair_features(
    lm: LM, comparisons: Sequence[Comparison], layers: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """`reply_features` of the chosen and of the rejected replies, (n, len(layers) · d) each."""
    prompts = [c.prompt for c in comparisons] * 2
    replies = [c.chosen for c in comparisons] + [c.rejected for c in comparisons]
    return tuple(reply_features(lm, prompts, replies, layers).chunk(2))


@dataclass(frozen=True)
class LinearReward:
    """A reward w · φ(x, y) on fixed features.

    Attributes:
        weight: (d,).
    """

    weight: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """(n, d) to (n,); a difference of features gives the gap of the rewards."""
        return features.to(self.weight) @ self.weight


def fit_linear_reward(
    z: Tensor,
    margin: Tensor | float = 0.0,
    ridge: float = 1e-2,
    prior: Tensor | None = None,
) -> LinearReward:
    """Bradley-Terry head on fixed features: logistic regression on differences, no intercept.

        min over w of mean -log sigmoid(w · z - margin) + ridge / 2 · |(w - prior) · scale|²

    Convex, solved by Newton's method. Centring needs no term here: no intercept is learnt.

    Args:
        z: feature differences chosen - rejected, (n, d).
        margin: (n,) or a number, as in `pair_loss`.
        ridge: penalty on the weights of features scaled to unit root mean square.
        prior: weights held likely before any comparison, (d,): domain knowledge. Zero if None.

    Raises:
        ValueError: z is not (n, d) or not finite, or the prior is not (d,).
    """
    if z.ndim != 2 or not torch.isfinite(z).all():
        raise ValueError(f"fit_linear_reward: z of shape {tuple(z.shape)} must be finite (n, d).")
    scale = z.double().square().mean(dim=0).sqrt().clamp(min=1e-9)
    x = z.double() / scale
    known = torch.zeros(x.shape[1], dtype=torch.float64)
    if prior is not None:
        if prior.shape != known.shape:
            raise ValueError(
                f"fit_linear_reward: prior of shape {tuple(prior.shape)} for {len(known)} features; "
                "give one weight for each, 0 where nothing is known."
            )
        known = prior.double() * scale
    w = known.clone()
    for _ in range(50):
        wrong = torch.sigmoid(margin - x @ w)
        gradient = ridge * (w - known) - x.T @ wrong / len(x)
        curvature = (x * (wrong * (1 - wrong))[:, None]).T @ x / len(x)
        curvature.diagonal().add_(ridge)
        step = torch.linalg.solve(curvature, gradient)
        # a full Newton step may overshoot while the sigmoid is flat: at most 2 logits at a time
        w = w - step * min(1.0, 2.0 / float((x @ step).abs().max().clamp(min=1e-12)))
        if gradient.abs().max() < 1e-9:
            break
    return LinearReward(w / scale)
