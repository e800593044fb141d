"""Claims about valuelab.models."""

import time
import warnings

import pytest
import torch
from live_bytes import Live
from tiny_models import (
    ARCHITECTURES,
    COMMON,
    D_MODEL,
    N_LAYERS,
    TEMPLATE,
    TEXTS,
    edit_json,
    real_folder,
    save_tiny,
    tiny_lm,
    tiny_model,
    word_tokenizer,
)
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from valuelab import models
from valuelab.models import LM, ModelError, chat, find_blocks, generate, load, log_probs

EVERY = pytest.mark.parametrize("architecture", ARCHITECTURES)


@EVERY
def test_blocks_are_found_by_structure(architecture):
    model = tiny_model(architecture)
    blocks = find_blocks(model)
    seen = []
    for block in blocks:
        block.register_forward_hook(lambda m, a, out: seen.append(out))
    hidden = model(torch.tensor([[1, 9, 10]]), output_hidden_states=True).hidden_states
    assert len(blocks) == N_LAYERS and not isinstance(blocks, nn.ModuleList)
    for layer, out in enumerate(seen[:-1]):
        out = out[0] if isinstance(out, tuple) else out
        assert out.shape == (1, 3, D_MODEL)
        torch.testing.assert_close(out, hidden[layer + 1], rtol=0, atol=0)


def test_experts_kept_as_a_module_list_are_not_taken_for_blocks():
    model = tiny_model("llama")
    for block in model.model.layers:
        block.experts = nn.ModuleList(nn.Linear(999, 999) for _ in range(N_LAYERS))
    assert find_blocks(model) == list(model.model.layers)


def test_a_tower_beside_the_language_model_is_not_taken_for_blocks():
    model = tiny_model("llama")
    model.vision = nn.ModuleList(nn.Linear(999, 999) for _ in range(N_LAYERS))
    assert find_blocks(model) == list(model.model.layers)


def test_a_model_without_a_block_list_says_what_to_do():
    model = tiny_model("llama")
    model.model.layers = None
    with pytest.raises(ModelError, match="found 0 decoder blocks.*blocks="):
        find_blocks(model)


# ---------------------------------------------------------------------------- generate


@EVERY
def test_greedy_replies_equal_those_of_hugging_face(architecture):
    lm = tiny_lm(architecture)
    ids, mask = models.pad(lm, models.encode(lm, TEXTS), "left")
    theirs = lm.model.generate(
        input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=12, pad_token_id=0
    )[:, ids.shape[1] :]
    theirs = [models.cut(row, models.stop_tokens(lm)) for row in theirs.tolist()]
    ours = models.generate_ids(
        lm, models.encode(lm, TEXTS), temperature=0, max_new_tokens=12, batch_size=len(TEXTS)
    )
    assert ours == theirs
    assert len(set(map(tuple, ours))) > 1  # the model is not constant


@EVERY
def test_sampled_replies_do_not_depend_on_the_batch(architecture):
    lm = tiny_lm(architecture)
    together = generate(lm, TEXTS, seed=3, max_new_tokens=12)
    assert together == generate(lm, TEXTS, seed=3, max_new_tokens=12, batch_size=1)
    assert together == generate(lm, TEXTS, seed=3, max_new_tokens=12, batch_size=2)
    assert together != generate(lm, TEXTS, seed=4, max_new_tokens=12)


def test_sampling_draws_from_the_model_s_distribution():
    lm = tiny_lm("llama")
    [[*prompt]] = models.encode(lm, TEXTS[:1])
    p = torch.softmax(lm.model(torch.tensor([prompt])).logits[0, -1] / 0.7, -1)
    n = 4000
    drawn = models.generate_ids(
        lm, [prompt] * n, max_new_tokens=1, temperature=0.7, batch_size=1000
    )
    stop = sum(not row for row in drawn)  # the stop token is cut off
    count = torch.bincount(torch.tensor([r[0] for r in drawn if r]), minlength=len(p)).double()
    count[models.stop_tokens(lm)[0]] += stop
    chi2 = ((count - n * p) ** 2 / (n * p)).sum()
    assert p.max() < 0.9 and chi2 < 2 * len(p)


def test_generation_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    generate(tiny_lm(), TEXTS, max_new_tokens=3)
    assert torch.rand(1) == wanted


