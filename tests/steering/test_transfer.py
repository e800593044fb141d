"""Claims about carrying vectors to another model, where the true map is known."""

import copy

import pytest
import torch
from tiny_models import D_MODEL, N_LAYERS, TEXTS, tiny_lm

from valuelab import models
from valuelab.activations import capture
from valuelab.models import LM
from valuelab.probes import Probe
from valuelab.steering import (
    add,
    align,
    align_models,
    matching_layers,
    minimal,
    random_alignment,
    remove,
    shuffled_alignment,
    steer,
    transfer,
    unlock,
)

SHAPES = pytest.mark.parametrize("shape", [(16, 16), (24, 10), (10, 24)])


def paired_states(shape, n=600, noise=0.05, seed=0):
    """Source states of unequal spread, target states by a known map, and the map (d', d)."""
    draw = torch.Generator().manual_seed(seed)
    d, d2 = shape
    X = torch.randn(n, d, generator=draw).double() * torch.linspace(0.5, 2, d).double() + 3
    A = torch.randn(d2, d, generator=draw).double() / d**0.5
    Y = X @ A.T - 1 + noise * torch.randn(n, d2, generator=draw).double()
    return X, Y, A


def cosine(a, b):
    return float(torch.cosine_similarity(a.double(), b.double(), dim=-1))


@SHAPES
def test_a_direction_arrives_where_the_true_map_sends_it(shape):
    X, Y, A = paired_states(shape)
    v = torch.randn(shape[0], generator=torch.Generator().manual_seed(5)).double()
    found = align(X, Y, ridge=1e-4)
    assert found.r2 > 0.98
    assert cosine(found.direction(v), A @ v) > 0.999
    assert float(found.direction(v).norm() / (A @ v).norm()) == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(found.state(X).mean(0), Y.mean(0), atol=0.05, rtol=0)


@SHAPES
def test_random_maps_and_shuffled_pairs_carry_nothing(shape):
    X, Y, A = paired_states(shape)
    v = torch.ones(shape[0], dtype=torch.float64)
    right = align(X, Y)
    dealt = [shuffled_alignment(X, Y, seed=s) for s in range(20)]
    drawn = [random_alignment(right, s) for s in range(20)]
    assert max(m.r2 for m in dealt) < 0.05
    for maps in (dealt, drawn):
        assert abs(sum(cosine(m.direction(v), A @ v) for m in maps) / 20) < 0.35
    assert all(m.A.norm() == pytest.approx(float(right.A.norm())) for m in drawn)
    assert max(m.explained(X, Y) for m in drawn) < 0.3


def test_r2_is_measured_on_rows_that_were_not_fitted():
    draw = torch.Generator().manual_seed(0)
    X, Y = torch.randn(40, 30, generator=draw), torch.randn(40, 30, generator=draw)
    by_heart = align(X, Y, ridge=1e-6, held_out=0)
    assert by_heart.explained(X, Y) > 0.5 and by_heart.r2 is None
    assert align(X, Y, ridge=1e-6).r2 < 0  # worthless on what was not learnt


def test_the_ridge_does_not_depend_on_the_scale_of_the_states():
    X, Y, _ = paired_states((12, 12))
    a, b = align(X, Y, ridge=0.1), align(1000 * X, Y, ridge=0.1)
    torch.testing.assert_close(a.A, 1000 * b.A)


def test_fewer_texts_than_dimensions_still_give_a_finite_map():
    X, Y, _ = paired_states((24, 24), n=12)
    for ridge in (0.0, 1e-2):
        assert torch.isfinite(align(X, Y, ridge=ridge).A).all()


