"""The capstone's plan, verdict and card; the shapes of the well-known models counted from their configurations."""

import math

import pytest
import torch
from live_bytes import Live
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from valuelab import models
from valuelab.course.check import verdict
from valuelab.evaluate import capstone as c
from valuelab.models import LM
from valuelab.weights.editing import clone

CONFIGS = {
    "Qwen/Qwen2.5-0.5B-Instruct": (Qwen2Config, 896, 4864, 14, True),
    "meta-llama/Llama-3.2-1B-Instruct": (LlamaConfig, 2048, 8192, 32, True),
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": (LlamaConfig, 2048, 8192, 32, True),
    "Qwen/Qwen2.5-3B-Instruct": (Qwen2Config, 2048, 11008, 16, True),
    "meta-llama/Llama-3.1-8B-Instruct": (LlamaConfig, 4096, 14336, 32, False),
}


@pytest.mark.parametrize("shape", c.WELL_KNOWN, ids=lambda s: s.name)
def test_a_well_known_model_has_the_parameters_that_the_lesson_states(shape):
    kind, width, inner, heads, tied = CONFIGS[shape.name]
    assert shape.head_dim == width // heads
    config = kind(
        hidden_size=width, intermediate_size=inner, num_hidden_layers=shape.layers, num_attention_heads=heads,
        num_key_value_heads=shape.kv_heads, vocab_size=shape.vocabulary, tie_word_embeddings=tied,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    assert sum(p.numel() for p in model.parameters()) == shape.parameters


def test_the_cache_that_is_counted_is_the_cache_that_the_model_keeps():
    lm = models.load()
    shape = c.shape_of(lm)
    ids = torch.ones(3, 11, dtype=torch.long)
    with torch.no_grad():
        out = lm.model(ids, use_cache=True)
    kept = sum(t.numel() for layer in out.past_key_values.layers for t in (layer.keys, layer.values))
    weights = shape.parameters * 4
    assert c.memory_needed(shape, 3, 11, 4) == weights + 4 * kept + 4 * out.logits.numel()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_what_scoring_takes_fits_into_what_was_counted(dtype, monkeypatch):
    """Weights are held before; of the formula that leaves cache and logits. Blocks compute in what the cache leaves."""
    lm = LM(clone(models.load()).model.to(dtype), models.load().tokenizer, "typed")
    shape, ids = c.shape_of(lm), torch.full((8, 200), 5)
    monkeypatch.setattr(models, "WIDE", shape.vocabulary * 8 * 8)
    with Live() as live:
        models.token_log_probs(lm, ids, torch.ones_like(ids))
    assert live.peak <= c.memory_needed(shape, 8, 200, dtype.itemsize) - shape.parameters * dtype.itemsize


def test_the_card_names_the_unit_of_its_intervals():
    row = {"estimate": 0.2, "low": 0.1, "high": 0.3, "se": 0.05, "n": 9, "clusters": 9}
    found = {"comparisons": {"x": dict.fromkeys(("gain", "advantage", "ability_change"), row)},
             "leakage": {"x": {"effects": {}, "holm_p": {}}}, "chosen": {"x": {"layer": 2}}}  # fmt: skip
    results = {"values": {"power": found}, "model": {"model": "m"}, "score": "s", "ability": "a", "notes": [],
               "made": "today", "seeds": {}, "versions": {}}  # fmt: skip
    assert "The intervals are over contexts, not over models" in c.model_card(results, c.Plan("power", "x"))


def test_a_gain_as_large_as_stated_is_seen_as_often_as_stated():
    n, q = 200, 0.4
    gain = c.detectable_gain(n, q)
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(4000, n, generator=generator)
    d = (u < (q + gain) / 2).double() - ((u >= (q + gain) / 2) & (u < q)).double()
    z = d.mean(1) / (d.std(1) / math.sqrt(n))
    seen = float((z > 1.959964).double().mean())
    assert 0.79 <= seen <= 0.88  # at least the power asked for: q bounds the variance from above


def test_the_check_takes_a_z_as_it_is_typed():
    def answer(n, disagreement, power=0.8, level=0.95):
        if n < 1 or not 0 <= disagreement <= 1:
            raise ValueError("n or share")
        z = {0.95: 1.96, 0.9: 1.645}[level] + {0.8: 0.8416, 0.9: 1.2816}[power]
        return z * math.sqrt(disagreement / n)

    assert verdict("11.3", answer) is None


def test_what_does_not_fit_says_what_would():
    with pytest.raises(MemoryError, match="bfloat16"):
        c.largest_batch(c.WELL_KNOWN[-1], 256, 8 * 10**9)


def test_a_missing_bound_is_infinite_and_decides_nothing():
    stored = {
        "estimate": 0.2,
        "low": None,
        "high": None,
        "se": None,
        "n": 1,
        "clusters": 1,
        "p": None,
        "outcome": "one",
    }
    assert c.decide(c.read_interval(stored), 0.1) is None