@EVERY
def test_log_probs_equal_one_pass_without_padding(architecture):
    lm = tiny_lm(architecture)
    ends = [" for myself .", " always", " help the man", " .", " never take risk"]
    got = log_probs(lm, TEXTS, ends, batch_size=3)
    for text, end, value in zip(TEXTS, ends, got, strict=True):
        [head], [whole] = models.encode(lm, [text]), models.encode(lm, [text + end])
        scores = lm.model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        chosen = [scores[k - 1, whole[k]] for k in range(len(head), len(whole))]
        torch.testing.assert_close(value.double(), sum(chosen), rtol=1e-5, atol=1e-5)


def test_log_probs_of_all_next_words_sum_to_one():
    lm = tiny_lm("qwen2")
    from tiny_models import VOCABULARY

    got = log_probs(lm, ["we help"] * len(VOCABULARY), [f" {w}" for w in VOCABULARY])
    torch.testing.assert_close(got.exp().sum(), torch.tensor(1.0))


def words_of(vocabulary, dtype):
    """A tiny model whose logits outweigh all else, and a batch for it."""
    config = AutoConfig.for_model("qwen2", **{**COMMON, "vocab_size": vocabulary}, **ARCHITECTURES["qwen2"])
    torch.manual_seed(0)
    lm = LM(AutoModelForCausalLM.from_config(config).eval().to(dtype), word_tokenizer(), "many words")
    ids = torch.randint(3, vocabulary, (4, 24))
    return lm, ids, torch.ones_like(ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scoring_in_parts_gives_the_same_numbers(dtype, monkeypatch):
    lm, ids, mask = words_of(5000, dtype)
    whole = models.token_log_probs(lm, ids, mask, 3)
    monkeypatch.setattr(models, "WIDE", 7 * 4 * 5000)  # 7 positions at a time, and a shorter rest
    assert whole.shape == (4, 21) and torch.equal(models.token_log_probs(lm, ids, mask, 3), whole)
    assert models.token_log_probs(lm, ids, mask, 24).shape == (4, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_scoring_takes_little_more_memory_than_the_logits_themselves(dtype, monkeypatch):
    lm, ids, mask = words_of(20_000, dtype)
    monkeypatch.setattr(models, "WIDE", 4 * 20_000)  # one position at a time
    with Live() as live:
        models.token_log_probs(lm, ids, mask)
    assert live.peak < 1.3 * ids.numel() * 20_000 * dtype.itemsize


def test_free_memory_is_that_of_the_device_asked_about(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (123, 456))
    assert models.free_memory("cuda") == 123
    assert min(models.free_memory(), models.free_memory("cpu")) > 10**6  # main memory


@pytest.mark.parametrize(
    ("prompts", "ends", "message"),
    [
        (["we"], [], "1 prompts but 0 continuations"),
        (["we"], [""], "continuation 0 adds no token"),
        (["we"], [" help" * 200], "reads at most 128"),
        ("we", "help", "pass a list"),
    ],
)
def test_log_probs_refuse_what_cannot_be_scored(prompts, ends, message):
    with pytest.raises((ValueError, TypeError), match=message):
        prompts = prompts if isinstance(prompts, list) else models.encode(tiny_lm(), prompts)
        log_probs(tiny_lm(), prompts, ends)


def test_generation_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="reads at most 128"):
        generate(tiny_lm(), ["we"], max_new_tokens=500)
    with pytest.raises(ValueError, match="temperature=-1"):
        generate(tiny_lm(), ["we"], temperature=-1)
    assert generate(tiny_lm(), []) == []


# -------------------------------------------------------------------------------- chat


def test_chat_ends_where_the_reply_starts_and_knows_roles_and_history():
    lm = tiny_lm()
    text = chat(lm, "help ?", system="we", history=[("i", "you")])
    assert text == "<s>system : we user : i assistant : you user : help ? assistant :"
    assert chat(lm, "help ?", history=[{"role": "user", "content": "i"},
                                       {"role": "assistant", "content": "you"}],
                system="we") == text  # fmt: skip
    [ids] = models.encode(lm, [text])
    assert ids.count(1) == 1  # the template's start token is not doubled


def test_plain_text_gets_the_start_token():
    [ids] = models.encode(tiny_lm(), ["we help"])
    assert ids[0] == 1


def test_a_template_without_a_system_role_gets_it_in_the_first_user_turn():
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}" + "{% for m in messages %}{{ m['role'] + ' : ' + m['content'] }}{% endfor %}"
    )
    assert chat(tiny_lm(template=refusing), "help", system="we") == "user : we\n\nhelp"


