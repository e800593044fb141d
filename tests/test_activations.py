"""Claims about valuelab.activations."""

import pytest
import torch
from tiny_models import ARCHITECTURES, N_LAYERS, TEXTS, real_folder, tiny_lm

from valuelab import models
from valuelab.activations import EMBEDDING, capture

EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)


def by_hand(lm, text):
    """Hidden states of one text without padding: [embedding, block 0, ...], each (tokens, d)."""
    [ids] = models.encode(lm, [text])
    return [h[0] for h in lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states]


@EVERY
def test_batched_equals_one_by_one_and_hugging_face(architecture):
    lm = tiny_lm(architecture)
    layers = range(-1, N_LAYERS)
    together = capture(lm, TEXTS, layers)
    alone = capture(lm, TEXTS, layers, batch_size=1)
    for layer in layers:
        torch.testing.assert_close(together[layer], alone[layer], rtol=1e-5, atol=1e-5)
        assert together[layer].dtype == torch.float32 and together[layer].shape == (5, 32)
    for i, text in enumerate(TEXTS):
        for layer in layers[:-1]:  # Hugging Face gives the last one after the final norm
            wanted = by_hand(lm, text)[layer + 1][-1]
            torch.testing.assert_close(together[layer][i], wanted, rtol=1e-5, atol=1e-5)


def test_each_position_reads_the_token_it_names():
    lm = tiny_lm("gpt_neox")
    states = [by_hand(lm, text)[2] for text in TEXTS]

    def check(position, wanted):
        got = capture(lm, TEXTS, 1, position, batch_size=2)[1]
        for a, b in zip(got, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)

    check("last", [h[-1] for h in states])
    check("mean", [h[1:].mean(0) for h in states])
    check("every", states)
    check(1, [h[1] for h in states])
    check(-2, [h[-2] for h in states])
    check(lambda tokens: len(tokens) - 2, [h[-2] for h in states])
    check(lambda tokens: [1, -1], [h[[1, -1]].mean(0) for h in states])
    check(lambda tokens: [t != "<s>" for t in tokens], [h[1:].mean(0) for h in states])


def test_with_prompts_the_mean_is_over_the_response_alone():
    lm = tiny_lm("llama")
    prompts, replies = ["we help", "keep all the money for"], [" the old man .", " myself ."]
    got = capture(lm, replies, [0], "mean", prompts=prompts)[0]
    for g, prompt, reply in zip(got, prompts, replies, strict=True):
        h, words = by_hand(lm, prompt + reply)[1], len(reply.split())
        torch.testing.assert_close(g, h[-words:].mean(0), rtol=1e-5, atol=1e-5)
    first = capture(lm, replies, [0], 0, prompts=prompts)[0]
    torch.testing.assert_close(first[0], by_hand(lm, prompts[0] + replies[0])[1][3])


def test_the_pass_stops_after_the_last_layer_asked_for():
    lm, ran = tiny_lm("llama"), []
    for layer, block in enumerate(lm.blocks):
        block.register_forward_hook(lambda *_, layer=layer: ran.append(layer))
    capture(lm, TEXTS[:1], [0, 1])
    assert ran == [0, 1]
    ran.clear()
    capture(lm, TEXTS[:1], EMBEDDING)
    assert ran == []


def test_no_hook_stays_behind_even_after_an_error():
    lm = tiny_lm("llama")
    capture(lm, TEXTS)
    lm.blocks[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        capture(lm, TEXTS, [-1, 0, 1])
    assert [len(b._forward_hooks) for b in lm.blocks] == [1, 0, 0]
    assert not any(b._forward_pre_hooks for b in lm.blocks) and lm.current is None


def test_reading_twice_and_reading_nothing():
    lm = tiny_lm("qwen3")
    torch.testing.assert_close(capture(lm, TEXTS)[2], capture(lm, TEXTS)[2], rtol=0, atol=0)
    assert capture(lm, [], [1])[1].shape == (0, 32)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [7]}, "blocks 0 to 2"),
        ({"layers": [-2]}, "blocks 0 to 2"),
        ({"layers": []}, "empty"),
        ({"position": "first"}, "use 'last', 'mean', 'every'"),
        ({"position": 4}, "text 2, which has 2 tokens"),
        ({"position": lambda tokens: []}, "chooses nothing in text 0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"prompts": ["we"]}, "1 prompts but 5"),
    ],
)
def test_impossible_requests_are_explained(options, message):
    with pytest.raises(ValueError, match=message):
        capture(tiny_lm(), TEXTS, **options)


def test_an_empty_text_and_a_too_long_text_are_named():
    with pytest.raises(ValueError, match="text 1 has 501 tokens.*at most 128"):
        capture(tiny_lm(), ["we", "help " * 500])
    lm = tiny_lm()
    lm.tokenizer.backend_tokenizer.post_processor = None
    with pytest.raises(ValueError, match="text 0 has no tokens"):
        capture(lm, [""])


def test_a_real_model_gives_the_same_batched_as_single():
    lm = models.load(real_folder())
    texts = ["Once upon a time ", "Lily was kind and gave her toy to ", "He ran "]
    a, b = capture(lm, texts), capture(lm, texts, batch_size=1)
    for layer in a:  # these states have entries in the hundreds: compare by their length
        error = (a[layer] - b[layer]).norm(dim=1) / b[layer].norm(dim=1)
        assert error.max() < 1e-5 and b[layer].abs().max() > 50
