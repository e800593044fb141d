"""Low-rank adapters: nothing at the start, the same model hooked and folded in, nothing left behind."""

import pytest
import torch
from tiny_models import tiny_lm

from valuelab import models
from valuelab import weights as A


def said(lm):
    return models.log_probs(lm, ["we help the", "i keep"], [" old man .", " money ."])


def fill(lora, seed=0):
    g = torch.Generator().manual_seed(seed)
    for b in lora.up.values():
        b.data = 0.2 * torch.randn(b.shape, generator=g)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_hooked_and_folded_in_are_one_model_and_the_base_is_left_alone(architecture):
    lm = tiny_lm(architecture)
    before, start = {n: w.clone() for n, w in A.weights_of(lm).items()}, said(lm)
    wanted = [p.requires_grad for p in lm.model.parameters()]
    with A.Lora(lm, rank=2) as lora:
        assert torch.equal(said(lm), start)  # B is zero
        fill(lora)
        hooked = said(lm)
        assert not any(p.requires_grad for p in lm.model.parameters())
    assert not torch.allclose(hooked, start, atol=1e-2)
    assert torch.equal(said(lm), start) and [p.requires_grad for p in lm.model.parameters()] == wanted
    assert all(torch.equal(w, before[n]) for n, w in A.weights_of(lm).items())
    with A.mixed(lm, [lora.vector()], [1.0]):
        torch.testing.assert_close(said(lm), hooked, atol=1e-4, rtol=1e-4)


def test_every_linear_layer_but_the_word_head_is_adapted_and_only_thinly():
    lm = tiny_lm()
    lora = A.Lora(lm, rank=2)
    fill(lora)
    vector = lora.vector()
    moved = {n for n, x in vector.items() if x.abs().max() > 0}
    linear = {f"{n}.weight" for n, m in lm.model.named_modules() if isinstance(m, torch.nn.Linear)} - {"lm_head.weight"}
    assert moved == linear and set(vector) == set(A.weights_of(lm))
    assert all(torch.linalg.matrix_rank(vector[n], rtol=1e-4) == 2 for n in moved)
    assert sum(p.numel() for p in lora.parameters()) < sum(vector[n].numel() for n in moved) / 4
    with pytest.raises(A.VectorError, match="rank=0"):
        A.Lora(lm, rank=0)


def test_matrices_that_no_adapter_reaches_are_named_with_their_share(recwarn):
    A.Lora(tiny_lm(), rank=1), A.Lora(tiny_lm("gpt2"), rank=1)
    assert not recwarn
    lm = tiny_lm()
    size = sum(p.numel() for block in lm.blocks for p in block.parameters() if p.ndim > 1)
    lm.blocks[1].mlp.experts = torch.nn.ParameterDict({"up": torch.zeros(3, size)})  # as a mixture keeps them, fused
    with pytest.warns(UserWarning, match="reach 25% of the matrices .* of tiny-llama-0; mlp.experts.up are in no"):
        A.Lora(lm, rank=1)
