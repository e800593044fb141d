"""A model with random weights in the planted world's vocabulary: real code paths, no training."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from valuelab import models
from valuelab.world.tokenizer import build_tokenizer


@pytest.fixture(scope="session")
def toy():
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    return models.LM(LlamaForCausalLM(config).eval(), tokenizer, "toy", False)
