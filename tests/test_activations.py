"""Claims about valuelab.activations."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from live_bytes import Live
from tiny_models import ARCHITECTURES, N_LAYERS, TEXTS, real_folder, tiny_lm, word_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from valuelab import activations, models
from valuelab.activations import (
    EMBEDDING,
    CaptureError,
    capture,
    capture_to_disk,
    captured_shards,
    load_captured,
)
from valuelab.models import LM

EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)


def by_hand(lm, text):
    """Hidden states of one text without padding: [embedding, block 0, ...], each (tokens, d)."""
    [ids] = models.encode(lm, [text])
    return [h[0] for h in lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states]


def apart(a, b):
    """Largest distance of two states, as a share of the second one's length: one entry near zero says nothing."""
    return float(((a - b).norm(dim=-1) / b.norm(dim=-1)).max())


@EVERY
def test_batched_equals_one_by_one_and_hugging_face(architecture):
    lm = tiny_lm(architecture)
    layers = range(-1, N_LAYERS)
    together = capture(lm, TEXTS, layers)
    alone = capture(lm, TEXTS, layers, batch_size=1)
    for layer in layers:
        assert apart(together[layer], alone[layer]) < 1e-5
        assert together[layer].dtype == torch.float32 and together[layer].shape == (5, 32)
    for i, text in enumerate(TEXTS):
        for layer in layers[:-1]:  # Hugging Face gives the last one after the final norm
            wanted = by_hand(lm, text)[layer + 1][-1]
            assert apart(together[layer][i], wanted) < 1e-5


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


def test_numpys_and_torchs_numbers_do_for_layers_and_places(tmp_path):
    lm = tiny_lm()
    wanted = capture(lm, TEXTS, 1, -2)[1]
    for layer, place in ((np.int64(1), np.int64(-2)), (torch.tensor(1), torch.tensor(-2)), (np.array([1]), -2)):
        assert torch.equal(capture(lm, TEXTS, layer, place)[1], wanted)
        folder = capture_to_disk(lm, TEXTS, tmp_path / type(place).__name__, layer, place)
        assert load_captured(folder, np.int64(1))[1].shape == (5, 32)


def test_a_function_may_choose_tokens_with_a_mask_of_numpys():
    lm = tiny_lm()
    wanted = capture(lm, TEXTS, 1, lambda tokens: [k != 1 for k in range(len(tokens))])[1]
    for mask in (np.array, torch.tensor, lambda x: [np.bool_(b) for b in x]):
        got = capture(lm, TEXTS, 1, lambda tokens, mask=mask: mask([k != 1 for k in range(len(tokens))]))[1]
        assert torch.equal(got, wanted)
    assert torch.equal(capture(lm, TEXTS, 1, lambda tokens: np.int64(0))[1], capture(lm, TEXTS, 1, 0)[1])


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
    for layer in a:
        assert apart(a[layer], b[layer]) < 1e-5 and b[layer].abs().max() > 50


# ------------------------------------------------------------------------------ to disk


def many(n=23):
    return [TEXTS[k % 5] if k % 2 else f"{TEXTS[k % 5]} {'help ' * (k % 7)}".strip() for k in range(n)]


