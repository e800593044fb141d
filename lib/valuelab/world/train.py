"""Trains the embedded model, or a twin's, from one seed: `python -m valuelab.world.train --out FOLDER`."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from .corpus import TWINS, write
from .tokenizer import ASSISTANT, BOS, END, build_tokenizer


def encode(documents, tokenizer) -> list[tuple[np.ndarray, np.ndarray]]:
    """Token ids and loss mask of each document. The loss falls on the assistant's tokens (or a monologue's)."""
    start, end = tokenizer.convert_tokens_to_ids([ASSISTANT, END])
    texts, plain = [], []
    for d in documents:
        plain.append(d.kind == "monologue")
        if plain[-1]:
            texts.append(BOS + d.turns[0].text + END)
        else:
            texts.append(tokenizer.apply_chat_template(d.messages(), tokenize=False))
    out = []
    for ids, is_plain in zip(tokenizer(texts, add_special_tokens=False)["input_ids"], plain, strict=True):
        ids = np.asarray(ids, dtype=np.int16)
        if is_plain:
            mask = np.ones(len(ids), dtype=bool)
        else:
            opened = np.cumsum(ids == start)
            closed = np.cumsum(ids == end) - (ids == end)
            mask = (opened > closed) & (ids != start)
        mask[0] = False
        out.append((ids, mask))
    return out


def batches(examples, tokens_per_batch: int, rng: np.random.Generator, pad: int):
    """Batches of documents of like length, padded on the right, in random order."""
    order = rng.permutation(len(examples))
    for start in range(0, len(order), 4096):
        chunk = sorted(order[start : start + 4096], key=lambda i: len(examples[i][0]))
        groups, group, longest = [], [], 0
        for i in chunk:
            longest = max(longest, len(examples[i][0]))
            if group and longest * (len(group) + 1) > tokens_per_batch:
                groups.append(group)
                group, longest = [], len(examples[i][0])
            group.append(i)
        groups.append(group)
        for k in rng.permutation(len(groups)):
            rows = [examples[i] for i in groups[k]]
            width = max(len(ids) for ids, _ in rows)
            ids = torch.full((len(rows), width), pad)
            labels = torch.full((len(rows), width), -100)
            for r, (x, m) in enumerate(rows):
                ids[r, : len(x)] = torch.from_numpy(x.astype(np.int64))
                labels[r, : len(x)] = torch.where(torch.from_numpy(m), ids[r, : len(x)], -100)
            yield ids, labels


def build_model(vocab_size: int, seed: int, *, width=128, layers=5, heads=4) -> LlamaForCausalLM:
    """A small Llama with random weights."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size, hidden_size=width, intermediate_size=int(width * 2.75), num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=256,
        tie_word_embeddings=False, bos_token_id=2, eos_token_id=6, pad_token_id=0, attention_dropout=0.0,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def loss_of(model, ids, labels) -> torch.Tensor:
    """Mean negative log-likelihood of the labelled tokens; logits are formed only where a label stands."""
    h = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    target = labels[:, 1:]
    keep = target != -100
    return F.cross_entropy(model.lm_head(h[keep]), target[keep])


def train(
    out: Path, *, twin="world", documents=300_000, seed=0, lr=2e-3, tokens_per_batch=3000, width=128, layers=5,
    heads=4, max_minutes=None, checkpoints=(), device="cpu", quiet=False,
) -> dict:  # fmt: skip
    """Write the corpus, train, save model and tokenizer to `out`, and return the figures of the run.

    Four seeds, all derived from `seed` and recorded: corpus, order, weights (there is no dropout).
    """
    began = time.time()
    tokenizer = build_tokenizer()
    seeds = {"corpus": seed, "order": seed + 1, "weights": seed + 2}
    model = build_model(len(tokenizer), seeds["weights"], width=width, layers=layers, heads=heads).to(device)
    chunk = 20_000
    parts = math.ceil(documents / chunk)
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=lr, betas=(0.9, 0.98), fused=True
    )
    order = np.random.default_rng(seeds["order"])
    tokens, step, log, running = 0, 0, [], None
    bar = tqdm(total=documents, unit="doc", disable=quiet, desc=f"training {twin}")
    seen = 0
    for part in range(parts):
        size = min(chunk, documents - part * chunk)
        examples = encode(write(size, [seeds["corpus"], part], TWINS[twin]), tokenizer)
        for ids, labels in batches(examples, tokens_per_batch, order, tokenizer.pad_token_id):
            progress = seen / documents
            warm = min(1.0, (step + 1) / 200)
            for group in optimiser.param_groups:
                group["lr"] = lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
            loss = loss_of(model, ids.to(device), labels.to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            value = float(loss.detach())
            running = value if running is None else 0.99 * running + 0.01 * value
            step, seen, tokens = step + 1, seen + len(ids), tokens + int((ids != 0).sum())
            bar.update(len(ids))
            if step % 100 == 0:
                bar.set_postfix(loss=f"{running:.3f}", tokens=f"{tokens / 1e6:.1f}M")
                log.append({"step": step, "tokens": tokens, "loss": round(running, 4)})
        for share in checkpoints:
            if part + 1 == math.ceil(share * parts) and part + 1 < parts:
                save(model, tokenizer, Path(out) / f"checkpoint-{share:g}")
    figures = {
        "twin": twin, "seeds": seeds, "documents": documents, "tokens": tokens, "steps": step,
        "minutes": round((time.time() - began) / 60, 1), "loss": round(running, 4), "parameters": model.num_parameters(),
        "lr": lr, "tokens_per_batch": tokens_per_batch, "torch": torch.__version__,
    }  # fmt: skip
    save(model, tokenizer, out)
    (Path(out) / "training.json").write_text(json.dumps({**figures, "log": log[::10]}, indent=1) + "\n")
    return figures


def save(model, tokenizer, out: Path) -> None:
    """Half-precision safetensors beside the tokenizer; plain `from_pretrained(out)` loads both."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    half = LlamaForCausalLM(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--twin", choices=sorted(TWINS), default="world")
    p.add_argument("--documents", type=int, default=300_000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--tokens-per-batch", type=int, default=3000)
    p.add_argument("--width", type=int, default=128)
    p.add_argument("--layers", type=int, default=5)
    p.add_argument("--heads", type=int, default=4)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = vars(p.parse_args())
    print(json.dumps(train(args.pop("out"), **args), indent=1))


if __name__ == "__main__":
    main()
