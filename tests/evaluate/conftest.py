from html.parser import HTMLParser

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from valuelab.data import pairs

TEMPLATE = (
    "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}"
)


def make_tokenizer(template=None):
    """A small byte-level tokenizer learnt from the course's own contrast pairs."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=special, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator([p.positive for p in pairs.load()], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = template
    return tokenizer


def save_random_model(folder, *, template=None, silent=False, spread=0.3, tokenizer=None):
    """A randomly initialised model of 2 blocks; `silent` ends every reply at its first token.

    spread: of the weights; 0 makes all of them zero.
    """
    import torch

    torch.manual_seed(0)
    tokenizer = tokenizer or make_tokenizer(template)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=256, initializer_range=spread,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    if not spread:
        for weight in model.parameters():
            weight.data.zero_()
    if silent:
        model.generation_config.eos_token_id = list(range(len(tokenizer)))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base_model(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("chat"), template=TEMPLATE)


@pytest.fixture(scope="session")
def silent_model(tmp_path_factory):
    return save_random_model(tmp_path_factory.mktemp("silent"), template=TEMPLATE, silent=True)


@pytest.fixture(scope="session")
def constant_model(tmp_path_factory):
    """All weights zero: every state is alike, every word equally likely."""
    return save_random_model(tmp_path_factory.mktemp("constant"), spread=0.0)


@pytest.fixture(scope="session")
def deaf_model(tmp_path_factory):
    """Its tokenizer knows commas and full stops and no word: both members of most pairs are the same tokens."""
    tokens = ["<pad>", "<s>", "</s>", "<unk>", ",", "."]
    made = Tokenizer(models.WordLevel({t: k for k, t in enumerate(tokens)}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.Punctuation()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, **names)
    return save_random_model(tmp_path_factory.mktemp("deaf"), tokenizer=tokenizer)


class Balanced(HTMLParser):
    """Collects tags and fails on one that is closed out of order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse_page(text):
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    return parser.seen


@pytest.fixture(scope="session")
def parsed():
    """The tags of a page, after checking that every one is closed in order."""
    return parse_page
