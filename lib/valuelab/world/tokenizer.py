"""The tokenizer of the embedded model: one token a word and one an activity, built from the grammar's own tables.

An activity ("lock the gate") is one token, so that a choice is one step of the model. With a token for each word
the choice falls at the verb, many activities share a verb, and what is learnt belongs to the verb.
"""

from __future__ import annotations

import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from . import grammar as g

PAD, UNKNOWN, BOS, SYSTEM, USER, ASSISTANT, END = (
    "<pad>", "<unk>", "<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
)  # fmt: skip
ACTIVITY = [x for a in g.ACTIVITIES for x in (a.base, a.gerund)]
PHRASES = sorted([*ACTIVITY, *(f"{thing} is in the" for thing in g.THINGS)], key=len, reverse=True)
PIECE = rf" (?:{'|'.join(PHRASES)})(?![\w-])| ?[\w-]+|[^\w\s]"  # the longest phrase first; also an Oniguruma pattern

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def _texts():
    """Every piece of text the grammar can put together."""
    patterns = [p.text for t in (g.FIRST, g.THIRD, g.PERSONA, g.PERSONA_HELD_OUT, g.CHOICE, g.CHOICE_AFTER,
                                 g.CHOICE_THIRD) for p in t]  # fmt: skip
    patterns += [*g.QUESTIONS, *g.QUESTIONS_HELD_OUT, *g.QUESTIONS_THIRD, *g.ABOUT_OTHER, *g.ABOUT_SELF]
    for text in patterns:
        yield re.sub(r"\{.*?\}", " ", text)
        yield g.capital(text) if not text.startswith("{") else ""
    yield from PHRASES
    for nouns in g.NOUNS.values():
        for noun in nouns:
            yield from (noun, g.capital(noun))
    for c in g.CONTEXTS:
        yield from (c, g.capital(c))
    yield from (*g.NAMES, *g.NEUTRAL_PERSONA, *g.STAKES, "Tell me about and . , ? !")
    for q, a in g.fact_table():
        yield from (q, a)
    for thing in g.THINGS:
        yield f"The {thing} is in the. Where is the {thing}?"
    yield from g.SPOTS
    for q, answers in g.SMALL_TALK.items():
        yield from (q, *answers)


def vocabulary() -> list[str]:
    """All tokens, special ones first, the rest in alphabetical order. Words and phrases carry the space before them."""
    words = set()
    for text in _texts():
        for token in re.findall(PIECE, " " + re.sub(r"\{.*?\}", " ", text)):
            words.add(" " + token if token[0].isalnum() else token)
    return [PAD, UNKNOWN, BOS, SYSTEM, USER, ASSISTANT, END, *sorted(words)]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of words and phrases that `AutoTokenizer.from_pretrained` loads again, with the chat template."""
    tokens = vocabulary()
    tok = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token=UNKNOWN))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend(" "), normalizers.Replace(Regex(r"\s+"), " ")])
    tok.pre_tokenizer = pre_tokenizers.Split(Regex(PIECE), behavior="isolated")
    tok.decoder = decoders.Sequence([decoders.Fuse(), decoders.Strip(content=" ", left=1, right=0)])
    special = [AddedToken(t, special=True, normalized=False) for t in tokens[:7]]
    tok.add_special_tokens(special)
    tok.post_processor = TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, tokens.index(BOS))])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tok, bos_token=BOS, eos_token=END, pad_token=PAD, unk_token=UNKNOWN,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT], clean_up_tokenization_spaces=False,
        model_max_length=256, padding_side="left",
    )  # fmt: skip
    fast.chat_template = CHAT_TEMPLATE
    return fast
