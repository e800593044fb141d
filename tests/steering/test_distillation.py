"""Claims about vectors that are learnt from what a prompt line does, on the embedded model."""

import numpy as np
import pytest
import torch

from valuelab import models
from valuelab import world as W
from valuelab.steering import distil
from valuelab.steering.distillation import moved, reply_log_probs

LAYERS = (0, 2)


@pytest.fixture(scope="module")
def lm():
    return models.load(models.EMBEDDED)


def prompts(lm, n, seed, value="power"):
    """Plain prompts, the same after a persona line for the value, and what the model says after the line."""
    asked, rng = W.situations("train", n, seed, value=value), np.random.default_rng(seed)
    plain = [models.chat(lm, s.text) for s in asked]
    told = [models.chat(lm, s.text, system=W.persona_line(value, 1, rng)) for s in asked]
    return plain, told, [f" {r}" for r in models.generate(lm, told, max_new_tokens=12, seed=seed)]


def divergence(lm, plain, told, replies, vectors):
    """Mean KL in nats from the model after the line to the one that is moved."""
    with torch.no_grad():
        goal = reply_log_probs(lm, *models.join(lm, told, replies))
        with moved(lm, vectors):
            said = reply_log_probs(lm, *models.join(lm, plain, replies))
    return float((goal.exp() * (goal - said)).sum(-1).mean())


def test_learnt_vectors_do_on_new_questions_what_the_line_does_and_random_ones_do_not(lm):
    weights = {name: p.detach().clone() for name, p in lm.model.named_parameters()}
    vectors = distil(lm, *prompts(lm, 32, 0), LAYERS, steps=30)
    fresh = prompts(lm, 32, 1)
    draw = torch.Generator().manual_seed(0)
    noise = {k: torch.randn(v.shape, generator=draw) for k, v in vectors.items()}
    noise = {k: n / n.norm() * vectors[k].norm() for k, n in noise.items()}
    plain = divergence(lm, *fresh, {})
    assert plain > 0.1 and list(vectors) == list(LAYERS)
    assert divergence(lm, *fresh, vectors) < 0.6 * plain
    assert divergence(lm, *fresh, noise) > plain
    for name, p in lm.model.named_parameters():
        assert torch.equal(p, weights[name]) and p.grad is None
    assert not any(block._forward_hooks for block in lm.blocks)


def test_a_line_that_changes_nothing_teaches_next_to_nothing(lm):
    plain, told, replies = prompts(lm, 8, 2)
    taught, empty = (distil(lm, plain, x, replies, LAYERS, steps=5) for x in (told, plain))
    again = distil(lm, plain, told, replies, LAYERS, steps=5)
    assert all(torch.equal(taught[k], again[k]) for k in LAYERS)  # one seed, one answer
    before = divergence(lm, plain, told, replies, {})
    assert divergence(lm, plain, told, replies, taught) < before
    assert divergence(lm, plain, plain, replies, empty) < 0.1 * before


def test_replies_that_are_cut_otherwise_after_the_other_prompt_are_refused(lm):
    plain, told, replies = prompts(lm, 2, 3)
    told[1] += " I wo"  # "uld" joins on to it
    with pytest.raises(ValueError, match="reply 1 has other tokens after the told prompt"):
        distil(lm, plain, told, [" I would go.", "uld go."], LAYERS)
    with pytest.raises(ValueError, match="1 continuations"):
        distil(lm, plain, told, replies[:1], LAYERS)