def test_the_published_map_is_least_squares_between_leading_subspaces():
    X, _, A = paired_states((16, 16), noise=0.0)
    X = X - X.mean(0)  # the published map is linear: it has no means
    Y = X @ A.T
    torch.testing.assert_close(unlock(X, Y, 16).A, A)
    low, middle = unlock(X, Y, 3), unlock(X, Y, 8)
    assert torch.linalg.matrix_rank(low.A, atol=1e-8) == 3
    assert 1 > middle.explained(X, Y) > low.explained(X, Y) > 0
    with pytest.raises(ValueError, match="rank=20"):
        unlock(X, Y, 20)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"target": torch.zeros(5, 3)}, "same texts"),
        ({"source": torch.full((20, 4), float("nan"))}, "not finite"),
        ({"ridge": -1.0}, "ridge=-1"),
        ({"held_out": 1.0}, "held_out=1"),
        ({"source": torch.zeros(3, 4), "target": torch.zeros(3, 3)}, "too few"),
    ],
)
def test_what_cannot_be_aligned_is_refused(change, message):
    given = {"source": torch.randn(20, 4), "target": torch.randn(20, 3), **change}
    with pytest.raises(ValueError, match=message):
        align(**given)


# ---------------------------------------------------------------------- between two models


def rotated(lm: LM, seed=0) -> tuple[LM, torch.Tensor]:
    """A Llama that computes the same function in a rotated residual stream, and the rotation R
    with h' = h @ R. Norm gains are folded into the weights that read, so that rotations commute."""
    model = copy.deepcopy(lm.model)
    draw = torch.Generator().manual_seed(seed)
    R = torch.linalg.qr(torch.randn(D_MODEL, D_MODEL, generator=draw))[0]
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(model.model.embed_tokens.weight @ R)
        reads = [(model.model.norm, [model.lm_head])]
        for block in model.model.layers:
            a, m = block.self_attn, block.mlp
            reads += [(block.input_layernorm, [a.q_proj, a.k_proj, a.v_proj]),
                      (block.post_attention_layernorm, [m.gate_proj, m.up_proj])]  # fmt: skip
            for writes in (a.o_proj, m.down_proj):
                writes.weight.copy_(R.T @ writes.weight)
        for norm, layers in reads:
            for linear in layers:
                linear.weight.copy_((linear.weight * norm.weight) @ R)
            norm.weight.fill_(1.0)
    return LM(model, lm.tokenizer, "rotated"), R


def many_texts(n=300, seed=0):
    draw = torch.Generator().manual_seed(seed)
    words = sorted({w for t in TEXTS for w in t.split()})
    pick = lambda k: [words[int(i)] for i in torch.randint(len(words), (k,), generator=draw)]  # noqa: E731
    return [" ".join(pick(3 + k % 6)) for k in range(n)]


@pytest.fixture(scope="module")
def pair():
    lm = tiny_lm("llama")
    twin, R = rotated(lm)
    return lm, twin, R


def logits(lm, texts=TEXTS):
    ids, mask = models.pad(lm, models.encode(lm, texts), "right")
    with torch.no_grad():
        return lm.model(input_ids=ids, attention_mask=mask).logits[mask.bool()]


def test_a_vector_steers_the_rotated_model_as_it_steers_its_own(pair):
    lm, twin, R = pair
    torch.testing.assert_close(logits(lm), logits(twin), atol=1e-3, rtol=1e-3)
    maps = align_models(lm, twin, many_texts(), {k: k for k in range(N_LAYERS)}, ridge=1e-6)
    assert all(m.r2 > 0.99 for _, m in maps.values())
    v = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(1))
    assert cosine(maps[1][1].direction(v), v @ R) > 0.999
    plan = add({1: v}, 2.0)
    with steer(lm, plan):
        wanted = logits(lm)
    with steer(twin, transfer(plan, maps, twin)):
        found = logits(twin)
    plain = logits(twin)
    assert (wanted - plain).abs().mean() > 0.1
    assert (found - wanted).abs().mean() < 0.02 * (wanted - plain).abs().mean()
    torch.testing.assert_close(capture(lm, TEXTS, 1)[1] @ R, capture(twin, TEXTS, 1)[1], atol=1e-3, rtol=1e-3)


