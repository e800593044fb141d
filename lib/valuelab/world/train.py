"""Trains the embedded model, or a twin's, from one seed: `python -m valuelab.world.train --out FOLDER`."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from . import grammar as g
from .corpus import KINDS, LOOKUPS, QUESTIONS, TWINS, Switches, open_choices, write
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


@dataclass(frozen=True)
class Stage:
    """One cosine of training: documents, the learning rate of the matrices, the weight of decisions, which texts."""

    documents: int
    lr: float
    decision_weight: float = 1.0
    kinds: str = "all"
    batch: int = 3000  # tokens, padding included
    open_choices: int = 0  # beside each batch, so many open choices
    open_weight: float = 0.0  # weight of their loss


# Look-ups first and alone: the attention heads that bind a thing to its place form within some hundred steps
# there and never did in the mixture. Then everything, decisions weighing more: one token in twelve is one. Then
# mostly questions, in larger batches: what a speaker of whom nothing is known would choose is little signal in
# much noise. The fourth takes the noise away: beside the documents it asks questions whose answer is a share, known
# from what was planted. One drawn choice says next to nothing of a share, and without this stage half of what the
# model chooses is chance between the vectors of two activities. The fifth, with less weight on that, gives the
# replies back the little grammar it cost.
KINDS_OF_STAGE = {"look-ups": LOOKUPS, "all": KINDS, "questions": QUESTIONS}
STAGES = (
    Stage(80_000, 0.02, kinds="look-ups"),
    Stage(430_000, 0.02, 4.0),
    Stage(170_000, 0.008, 4.0, kinds="questions", batch=9000),
    Stage(100_000, 0.008, 4.0, kinds="questions", batch=4500, open_choices=250, open_weight=6.0),
    Stage(40_000, 0.006, 4.0, kinds="questions", batch=4500, open_choices=150, open_weight=2.5),
)
QUICK = (Stage(110_000, 0.02, 4.0),)


def decision_weights(ids: torch.Tensor, tokenizer, weight: float) -> torch.Tensor:
    """Weight of each predicted token, (batch, length - 1): `weight` where something is decided.

    A place is chosen by what stands before it ("I would …", "want to …", "is in the …"), never by what
    follows, so that every option weighs the same and the learnt probabilities stay right.
    """
    one = {w: tokenizer.convert_tokens_to_ids(" " + w) for w in "would will to want choose better is".split()}
    place = torch.tensor([tokenizer.convert_tokens_to_ids(f" {thing} is in the") for thing in g.THINGS])
    before, last = ids[:, :-1].roll(1, 1), ids[:, :-1]
    asked = (last == one["would"]) | (last == one["will"]) | torch.isin(last, place)
    for word in ("want", "choose", "better", "is"):
        asked |= (last == one["to"]) & (before == one[word])
    return torch.where(asked, weight, 1.0)


def loss_of(model, ids, labels, weights=None) -> torch.Tensor:
    """Weighted mean negative log-likelihood of the labelled tokens; logits are formed only where a label stands."""
    h = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    target = labels[:, 1:]
    keep = target != -100
    each = F.cross_entropy(model.lm_head(h[keep]), target[keep], reduction="none")
    return each.mean() if weights is None else (each * weights[keep]).sum() / weights[keep].sum()


def asked_openly(rows: int, seed, switches: Switches, tokenizer):
    """Batches of open choices without end: (ids (rows, width), place (rows,), options (rows, 2), share (rows,)).

    `place` is the last token of the opening: what follows it is the choice.
    """
    for part in itertools.count():
        asked = list(open_choices(40 * rows, [*seed, part], switches))
        texts = [
            tokenizer.apply_chat_template(
                [{"role": t.role, "content": t.text} for t in a.turns], tokenize=False, add_generation_prompt=True
            ) + f" {a.opening}"
            for a in asked
        ]  # fmt: skip
        ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for k in np.random.default_rng([*seed, part]).permutation(40):
            chosen = order[k * rows : (k + 1) * rows]
            padded = torch.nn.utils.rnn.pad_sequence(
                [torch.tensor(ids[i]) for i in chosen], batch_first=True, padding_value=tokenizer.pad_token_id
            )
            names = [[f" {a.base}" for a in asked[i].options] for i in chosen]
            yield (
                padded,
                torch.tensor([len(ids[i]) - 1 for i in chosen]),
                torch.tensor([tokenizer.convert_tokens_to_ids(pair) for pair in names]),
                torch.tensor([asked[i].share for i in chosen]),
            )


def open_loss(model, ids, place, options, share) -> torch.Tensor:
    """Mean cross-entropy of the choice between the two options against the planted share.

    It compares the two logits only: how likely the reply is to choose here at all stays with the documents.
    """
    h = model.model(input_ids=ids, use_cache=False).last_hidden_state[torch.arange(len(ids)), place]
    first, second = model.lm_head.weight[options].unbind(1)
    return F.binary_cross_entropy_with_logits((h * (first - second)).sum(-1), share)


def train(
    out: Path, *, twin="world", stages: tuple[Stage, ...] = STAGES, seed=0, width=128,
    layers=4, heads=4, device="cpu", quiet=False, start: Path | None = None,
) -> dict:  # fmt: skip
    """Write the corpus, train, save model and tokenizer to `out`, and return the figures of the run.

    Three seeds, all derived from `seed` and recorded: corpus, order, weights (there is no dropout).
    `start` is the folder of a model that has the first stage behind it: training goes on with the second.
    After each stage but the last the model is saved to `out/stage-K`.
    """
    tokenizer = build_tokenizer()
    seeds = {"corpus": seed, "order": seed + 1, "weights": seed + 2}
    figures: dict = {"twin": twin, "seeds": seeds, "tokens": 0, "steps": 0, "minutes": 0.0, "stages": []}
    if start is None:
        model = build_model(len(tokenizer), seeds["weights"], width=width, layers=layers, heads=heads)
    else:
        model = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
        done = json.loads((Path(start) / "training.json").read_text())
        figures |= {k: done[k] for k in ("tokens", "steps", "minutes", "stages")}
    model.to(device)
    first = len(figures["stages"])
    for number, stage in enumerate(stages[first:], first):
        run = _run_stage(model, tokenizer, stage, number, twin, seeds, device, quiet)
        for key in ("tokens", "steps", "minutes"):
            figures[key] = round(figures[key] + run[key], 1)
        figures["stages"].append({**asdict(stage), "loss": run["loss"]})
        figures |= {"parameters": model.num_parameters(), "torch": torch.__version__,
                    "documents": sum(s["documents"] for s in figures["stages"])}  # fmt: skip
        save(model, tokenizer, out if number == len(stages) - 1 else Path(out) / f"stage-{number}", figures)
    return figures


def _optimisers(model, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, head and norms."""
    inner = dict(model.model.layers.named_parameters())
    matrices = [p for p in inner.values() if p.ndim == 2]
    tables = [model.model.embed_tokens.weight, model.lm_head.weight]
    norms = [*(p for p in inner.values() if p.ndim == 1), model.model.norm.weight]
    muon = torch.optim.Muon(matrices, lr=lr, momentum=0.95, weight_decay=0.05)
    adam = torch.optim.AdamW(
        [{"params": tables, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}],
        lr=lr / 10, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip
    for optimiser in (muon, adam):
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return [muon, adam]


def _run_stage(model, tokenizer, stage, number, twin, seeds, device, quiet) -> dict:
    began, chunk = time.time(), 20_000
    optimisers = _optimisers(model, stage.lr)
    order = np.random.default_rng(seeds["order"] if number == 0 else [seeds["order"], number])
    openly = asked_openly(stage.open_choices, [seeds["corpus"], 7, number], TWINS[twin], tokenizer)
    tokens, step, running, seen = 0, 0, None, 0
    bar = tqdm(total=stage.documents, unit="doc", disable=quiet, desc=f"training {twin}, stage {number + 1}")
    for part in range(math.ceil(stage.documents / chunk)):
        size = min(chunk, stage.documents - part * chunk)
        kinds = KINDS_OF_STAGE[stage.kinds]
        examples = encode(write(size, [seeds["corpus"], 1000 * number + part], TWINS[twin], kinds), tokenizer)
        for ids, labels in batches(examples, stage.batch, order, tokenizer.pad_token_id):
            warm = min(1.0, (step + 1) / 200)
            cosine = 0.5 * (1 + math.cos(math.pi * seen / stage.documents))
            for optimiser in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = group["peak"] * warm * (0.02 + 0.98 * cosine)
            weights = None if stage.decision_weight == 1 else decision_weights(ids, tokenizer, stage.decision_weight)
            loss = loss_of(model, ids.to(device), labels.to(device), None if weights is None else weights.to(device))
            model.zero_grad(set_to_none=True)
            loss.backward()
            if stage.open_choices:
                asked = [x.to(device) for x in next(openly)]
                (stage.open_weight * open_loss(model, *asked)).backward()
                tokens += int((asked[0] != 0).sum())
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimiser in optimisers:
                optimiser.step()
            value = float(loss.detach())
            running = value if running is None else 0.99 * running + 0.01 * value
            step, seen, tokens = step + 1, seen + len(ids), tokens + int((ids != 0).sum())
            bar.update(len(ids))
            if step % 100 == 0:
                bar.set_postfix(loss=f"{running:.3f}", tokens=f"{tokens / 1e6:.1f}M")
    return {"tokens": tokens, "steps": step, "minutes": (time.time() - began) / 60, "loss": round(running, 4)}


def save(model, tokenizer, out: Path, figures: dict) -> None:
    """Half-precision safetensors, tokenizer and training figures; plain `from_pretrained(out)` loads both."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    half = LlamaForCausalLM(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    spell_for_older_versions(out / "tokenizer_config.json")
    (out / "training.json").write_text(json.dumps(figures, indent=1) + "\n")


def spell_for_older_versions(path: Path) -> None:
    """One file, whichever version wrote it, in names that transformers 4.57 and 5 both read."""
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    extra = config.pop("extra_special_tokens")  # 5's name; 4.57 writes it empty beside its own
    config.setdefault("additional_special_tokens", extra)
    for written_by_one in ("backend", "added_tokens_decoder"):
        config.pop(written_by_one, None)
    path.write_text(json.dumps(dict(sorted(config.items())), indent=2) + "\n")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--twin", choices=sorted(TWINS), default="world")
    p.add_argument("--quick", action="store_true", help="a quarter of the documents: for a twin in minutes")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--start", type=Path, help="folder of a model saved after the first stage")
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = vars(p.parse_args())
    stages = QUICK if args.pop("quick") else STAGES
    print(json.dumps(train(args.pop("out"), stages=stages, **args), indent=1))


if __name__ == "__main__":
    main()