def test_without_a_template_turns_are_plain():
    text = chat(tiny_lm(template=None), "help ?", system="we")
    assert text == "System: we\nUser: help ?\nAssistant:"


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CLOSE = (  # writes replies right behind its mark, as DeepSeek's
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "written"), [(CHATML, "help ."), (CLOSE, "help ."), (TEMPLATE, " help ."), (None, " help .")]
)
def test_a_reply_stands_behind_its_prompt_as_the_template_writes_it(template, written):
    lm = tiny_lm(template=template)
    prompt = chat(lm, "we")
    assert models.as_replies(lm, [prompt], ["  help . "]) == [written]
    if template:
        turns = models.as_messages([("we", "help .")])
        assert lm.tokenizer.apply_chat_template(turns, tokenize=False).startswith(prompt + written)


def test_a_reply_is_needed_for_each_prompt():
    with pytest.raises(ValueError, match="2 prompts but 1 replies"):
        models.as_replies(tiny_lm(), ["we", "you"], ["help"])


# -------------------------------------------------------------------------------- load


def test_a_saved_folder_loads_with_the_same_logits(tmp_path, monkeypatch):
    folder = save_tiny(tmp_path / "m")
    monkeypatch.setenv("VALUELAB_MODEL", str(folder))
    lm, ids = load(), torch.tensor([[1, 9, 10]])
    torch.testing.assert_close(lm.model(ids).logits, tiny_model("llama").to(lm.device)(ids).logits)
    assert (lm.n_layers, lm.d_model, lm.dtype, lm.embedded) == (3, 32, torch.float32, False)
    assert not lm.model.training and lm.tokenizer.padding_side == "left"


def test_dtype_can_be_set_and_small_models_default_to_float32(tmp_path):
    folder = tmp_path / "m"
    save_tiny(folder)
    tiny_model("llama").half().save_pretrained(folder)
    assert load(folder, device="cpu").dtype == torch.float32
    assert load(folder, device="cpu", dtype="bfloat16").dtype == torch.bfloat16
    with pytest.raises(ModelError, match="int8.*is no floating type"):
        load(folder, dtype="int8")


@pytest.mark.parametrize("device", ["cuda:99", "foo"])
def test_a_device_that_is_not_there_is_named(tmp_path, device):
    with pytest.raises(ModelError, match=f"device='{device}' cannot be used here.*use 'cpu'"):
        load(save_tiny(tmp_path / "m"), device=device)


def test_a_model_in_training_mode_is_read_without_dropout():
    model = tiny_model("gpt2").train()
    lm = models.LM(model, word_tokenizer())
    assert not model.training
    one, other = (log_probs(lm, ["we"], [" help the old man ."]) for _ in range(2))
    assert torch.equal(one, other)


def test_a_tokenizer_without_padding_token_still_batches(tmp_path):
    lm = load(save_tiny(tmp_path / "m", pad=False))
    assert lm.tokenizer.pad_token == "</s>"
    alone = generate(lm, TEXTS, temperature=0, max_new_tokens=6, batch_size=1)
    assert generate(lm, TEXTS, temperature=0, max_new_tokens=6) == alone


def test_a_missing_chat_template_is_said(tmp_path):
    with pytest.warns(UserWarning, match="has no chat template"):
        load(save_tiny(tmp_path / "m", template=None))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(save_tiny(tmp_path / "n"))


def remove(name):
    return lambda folder: (folder / name).unlink()


def overwrite(name, text):
    return lambda folder: (folder / name).write_text(text)


