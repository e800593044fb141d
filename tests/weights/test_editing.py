"""Vectors in a living model: exact restoring, no edit made twice, files refused for other weights."""

import pytest
import torch
from tiny_models import tiny_lm, tiny_model, word_tokenizer

from valuelab import models
from valuelab import weights as A
from valuelab.models import LM

PROMPTS = ["we help the", "i keep"]


def vector_of(lm, seed=0, length=0.05):
    return A.scale(A.random_like({n: w.float() for n, w in A.weights_of(lm).items()}, seed), length)


def bits(lm):
    return {n: w.clone() for n, w in lm.model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[n], b[n]) for n in b)


def scores(lm):
    return models.log_probs(lm, PROMPTS, [" old man .", " money ."])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2"])
def test_mixing_changes_the_model_and_gives_the_old_weights_back_bit_for_bit(architecture, dtype):
    lm = tiny_lm(architecture)
    lm.model.to(dtype)
    before, said = bits(lm), scores(lm)
    u, v = vector_of(lm, 0), vector_of(lm, 1)
    with A.mixed(lm, [u, v], [1.0, -0.5]) as inside:
        assert inside is lm
        assert not torch.equal(scores(lm), said)
    assert same(bits(lm), before)
    assert torch.equal(scores(lm), said)


def test_the_weights_come_back_after_an_exception_and_after_nesting():
    lm = tiny_lm()
    before, v, name = bits(lm), vector_of(lm), "model.norm.weight"
    with pytest.raises(RuntimeError, match="mine"), A.mixed(lm, [v], [1.0]), A.mixed(lm, [v], [2.0]):
        torch.testing.assert_close(bits(lm)[name], before[name] + 3 * v[name])
        raise RuntimeError("mine")
    assert same(bits(lm), before)


def test_a_mix_is_the_same_as_an_edited_copy():
    lm, v = tiny_lm(), None
    v = vector_of(lm)
    before = bits(lm)
    copy = A.edited(lm, [v], [0.7])
    assert same(bits(lm), before), "the model itself must stay"
    with A.mixed(lm, [v], [0.7]):
        assert same(bits(lm), bits(copy))


def test_a_tied_weight_is_moved_once():
    model = tiny_model("gpt2")
    assert model.lm_head.weight is model.transformer.wte.weight
    lm = LM(model, word_tokenizer(), "tied")
    assert "lm_head.weight" not in A.weights_of(lm)
    before, v = bits(lm), vector_of(lm)
    with A.mixed(lm, [v], [1.0]):
        moved = lm.model.state_dict()["lm_head.weight"] - before["lm_head.weight"]
        torch.testing.assert_close(moved, v["transformer.wte.weight"], atol=1e-6, rtol=1e-4)
    with pytest.raises(A.VectorError, match="read both with weights_of, which names a tied weight once"):
        A.edited(lm, [A.task_vector(before, before)], [1.0])  # state dicts name it twice


def test_the_fingerprint_tells_edited_weights_from_the_base():
    lm = tiny_lm()
    name, v = lm.fingerprint, vector_of(lm, length=0.5)
    with A.mixed(lm, [v], [1.0]):
        assert lm.fingerprint != name
    assert lm.fingerprint == name
    fresh = tiny_lm()
    with A.mixed(fresh, [v], [1.0]):
        assert fresh.fingerprint != name
    assert fresh.fingerprint == name, "a fingerprint first read inside must not stick"


def test_a_vector_of_another_shape_is_refused_before_anything_changes():
    lm, other = tiny_lm("llama"), tiny_lm("gpt2")
    before = bits(lm)
    with pytest.raises(A.VectorError, match="mixed: only the first"), A.mixed(lm, [vector_of(other)], [1.0]):
        pass
    with pytest.raises(A.VectorError, match="one scale for each"), A.mixed(lm, [vector_of(lm)], []):
        pass
    assert same(bits(lm), before)


def test_a_vector_comes_back_from_its_file_with_its_note(tmp_path):
    lm = tiny_lm()
    v = vector_of(lm)
    path = A.save(tmp_path / "kind", v, lm, value="benevolence", pairs=320)
    assert path.name == "kind.safetensors"
    back, note = A.load(path, lm)
    assert same(back, v) and set(back) == set(v)
    assert note == {"value": "benevolence", "pairs": 320}
    half = A.save(tmp_path / "half", v, lm, dtype=torch.float16)
    assert half.stat().st_size < 0.6 * path.stat().st_size
    rounded, _ = A.load(half, lm)
    assert all(x.dtype == torch.float32 for x in rounded.values())
    assert A.cosine(rounded, v) > 0.9999


def test_a_file_for_other_weights_is_refused(tmp_path):
    lm = tiny_lm(seed=0)
    path = A.save(tmp_path / "v", vector_of(lm), lm)
    with pytest.raises(A.VectorError, match="fits only the weights it was taken from"):
        A.load(path, tiny_lm(seed=1))
    with pytest.raises(A.VectorError, match="made for tiny-llama-0"):
        A.load(path, tiny_lm("gpt2"))
    with pytest.raises(A.VectorError, match="save: only the first"):
        A.save(tmp_path / "w", vector_of(tiny_lm("gpt2")), lm)


def test_damage_ends_as_one_sentence(tmp_path):
    lm = tiny_lm()
    with pytest.raises(A.VectorError, match="no such file"):
        A.load(tmp_path / "nothing.safetensors", lm)
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(A.VectorError, match="damaged, or no task vector"):
        A.load(tmp_path / "text.safetensors", lm)
    path = A.save(tmp_path / "cut", vector_of(lm), lm)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(A.VectorError, match="damaged"):
        A.load(path, lm)
    bad = vector_of(lm)
    bad["model.norm.weight"][0] = 1e6
    with pytest.raises(A.VectorError, match="infinite numbers"):
        A.save(tmp_path / "bad", bad, lm, dtype=torch.float16)