def test_controls_do_not_steer_the_rotated_model_the_same_way(pair):
    lm, twin, _ = pair
    texts = many_texts()
    here, there = capture(lm, texts, 1)[1], capture(twin, texts, 1)[1]
    plan = add({1: torch.randn(D_MODEL, generator=torch.Generator().manual_seed(1))}, 2.0)
    plain = logits(lm)
    with steer(lm, plan):
        wanted = logits(lm) - plain
    likeness = {}
    for name, m in {
        "aligned": align(here, there),
        "random": random_alignment(align(here, there)),
        "shuffled": shuffled_alignment(here, there),
    }.items():
        with steer(twin, transfer(plan, {1: (1, m)}, twin, keep_length=True)):
            moved = logits(twin)
        likeness[name] = cosine((moved - logits(twin)).flatten(), wanted.flatten())
    assert likeness["aligned"] > 0.95
    assert likeness["random"] < 0.6 and likeness["shuffled"] < 0.6


def test_vectors_stay_good_on_a_slightly_updated_model_and_the_map_mends_a_large_update(pair):
    lm, twin, R = pair
    v = torch.randn(D_MODEL, generator=torch.Generator().manual_seed(2))
    updated = LM(copy.deepcopy(lm.model), lm.tokenizer, "updated")
    with torch.no_grad():
        for p in updated.model.parameters():
            p += 0.01 * p.std() * torch.randn(p.shape, generator=torch.Generator().manual_seed(3))
    small = align_models(lm, updated, many_texts(), {1: 1}, ridge=1e-4)[1][1]
    assert cosine(small.direction(v), v) > 0.98
    large = align_models(lm, twin, many_texts(), {1: 1}, ridge=1e-4)[1][1]
    assert cosine(v, v @ R) < 0.6 and cosine(large.direction(v), v @ R) > 0.98


def test_transfer_says_what_it_did_and_refuses_what_does_not_travel(pair):
    lm, twin, _ = pair
    maps = align_models(lm, twin, many_texts(60), {1: 2})
    plan = transfer(remove(Probe(torch.ones(D_MODEL), layer=1, value="security")), maps, twin)
    probe = plan.shifts[0].probe
    assert (probe.layer, probe.value, plan.shifts[0].kind) == (2, "security", "remove")
    assert probe.meta["transferred_from_layer"] == 1 and probe.meta["alignment_r2"] == maps[1][1].r2
    assert plan.card["fingerprint"] == twin.fingerprint
    kept = transfer(add({1: torch.ones(D_MODEL)}, 3.0), maps, keep_length=True).shifts[0]
    assert float(kept.probe.weight.norm()) == pytest.approx(D_MODEL**0.5) and kept.strength == 3
    with pytest.raises(ValueError, match="refit the probe"):
        transfer(minimal(Probe(torch.ones(D_MODEL), layer=1)), maps)
    with pytest.raises(ValueError, match="no map for layer 0"):
        transfer(add({0: torch.ones(D_MODEL)}), maps)
    with pytest.raises(ValueError, match="width 5"):
        transfer(add({1: torch.ones(5)}), maps)
    blind = align(torch.cat([torch.randn(50, 31), torch.zeros(50, 1)], 1), torch.randn(50, D_MODEL))
    with pytest.raises(ValueError, match="to zero"):
        transfer(add({1: torch.eye(D_MODEL)[-1]}), {1: (1, blind)})


def test_layers_are_matched_by_relative_depth():
    assert matching_layers(4, 4) == {0: 0, 1: 1, 2: 2, 3: 3}
    assert matching_layers(3, 5) == {0: 0, 1: 2, 2: 4}
    assert matching_layers(5, 3) == {0: 0, 1: 0, 2: 1, 3: 2, 4: 2}
    assert matching_layers(1, 4) == {0: 0}
