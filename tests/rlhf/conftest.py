"""A tiny random model that speaks the planted world's words, for everything that has to run a loop."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from valuelab.models import LM
from valuelab.world.tokenizer import build_tokenizer


def build_tiny(seed: int = 0) -> LM:
    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id, initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LM(LlamaForCausalLM(config).eval(), tokenizer, f"tiny-{seed}")


@pytest.fixture
def tiny():
    return build_tiny()


@pytest.fixture
def another():
    return build_tiny(1)
