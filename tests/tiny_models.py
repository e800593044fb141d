"""Tiny random models of every architecture the library promises, and a word tokenizer for them."""

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from valuelab.models import LM

WORDS = "i you we help the old man keep all money for myself . ? and never always take risk".split()
VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", "system", ":", *WORDS]
D_MODEL, N_LAYERS = 32, 3
COMMON = dict(
    vocab_size=len(VOCABULARY), pad_token_id=0, bos_token_id=1, eos_token_id=2,
    initializer_range=0.3,  # the usual 0.02 leaves such small models almost constant
)  # fmt: skip
LLAMA = dict(
    hidden_size=D_MODEL, intermediate_size=48, num_hidden_layers=N_LAYERS, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128,
)  # fmt: skip
GEMMA = dict(LLAMA, head_dim=8, sliding_window=6, query_pre_attn_scalar=8)
NEOX = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}
ARCHITECTURES = {
    "llama": LLAMA,
    "qwen2": LLAMA,
    "qwen3": dict(LLAMA, head_dim=8),
    "mistral": dict(LLAMA, sliding_window=6),
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "gpt2": dict(n_embd=D_MODEL, n_layer=N_LAYERS, n_head=4, n_positions=128),
    "gpt_neox": NEOX,
    "opt": dict(
        hidden_size=D_MODEL,
        ffn_dim=48,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=4,
        max_position_embeddings=128,
        word_embed_proj_dim=D_MODEL,
        init_std=0.3,
    ),  # fmt: skip
    "phi3": LLAMA,
    "olmo2": LLAMA,
    "falcon": dict(hidden_size=D_MODEL, num_hidden_layers=N_LAYERS, num_attention_heads=4),
    "bloom": dict(hidden_size=D_MODEL, n_layer=N_LAYERS, n_head=4),
    # as many experts as blocks: the lists must not be mistaken for each other
    "mixtral": dict(LLAMA, num_local_experts=N_LAYERS, num_experts_per_tok=2),
    "qwen3_moe": dict(
        LLAMA, num_experts=N_LAYERS, num_experts_per_tok=2, moe_intermediate_size=16, head_dim=8
    ),
}
TEMPLATE = (
    "<s>{% for m in messages %}{{ m['role'] + ' : ' + m['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)
TEXTS = [
    "i help the old man .",
    "you never take risk and i keep all the money for myself .",
    "we",
    "always help the man and take risk for all the money ?",
    "keep money .",
]
REAL = Path(__file__).parents[2] / "shared" / "models" / "tinystories-656k"


def word_tokenizer(template: str | None = TEMPLATE, pad: bool = True) -> PreTrainedTokenizerFast:
    """One word, one token; a start token in front."""
    words = Tokenizer(WordLevel({w: i for i, w in enumerate(VOCABULARY)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.decoder = decoders.Fuse()
    words.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = dict(bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, **names, **({"pad_token": "<pad>"} if pad else {})
    )
    tokenizer.decode = lambda ids, **_: " ".join(
        VOCABULARY[i] for i in ids if VOCABULARY[i] not in ("<pad>", "<s>", "</s>")
    )
    tokenizer.chat_template = template
    return tokenizer


def tiny_model(architecture: str, seed: int = 0, **settings) -> torch.nn.Module:
    """Random weights, float32, eval mode."""
    config = AutoConfig.for_model(architecture, **COMMON | ARCHITECTURES[architecture] | settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config).eval()


def tiny_lm(architecture: str = "llama", seed: int = 0, **options) -> LM:
    model = tiny_model(architecture, seed)
    return LM(model, word_tokenizer(**options), f"tiny-{architecture}-{seed}")


def save_tiny(folder: Path, architecture: str = "llama", **options) -> Path:
    """A folder as save_pretrained writes it."""
    lm = tiny_lm(architecture, **options)
    lm.model.save_pretrained(folder)
    lm.tokenizer.__dict__.pop("decode")
    lm.tokenizer.save_pretrained(folder)
    return folder


def edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def real_folder() -> Path:
    """The real pretrained model beside the repository; missing, the test is skipped with why."""
    if not REAL.is_dir():
        pytest.skip(f"no real pretrained model at ../shared/models/{REAL.name} beside the clone")
    return REAL