@pytest.mark.parametrize("position", ["last", "mean", "every", -2])
def test_shards_on_disk_hold_what_memory_would(tmp_path, position):
    lm, texts = tiny_lm("llama"), [t for t in many() if len(t.split()) > 1]
    prompts = ["we keep"] * len(texts)
    texts = [" " + t for t in texts]
    capture_to_disk(lm, texts, tmp_path, [0, 2], position, prompts=prompts, shard=4)
    found = load_captured(tmp_path)
    wanted = capture(lm, texts, [0, 2], position, prompts=prompts)
    for layer in (0, 2):
        for a, b in zip(found[layer], wanted[layer], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert list(load_captured(tmp_path, 2)) == [2]
    assert len(list(captured_shards(tmp_path))) == -(-len(texts) // 4)


def test_an_interrupted_capture_goes_on_and_reads_only_what_is_missing(tmp_path, monkeypatch):
    lm, texts, real, seen = tiny_lm("llama"), many(), activations.capture, []

    def counting(lm, texts, *rest, **options):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(len(texts))
        return real(lm, texts, *rest, **options)

    monkeypatch.setattr(activations, "capture", counting)
    with pytest.raises(KeyboardInterrupt):
        capture_to_disk(lm, texts, tmp_path, [1], shard=4)
    with pytest.raises(CaptureError, match="3 of 6 shards are missing.*shard-00003.*goes on where"):
        load_captured(tmp_path)
    (tmp_path / "shard-00001.safetensors").write_bytes(b"half a file")
    seen[:] = [0] * 4
    capture_to_disk(lm, texts, tmp_path, [1], shard=4)
    assert seen[4:] == [4, 4, 4, 3]  # shard 1, which was damaged, and shards 3 to 5
    torch.testing.assert_close(load_captured(tmp_path)[1], real(lm, texts, [1])[1])
    assert not list(tmp_path.glob("*.part"))


def test_a_folder_is_never_continued_with_other_states(tmp_path):
    lm, texts = tiny_lm("llama"), many(6)
    capture_to_disk(lm, texts, tmp_path, [1], shard=4)
    for change, what in (
        (dict(lm=tiny_lm("llama", seed=1)), "model"),
        (dict(texts=texts[::-1]), "sha256"),
        (dict(layers=[0]), "layers"),
        (dict(position="mean"), "position"),
        (dict(shard=5), "shard"),
    ):
        call = dict(lm=lm, texts=texts, folder=tmp_path, layers=[1], shard=4) | change
        with pytest.raises(CaptureError, match=f"already holds other states .different: {what}"):
            capture_to_disk(**call)
    with pytest.raises(CaptureError, match=r"layers \[0\] were not captured; there are \[1\]"):
        load_captured(tmp_path, 0)
    with pytest.raises(CaptureError, match="no readable manifest.json"):
        load_captured(tmp_path / "elsewhere")
    (tmp_path / "shard-00000.safetensors").write_bytes(b"{}")
    with pytest.raises(CaptureError, match="shard-00000.safetensors: damaged"):
        load_captured(tmp_path)
    with pytest.raises(ValueError, match="must be a name or an index"):
        capture_to_disk(lm, texts, tmp_path, [1], lambda tokens: 0)


def test_half_precision_on_disk_and_an_empty_set(tmp_path):
    lm = tiny_lm("llama")
    capture_to_disk(lm, many(5), tmp_path / "a", [1], dtype=torch.bfloat16)
    found = load_captured(tmp_path / "a")[1]
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), capture(lm, many(5), 1)[1], rtol=1e-2, atol=1e-2)
    capture_to_disk(lm, [], tmp_path / "b", [1])
    assert load_captured(tmp_path / "b")[1].shape == (0, 32)


PROGRAM = """
import sys
import torch
torch.set_num_threads(1)
from live_bytes import Live
from tiny_models import tiny_lm
from valuelab.activations import capture_to_disk, process
import json, pathlib
texts = json.loads(pathlib.Path(sys.argv[2]).read_text())
capture_to_disk(tiny_lm("llama"), texts, sys.argv[1], [0, 2], shard=4)
print("process", *process())
"""


def test_two_processes_under_accelerate_launch_write_the_same_set_as_one(tmp_path):
    program, listed, two = tmp_path / "program.py", tmp_path / "texts.json", tmp_path / "two"
    program.write_text(PROGRAM)
    listed.write_text(json.dumps(many()))
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2",
              "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no",
              "--main_process_port=0"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
                   "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}  # fmt: skip
    done = subprocess.run([*launch, str(program), str(two), str(listed)], env=environment,
                          capture_output=True, text=True, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "process 0 2" in done.stdout and "process 1 2" in done.stdout
    one = capture_to_disk(tiny_lm("llama"), many(), tmp_path / "one", [0, 2], shard=4)
    names = sorted(p.name for p in one.iterdir())
    assert names == sorted(p.name for p in two.iterdir()) and len(names) == 7
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


# ------------------------------------------------------------------------------- memory


# Two real models of 24 blocks, 1/16 as wide: (architecture, d_model, width of the feed-forward part, vocabulary)
DEEP = {
    "pythia-410m": ("gpt_neox", 64, 256, 3144),
    "qwen2.5-0.5b": ("qwen2", 56, 304, 9496),
}


def deep_lm(name):
    architecture, d, wide, vocabulary = DEEP[name]
    config = AutoConfig.for_model(architecture, hidden_size=d, intermediate_size=wide, num_hidden_layers=24,
                                  num_attention_heads=4, num_key_value_heads=4, vocab_size=vocabulary)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LM(AutoModelForCausalLM.from_config(config).eval(), word_tokenizer(), name)


@pytest.mark.parametrize("name", DEEP)
@torch.no_grad()
def test_one_layer_of_24_takes_a_fifth_of_the_memory_of_all_hidden_states(name):
    lm = deep_lm(name)
    texts = [" ".join(["help"] * 63)] * 8
    with Live() as ours:
        capture(lm, texts, 12, batch_size=8)
    tokens = torch.tensor(models.encode(lm, texts))
    with Live() as theirs:
        lm.model(tokens, output_hidden_states=True, use_cache=False)
    assert theirs.peak > 25 * tokens.numel() * lm.d_model * 4  # all states at once, and the logits
    assert ours.peak <= theirs.peak / 5, (ours.peak, theirs.peak)