def truncate(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pickled(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def config(**changes):
    return lambda folder: edit_json(folder / "config.json", **changes)


def no_tokenizer(folder):
    for file in folder.glob("*token*"):
        file.unlink()


def own_code(folder):
    edit_json(folder / "config.json", model_type="odd", auto_map={"AutoConfig": "odd.OddConfig"})
    (folder / "odd.py").write_text("raise SystemExit('executed')")


DAMAGE = {
    "config gone": (remove("config.json"), "holds no config.json; give the folder"),
    "config damaged": (overwrite("config.json", "{"), "damaged or incomplete.*again"),
    "weights gone": (remove("model.safetensors"), "no safetensors weights.*save_pretrained"),
    "weights pickled": (pickled, "unpickles nothing"),
    "weights cut short": (truncate, "damaged or incomplete.*again"),
    "weights of other width": (config(intermediate_size=40), "damaged|another shape"),
    "blocks missing": (config(num_hidden_layers=5), "weights are missing.*random"),
    "tokenizer gone": (no_tokenizer, "tokenizer is missing or damaged|no vocabulary"),
    "tokenizer damaged": (overwrite("tokenizer.json", "x"), "tokenizer is missing or damaged"),
    "encoder-decoder": (
        config(model_type="t5", architectures=["T5ForConditionalGeneration"]),
        "not a causal language model",
    ),
    "masked": (
        config(model_type="bert", architectures=["BertForMaskedLM"]),
        "not a causal language model.*ForCausalLM",
    ),
    "without head": (config(architectures=["LlamaModel"]), "not a causal language model"),
    "unknown architecture": (config(model_type="odd"), "upgrade transformers"),
    "own code": (own_code, "ships its own code, which valuelab never runs"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_ends_in_one_clear_sentence(damage, tmp_path):
    spoil, message = DAMAGE[damage]
    spoil(save_tiny(tmp_path / "m"))
    with pytest.raises(ModelError, match=message) as caught:
        load(tmp_path / "m")
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 420


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    folder = save_tiny(tmp_path / "m")
    other = word_tokenizer()
    del other.decode
    other.add_tokens([f"word{i}" for i in range(50)])
    other.save_pretrained(folder)
    with pytest.raises(ModelError, match="do not belong together"):
        load(folder)


def test_names_that_lead_nowhere_are_explained(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="There is no folder .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="form owner/name|spelling"):
        load("two words")
    monkeypatch.setattr(models, "EMBEDDED", tmp_path / "gone")
    monkeypatch.delenv("VALUELAB_MODEL", raising=False)
    with pytest.raises(ModelError, match="embedded model is missing.*make model"):
        load()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("connect", "not on this machine and the hub cannot be reached"),
        ("gone", "neither a folder here nor a public model"),
        ("gated", "gated: accept its licence"),
    ],
)
def test_hub_errors_are_explained(error, message, monkeypatch):
    raised = {
        "connect": OSError("We couldn't connect to 'https://huggingface.co' to load the files"),
        "gone": OSError("a/b is not a local folder and is not a valid model identifier listed"),
        "gated": OSError("You are trying to access a gated repo."),
    }[error]

    def fail(*_, **__):
        raise raised

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", fail)
    with pytest.raises(ModelError, match=message):
        load("someone/something")


# ---------------------------------------------------------------------------- identity


def test_fingerprints_tell_models_apart_and_survive_saving(tmp_path):
    lm = load(save_tiny(tmp_path / "m"))
    assert lm.fingerprint == tiny_lm("llama").fingerprint
    assert lm.fingerprint != tiny_lm("llama", seed=1).fingerprint
    assert lm.fingerprint != tiny_lm("qwen2").fingerprint


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_has_one_fingerprint_in_whichever_precision_it_is_loaded(tmp_path, dtype):
    stored = load(save_tiny(tmp_path / "m"), device="cpu").fingerprint
    lm = load(tmp_path / "m", device="cpu", dtype=dtype)
    assert lm.fingerprint == stored
    rounded = models.fingerprint(lm.model)
    assert (rounded == stored) == (dtype != "float16"), "the case that reading before the change is for"
    with torch.no_grad():
        lm.model.get_input_embeddings().weight.mul_(2)
    assert models.fingerprint(lm.model) != rounded


def test_an_untrained_copy_has_other_weights_and_leaves_the_original_alone():
    lm = tiny_lm()
    before, fresh = lm.fingerprint, models.untrained(lm, seed=9)
    assert fresh.fingerprint != before == tiny_lm().fingerprint
    assert fresh.fingerprint == models.untrained(lm, seed=9).fingerprint


def test_a_real_pretrained_model_writes_english():
    lm = load(real_folder())
    started = time.perf_counter()
    [story] = generate(lm, ["Once upon a time "], temperature=0, max_new_tokens=20)
    assert time.perf_counter() - started < 5
    assert len(story.split()) > 8 and any(w in story for w in ("little", "girl", "boy"))
    good, odd = log_probs(lm, ["Once upon a "] * 2, ["time", "sock"])
    assert good > odd + 3
